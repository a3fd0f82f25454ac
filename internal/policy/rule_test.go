package policy

import (
	"strings"
	"testing"
	"unicode"
)

func TestRulesMatch(t *testing.T) {
	alice := Subject{User: "alice", UID: 1000, Shell: "/bin/bash", Service: "sshd", Groups: []string{"students"}}
	cases := []struct {
		rule string
		want bool
	}{
		{"alice", true}, {"Alice", false}, {"bob", false}, {`DOMAIN\alice`, false},
		{"@students", true}, {"@staff", false},
		{"uid<1000", false}, {"uid<=1000", true}, {"uid>999", true}, {"uid>=1001", false},
		{"uid=1000", true}, {"uid=999-1001", true}, {"uid=1001-2000", false}, {"uid=0-1000", true},
		{"service:sshd", true}, {"service:cron", false},
		{"shell:/bin/bash", true}, {"shell:/bin/sh", false},
		{"uid", false}, // a user may be called so
	}
	for _, c := range cases {
		t.Run(c.rule, func(t *testing.T) {
			rule, err := ParseRule(c.rule)
			if err != nil {
				t.Fatal(err)
			}
			if got := rule.Matches(alice); got != c.want {
				t.Errorf("matches = %v", got)
			}
			if rule.String() != c.rule {
				t.Errorf("prints as %q", rule)
			}
		})
	}
}

func TestSlipsOfThePenAreNoUserNames(t *testing.T) {
	for _, text := range []string{
		"", "@", "uid:1000", "uid 1000", "uid=>5", "uid==5", "uid=", "uid=a", "uid=-1", "uid=5-", "uid=9-3", "uid<5-9",
		"uid=4294967296", "group:x", "Service:x", "service:", "shell:bash", "a,b", " a", "a\nb", "\x00", "uid<1000;",
	} {
		if rule, err := ParseRule(text); err == nil {
			t.Errorf("%q is taken for %#v", text, rule)
		}
	}
}

func TestGroupNamesAreNamedOnce(t *testing.T) {
	group := func(name string) Rule { return Rule{by: byGroup, name: name} }
	p := Policy{
		Exempt:  []Rule{group("b"), group("a")},
		Private: []Private{{For: []Rule{group("c"), group("a")}, Except: []Rule{group("e")}}},
		Bind:    []Bind{{For: []Rule{group("d")}, Except: []Rule{group("f"), group("b")}}},
	}
	if got := strings.Join(p.GroupNames(), " "); got != "a b c d e f" {
		t.Errorf("got %q", got)
	}
	if Default().GroupNames() != nil {
		t.Error("the default asks the name service")
	}
}

func FuzzParseRule(f *testing.F) {
	for _, text := range []string{"alice", "@g", "uid<1", "uid=1-2", "service:x", "shell:/x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rule, err := ParseRule(text)
		if err != nil {
			if strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("the error %q has control characters", err)
			}
			return
		}
		again, err := ParseRule(rule.String())
		if err != nil || again != rule {
			t.Errorf("%q becomes %q and then %#v (%v)", text, rule, again, err)
		}
	})
}
