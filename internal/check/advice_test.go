package check

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// otherMachines follows advice that is about another machine than the one with the tests, by
// the name of the fault.
var otherMachines = map[string]func(*System){
	"old kernel":   func(s *System) { s.Kernel.Release = "5.12.0" },
	"no open_tree": func(s *System) { s.Kernel.Refused = nil },
	"seccomp":      func(s *System) { s.Kernel.Refused = nil },
	"SELinux":      func(s *System) { s.SELinux = false },
}

// Each piece of advice has a test that follows it on a machine and sees the finding go: a
// script of the command ("advice" and "followed") or a test of a whole system (advised).
func TestEveryPieceOfAdviceIsFollowed(t *testing.T) {
	followers := followersOf(t)
	seen := map[string]bool{}
	for _, c := range faults(t) {
		s := healthy(t)
		c.spoil(&s)
		for _, f := range All(s) {
			if f.Level == OK {
				continue
			}
			seen[f.ID] = true
			isFollowed := slices.ContainsFunc(followers[f.ID], func(p *regexp.Regexp) bool { return p.MatchString(f.Advice) })
			if otherMachines[c.name] == nil && f.Advice != "" && !isFollowed {
				t.Errorf("%s: nothing follows the advice %q", f.ID, f.Advice)
			}
		}
		if follow := otherMachines[c.name]; follow != nil {
			follow(&s)
			for _, f := range All(s) {
				if f.Level != OK {
					t.Errorf("%s: the advice was followed, and it says %+v", c.name, f)
				}
			}
		}
	}
	for _, id := range ids(t, "Notice|Problem") {
		if !seen[id] {
			t.Errorf("no fault in the table has the finding %s", id)
		}
	}
}

// followersOf returns patterns of advice that tests follow, by id.
func followersOf(t *testing.T) map[string][]*regexp.Regexp {
	t.Helper()
	followers := map[string][]*regexp.Regexp{}
	for glob, call := range map[string]*regexp.Regexp{
		"../cli/testdata/root/*.txt": regexp.MustCompile(`(?m)^advice (\S+) '(.*?)'( |$)`),
		"../../test/login/*_test.go": regexp.MustCompile(`advised\(t, "([a-z-]+)", ("(?:[^"\\]|\\.)*")`),
	} {
		names, err := filepath.Glob(glob)
		if err != nil || len(names) == 0 {
			t.Fatal(glob, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range call.FindAllStringSubmatch(string(text), -1) {
				pattern := match[2]
				if unquoted, err := strconv.Unquote(pattern); err == nil {
					pattern = unquoted
				}
				followers[match[1]] = append(followers[match[1]], regexp.MustCompile("^(?:"+pattern+")$"))
			}
		}
	}
	return followers
}
