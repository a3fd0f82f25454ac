package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Rule selects logins by user name, group, uid, PAM service or login shell. Only
// ParseRule returns one; the zero Rule matches nobody. Rules compare with ==.
type Rule struct {
	source    string
	by        property
	name      string
	low, high uint32 // the uids, both ends included
}

// property is what a rule compares of a subject.
type property uint8

const (
	byNothing property = iota
	byUser
	byGroup
	byUID
	byService
	byShell
)

// String returns the text that ParseRule was given.
func (r Rule) String() string { return r.source }

// Matches says whether r selects s.
func (r Rule) Matches(s Subject) bool {
	switch r.by {
	case byUser:
		return s.User == r.name
	case byGroup:
		return slices.Contains(s.Groups, r.name)
	case byUID:
		return r.low <= s.UID && s.UID <= r.high
	case byService:
		return s.Service == r.name
	case byShell:
		return s.Shell == r.name
	}
	return false
}

// Explain says which property of s decides whether r matches it.
func (r Rule) Explain(s Subject) string {
	switch r.by {
	case byUser:
		return fmt.Sprintf("the user is %s", s.User)
	case byGroup:
		if slices.Contains(s.Groups, r.name) {
			return fmt.Sprintf("%s is in the group %s", s.User, r.name)
		}
		return fmt.Sprintf("%s is not in the group %s", s.User, r.name)
	case byUID:
		return fmt.Sprintf("the uid is %d", s.UID)
	case byService:
		return fmt.Sprintf("the service is %s", s.Service)
	case byShell:
		return fmt.Sprintf("the login shell is %s", s.Shell)
	}
	return "not a rule"
}

// ParseRule reads one of
//
//	alice  @group  uid<N  uid<=N  uid>N  uid>=N  uid=N  uid=N-M  service:NAME  shell:PATH
//
// A text that looks like any of these, but is not, is an error and never a login
// name: a rule that silently matches nobody is worse than none.
func ParseRule(s string) (Rule, error) {
	rule, fault := parseWithoutSource(s)
	if fault != "" {
		return Rule{}, &RuleError{Source: s, Reason: fault}
	}
	rule.source = s
	return rule, nil
}

// parseWithoutSource returns a rule without its source, or why the text is none.
func parseWithoutSource(s string) (Rule, string) {
	if fault := textFault(s); fault != "" {
		return Rule{}, fault
	}
	if rest, ok := strings.CutPrefix(s, "uid"); ok && rest != "" && strings.Contains("<>=", rest[:1]) {
		return parseUID(rest)
	}
	if name, ok := strings.CutPrefix(s, "@"); ok {
		return Rule{by: byGroup, name: name}, groupFault(name)
	}
	if name, ok := strings.CutPrefix(s, "service:"); ok {
		return Rule{by: byService, name: name}, serviceFault(name)
	}
	if path, ok := strings.CutPrefix(s, "shell:"); ok {
		return Rule{by: byShell, name: path}, shellFault(path)
	}
	return Rule{by: byUser, name: s}, userFault(s)
}

// parseUID reads what follows "uid".
func parseUID(s string) (Rule, string) {
	digits := strings.TrimLeft(s, "<>=")
	operator := s[:len(s)-len(digits)]
	first, last, isRange := strings.Cut(digits, "-")
	if isRange && operator == "=" {
		return uidRange(first, last)
	}
	n, ok := parseNumber(digits)
	if !ok {
		return Rule{}, uidFault(operator, digits)
	}
	switch operator {
	case "=":
		return uids(n, n)
	case "<=":
		return uids(0, n)
	case ">=":
		return uids(n, math.MaxUint32)
	case "<":
		return uids(0, n-1)
	case ">":
		return uids(n+1, math.MaxUint32)
	}
	return Rule{}, uidFault(operator, digits)
}

func uidRange(first, last string) (Rule, string) {
	low, ok1 := parseNumber(first)
	high, ok2 := parseNumber(last)
	switch {
	case !ok1 || !ok2:
		return Rule{}, uidFault("=", first+"-"+last)
	case low > high:
		return Rule{}, "the range is empty; did you mean \"uid=" + last + "-" + first + "\"?"
	}
	return uids(low, high)
}

// uids returns the rule for a range, whose ends may be one off what a uid can be.
func uids(low, high int64) (Rule, string) {
	if low > high || low > math.MaxUint32 || high < 0 {
		return Rule{}, "there is no such uid, so it would match nobody"
	}
	return Rule{by: byUID, low: uint32(low), high: uint32(high)}, ""
}

// parseNumber reads a uid: digits only, no sign.
func parseNumber(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int64(n), err == nil
}
