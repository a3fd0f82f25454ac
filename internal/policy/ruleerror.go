package policy

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RuleError says why a text is no rule, and what may have been meant.
type RuleError struct{ Source, Reason string }

func (e *RuleError) Error() string {
	return fmt.Sprintf("cannot read the rule %s: %s", quote(e.Source), e.Reason)
}

const forms = "a rule is one of alice, @group, uid<1000, uid>=1000, uid=1000, uid=1000-1999, service:sshd, shell:/bin/sh"

// quote keeps an error short and on one line, whatever the text is.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

func didYouMean(s string) string { return "did you mean " + quote(s) + "?" }

// textFault finds what no rule may have.
func textFault(s string) string {
	switch {
	case s == "":
		return "it is empty; " + forms
	case !utf8.ValidString(s):
		return "it is not valid UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "it has a control character in it; take it out"
	case strings.TrimSpace(s) == "":
		return "it is empty; " + forms
	case strings.TrimSpace(s) != s:
		return "it has a space at an end; " + didYouMean(strings.TrimSpace(s))
	}
	return ""
}

// userFault says why s cannot be a login name. Directories know odd names
// (DOMAIN\alice, alice@example.org, "alice smith"), so only that is refused which
// no passwd database can hold, or which reads like another kind of rule.
func userFault(s string) string {
	if guess := guess(s); guess != "" {
		return guess
	}
	switch {
	case s[0] == '!':
		return "there is no rule for everybody but some; name those whom it is for"
	case strings.ContainsAny(s, "*?"):
		return "names are compared as they are, without patterns; use a group or a range of uids"
	case strings.Contains(s, ","):
		return "it is one rule only; write each rule in quotes of its own"
	case strings.ContainsAny(s, ":<>="):
		return "a login name has none of : < > =; " + forms
	case s[0] == '/':
		return didYouMean("shell:" + s)
	}
	return ""
}

func groupFault(name string) string {
	switch {
	case name == "":
		return `the name of the group is missing; write it behind the @`
	case isNumber(name):
		return "a group is named here, not numbered; write its name"
	case name[0] == '@' || strings.ContainsAny(name, ":,<>=*?"):
		return `a group's name has none of @ : , < > = * ?; write "@" and the name`
	case strings.TrimSpace(name) != name:
		return didYouMean("@" + strings.TrimSpace(name))
	}
	return ""
}

// serviceFault knows that PAM turns the name of a service into lower case.
func serviceFault(name string) string {
	switch {
	case name == "":
		return "the name of the service is missing; write that of its file in /etc/pam.d"
	case strings.ContainsAny(name, "/ "):
		return "a service is named like its file in /etc/pam.d, without the directory"
	case strings.ContainsFunc(name, func(r rune) bool { return 'A' <= r && r <= 'Z' }):
		return "PAM knows services in lower case; " + didYouMean("service:"+strings.ToLower(name))
	}
	return ""
}

func shellFault(path string) string {
	switch {
	case path == "":
		return "the path of the shell is missing; write it as it stands in the passwd database"
	case path[0] != '/':
		return "a shell is named by its whole path, such as shell:/bin/bash"
	}
	return ""
}

// uidFault says what is wrong with a uid rule that has an operator.
func uidFault(operator, number string) string {
	swapped := map[string]string{"=<": "<=", "=>": ">=", "==": "="}
	if right, ok := swapped[operator]; ok {
		if _, fault := parse("uid" + right + number); fault == "" {
			return didYouMean("uid" + right + number)
		}
	}
	if first, last, ok := strings.Cut(number, ".."); ok && operator == "=" {
		if _, fault := uidRange(first, last); fault == "" {
			return didYouMean("uid=" + first + "-" + last)
		}
	}
	if trimmed := strings.ReplaceAll(number, " ", ""); trimmed != number {
		if _, fault := parse("uid" + operator + trimmed); fault == "" {
			return didYouMean("uid" + operator + trimmed)
		}
	}
	return "a uid is a number up to 4294967295; write uid<1000, uid<=1000, uid>1000, uid>=1000, uid=1000 or uid=1000-1999"
}
