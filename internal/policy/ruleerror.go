package policy

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RuleError says why a text is not a rule, and what was probably meant.
type RuleError struct{ Source, Reason string }

func (e *RuleError) Error() string {
	return fmt.Sprintf("cannot read the rule %s: %s", quoteShort(e.Source), e.Reason)
}

const forms = "a rule is one of alice, @group, uid<1000, uid>=1000, uid=1000, uid=1000-1999, service:sshd, shell:/bin/sh"

// quoteShort keeps an error short and on one line, whatever the text is.
func quoteShort(s string) string {
	const most = 100
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

func didYouMean(s string) string { return "did you mean " + quoteShort(s) + "?" }

// textFault finds what no kind of rule may contain.
func textFault(s string) string {
	switch {
	case s == "":
		return "it is empty; " + forms
	case !utf8.ValidString(s):
		return "it is not valid UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "it contains a control character; remove it"
	case strings.TrimSpace(s) == "":
		return "it is empty; " + forms
	case strings.TrimSpace(s) != s:
		return "it begins or ends with a space; " + didYouMean(strings.TrimSpace(s))
	}
	return ""
}

// userFault says why s cannot be a login name. Directories have odd names
// (DOMAIN\alice, alice@example.org, "alice smith"), so only names are refused that no
// passwd database can hold, or that read like another kind of rule.
func userFault(s string) string {
	if guess := guessRule(s); guess != "" {
		return guess
	}
	switch {
	case s[0] == '!':
		return "rules cannot be negated; name the users that it selects"
	case strings.ContainsAny(s, "*?"):
		return "patterns are not supported; use a group or a range of uids"
	case strings.Contains(s, ","):
		return "it is more than one rule; put each rule in quotation marks of its own"
	case strings.ContainsAny(s, ":<>="):
		return "a login name cannot contain : < > =; " + forms
	case s[0] == '/':
		return didYouMean("shell:" + s)
	}
	return ""
}

func groupFault(name string) string {
	switch {
	case name == "":
		return `the name of the group is missing; write it after the @`
	case isNumber(name):
		return "groups are selected by name; write its name"
	case name[0] == '@' || strings.ContainsAny(name, ":,<>=*?"):
		return `a group name cannot contain @ : , < > = * ?; write "@" and the name`
	case strings.TrimSpace(name) != name:
		return didYouMean("@" + strings.TrimSpace(name))
	}
	return ""
}

// serviceFault expects lower case, to which PAM converts the names of services.
func serviceFault(name string) string {
	switch {
	case name == "":
		return "the name of the service is missing; write the name of its file in /etc/pam.d"
	case strings.ContainsAny(name, "/ "):
		return "a service has the name of its file in /etc/pam.d, without the directory"
	case strings.ContainsFunc(name, func(r rune) bool { return 'A' <= r && r <= 'Z' }):
		return "PAM services are in lower case; " + didYouMean("service:"+strings.ToLower(name))
	}
	return ""
}

func shellFault(path string) string {
	switch {
	case path == "":
		return "the path of the shell is missing; write it as in the passwd database"
	case path[0] != '/':
		return "a shell is selected by its full path, as in shell:/bin/bash"
	}
	return ""
}

// uidFault says what is wrong with a uid rule that has an operator.
func uidFault(operator, number string) string {
	swapped := map[string]string{"=<": "<=", "=>": ">=", "==": "="}
	if right, ok := swapped[operator]; ok {
		if _, fault := parseWithoutSource("uid" + right + number); fault == "" {
			return didYouMean("uid" + right + number)
		}
	}
	if first, last, ok := strings.Cut(number, ".."); ok && operator == "=" {
		if _, fault := uidRange(first, last); fault == "" {
			return didYouMean("uid=" + first + "-" + last)
		}
	}
	if trimmed := strings.ReplaceAll(number, " ", ""); trimmed != number {
		if _, fault := parseWithoutSource("uid" + operator + trimmed); fault == "" {
			return didYouMean("uid" + operator + trimmed)
		}
	}
	return "a uid is a number up to 4294967295; write uid<1000, uid<=1000, uid>1000, uid>=1000, uid=1000 or uid=1000-1999"
}
