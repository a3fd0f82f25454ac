package config

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"unicode"

	"gotmpns/internal/policy"
)

// target checks the target of a table; header is the line that a missing one is
// reported for.
func (r *reader) target(header int, target setting[string], unfit func(string) string) {
	if !target.isSet() {
		r.errorf(header, "target is missing; add target = \"/PATH\"")
		return
	}
	why := unfitVariable(target.value)
	if why == "" {
		expanded := example(target.value)
		why = cmp.Or(unfitPath(expanded), unfit(expanded))
	}
	if why != "" {
		r.errorf(target.line, "target = %q %s", target.value, why)
	}
}

// example is a target or base as it is for somebody.
func example(p string) string {
	expanded, err := policy.Expand(p, "/home/user", "user")
	if err != nil { // it cannot be, for this user
		return p
	}
	return expanded
}

// unfitVariable says why what looks like a variable part of a path is none.
func unfitVariable(p string) string {
	rest := strings.ReplaceAll(strings.TrimPrefix(p, "~"), "$USER", "")
	switch {
	case strings.HasPrefix(p, "$HOME") || strings.HasPrefix(p, "${HOME}"):
		return "is not a path; write ~ for the home directory"
	case strings.HasPrefix(p, "~") && p != "~" && p[1] != '/':
		return "is not a path; only ~ and ~/… are replaced by the home directory of the user who logs in"
	case strings.Contains(rest, "$") || strings.Contains(p, "$USER") && !policy.IsVariable(p):
		return "contains a $; only $USER is replaced, by the login name"
	case policy.IsVariable(p) && path.Clean(p) != p:
		return fmt.Sprintf("is not a clean path; write %q", path.Clean(p))
	case strings.Contains(p, "%{"):
		return "contains %{; write $USER for the login name"
	}
	return ""
}

func (r *reader) share(names setting[[]value], p *policy.Private) {
	if !names.isSet() {
		return
	}
	p.Share = make([]string, 0, len(names.value))
	for _, name := range names.value {
		if why := unfitShare(name.text); why != "" {
			r.errorf(name.line, "share has %q, which %s", name.text, why)
		}
		p.Share = append(p.Share, name.text)
	}
}

func (r *reader) base(base setting[string], p *policy.Private) {
	if !base.isSet() {
		return
	}
	p.Base = base.value
	why := unfitVariable(base.value)
	if why == "" {
		why = unfitPath(example(base.value))
	}
	if strings.HasPrefix(base.value, "~") {
		why = "is in the home directory, where the user could replace it; write an absolute path"
	}
	if why != "" {
		r.errorf(base.line, "base = %q %s", base.value, why)
	}
}

// plainPath takes an absolute path that is the same for everybody.
func (r *reader) plainPath(key string, s setting[string]) string {
	if !s.isSet() {
		return ""
	}
	if why := unfitPath(s.value); why != "" {
		r.errorf(s.line, "%s = %q %s", key, s.value, why)
	}
	return s.value
}

func unfitPath(p string) string {
	switch {
	case p == "":
		return "is empty; write an absolute path"
	case strings.ContainsFunc(p, unicode.IsControl):
		return "contains a control character"
	case len(p) >= 4096:
		return "is longer than any path"
	case p[0] != '/':
		return "is not an absolute path"
	case path.Clean(p) != p:
		return fmt.Sprintf("is not a clean path; write %q", path.Clean(p))
	}
	return ""
}

func unfitShare(name string) string {
	switch {
	case name == "" || name == ".":
		return "is not a name"
	case strings.HasPrefix(name, "/"):
		return "is an absolute path; write a name below the target"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "contains a control character"
	case path.Clean(name) != name || strings.HasPrefix(name, "../") || name == "..":
		return "is not a simple name"
	case strings.Contains(name, "/"):
		return "is deeper than the target; share the directory that it is in"
	case len(name) > 255:
		return "is longer than any name"
	}
	return ""
}
