package policy

import (
	"reflect"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	cases := []struct{ path, home, user, want string }{
		{"/tmp", "nonsense", "../x", "/tmp"}, // nothing of the user's is in it
		{"~", "/home/alice", "alice", "/home/alice"},
		{"~/.cache", "/home/alice", "alice", "/home/alice/.cache"},
		{"~/.cache", "/home/alice/", "alice", "/home/alice/.cache"},
		{"~/.cache", "/home/alice", "a/../b", "/home/alice/.cache"}, // the name is not in it
		{"/scratch/$USER", "", "alice", "/scratch/alice"},
		{"/scratch/$USER/tmp-$USER.d", "", "alice", "/scratch/alice/tmp-alice.d"},
		{"~/$USER.inst", "/home/alice", "alice", "/home/alice/alice.inst"},
		{"/scratch/$USER", "", `EXAMPLE\alice smith`, `/scratch/EXAMPLE\alice smith`},
		{"/scratch/$USER", "", "a..b", "/scratch/a..b"},
		// Replaced once.
		{"/scratch/$USER", "", "$USER", "/scratch/$USER"},
		{"~/$USER", "/home/$USER", "alice", "/home/$USER/alice"},
		{"/scratch/~/$USERS", "/x", "../y", "/scratch/~/$USERS"},
	}
	for _, c := range cases {
		if got, err := Expand(c.path, c.home, c.user); got != c.want || err != nil {
			t.Errorf("Expand(%q, %q, %q) = %q, %v, want %q", c.path, c.home, c.user, got, err, c.want)
		}
	}
}

// Whatever directory services have for a name or a home, the path does not leave
// the place that the configuration shows.
func TestExpandRefuses(t *testing.T) {
	for _, user := range []string{"", "/", "a/b", "..", ".", ".x", "../../etc", "a\nb", "a\x00b", "\x1b[m", strings.Repeat("a", 256)} {
		if got, err := Expand("/scratch/$USER", "/home/a", user); err == nil {
			t.Errorf("the name %q gives %q", user, got)
		} else if strings.ContainsAny(err.Error(), "\n\x00\x1b") {
			t.Errorf("%q", err)
		}
	}
	for _, home := range []string{"", "/", "//", "home", "~", "/home/../etc", "/home/./a", "/home//a", "/home/a//", "/home/a\nb", "/home/\x00"} {
		if got, err := Expand("~/.cache", home, "alice"); err == nil {
			t.Errorf("the home %q gives %q", home, got)
		} else if strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%q", err)
		}
	}
}

func TestSelect(t *testing.T) {
	students, carol := Rule{by: byGroup, name: "students"}, Rule{by: byUser, name: "carol"}
	p := Default()
	p.Private = []Private{
		{Target: "/tmp", Kind: Tmpfs, For: []Rule{students}, Except: []Rule{carol}},
		{Target: "/tmp", Kind: Directory},
		{Target: "/var/tmp", Except: []Rule{students}},
		{Target: "~/.cache", Base: "/scratch/$USER", For: []Rule{students}},
	}
	p.Bind = []Bind{
		{Source: "/a", Target: "~/lab", For: []Rule{carol}},
		{Source: "/b", Target: "/home/carol/lab"},
		{Source: "/c", Target: "/d", Except: []Rule{carol}},
	}
	type result struct{ private, bind []string }
	cases := map[string]struct {
		groups []string
		want   result
	}{
		"alice": {[]string{"students"}, result{[]string{"/tmp tmpfs", "/home/alice/.cache /scratch/alice"}, []string{"/b /home/carol/lab", "/c /d"}}},
		"bob":   {nil, result{[]string{"/tmp directory", "/var/tmp"}, []string{"/b /home/carol/lab", "/c /d"}}},
		"carol": {[]string{"students"}, result{[]string{"/tmp directory", "/home/carol/.cache /scratch/carol"}, []string{"/a /home/carol/lab"}}},
	}
	for user, c := range cases {
		selected, err := p.Select(Subject{User: user, Groups: c.groups}, "/home/"+user)
		if err != nil {
			t.Fatal(err)
		}
		var got result
		for _, p := range selected.Private {
			got.private = append(got.private, strings.Join(strings.Fields(p.Target+" "+string(p.Kind)+" "+p.Base), " "))
		}
		for _, b := range selected.Bind {
			got.bind = append(got.bind, b.Source+" "+b.Target)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %q, want %q", user, got, c.want)
		}
	}
	if len(p.Private) != 4 || p.Private[3].Target != "~/.cache" {
		t.Error("the policy itself has changed")
	}
}

// What is missing in a home directory is created for its user, whatever is written.
func TestSelectCreatesForTheUserInAHome(t *testing.T) {
	create := Create{Mode: 0o700, Owner: "root"}
	p := Policy{Private: []Private{{Target: "~/x", Create: &create}, {Target: "/srv/$USER", Create: &create}}}
	got, err := p.Select(Subject{User: "alice"}, "/home/alice")
	if err != nil || got.Private[0].Create.Owner != "$USER" || got.Private[1].Create.Owner != "root" || create.Owner != "root" {
		t.Errorf("got %+v, %v; the configuration has %+v now", got.Private, err, create)
	}
}

// What is fine as it is written can be refused for one user.
func TestSelectRefuses(t *testing.T) {
	cases := []struct {
		user, home string
		policy     Policy
		want       string
	}{
		{"daemon", "/usr/sbin", Policy{Private: []Private{{Target: "~/x"}}}, "logins depend on"},
		{"lib", "/home/lib", Policy{Private: []Private{{Target: "/var/$USER"}}}, "logins depend on"},
		{"pam.d", "/home/x", Policy{Bind: []Bind{{Source: "/a", Target: "/etc/$USER"}}}, "logins depend on"},
		{"../etc", "/home/x", Policy{Private: []Private{{Target: "/tmp", Base: "/scratch/$USER"}}}, "slash"},
		{"tmp", "/home/x", Policy{Private: []Private{{Target: "/tmp"}}, Bind: []Bind{{Source: "/a", Target: "/$USER"}}}, "also the target"},
		{"alice", "/tmp/alice", Policy{Private: []Private{{Target: "/tmp", Share: []string{"alice"}}, {Target: "~"}}}, "under share"},
		{"a", "/scratch/a", Policy{Private: []Private{{Target: "~", Base: "/scratch/$USER"}}}, "below its own target"},
	}
	for _, c := range cases {
		_, err := c.policy.Select(Subject{User: c.user}, c.home)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.user, err, c.want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("~/$USER", "/home/alice", "alice")
	f.Add("/scratch/$USER/x", "/", "..")
	f.Fuzz(func(t *testing.T, p, home, user string) {
		if !strings.HasPrefix(p, "/scratch/") || strings.Contains(p, "..") || strings.Contains(p, "\n") {
			return
		}
		got, err := Expand(p, home, user)
		if err == nil && (!strings.HasPrefix(got, "/scratch/") || strings.Count(got, "/") != strings.Count(p, "/") || strings.Contains("/"+got+"/", "/../")) {
			t.Errorf("Expand(%q, %q, %q) = %q", p, home, user, got)
		}
	})
}
