package pamconf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stacks makes files of /etc/pam.d.
func stacks(files map[string]string) Stacks {
	s := Stacks{}
	for name, text := range files {
		s[name] = File{"/etc/pam.d/" + name, text}
	}
	return s
}

func TestLinesAreReadAsLibpamReadsThem(t *testing.T) {
	text := "# comment\n\n-SESSION [success=1 default=ignore] \\\n  pam_x.so a=[b c] [d=e f\\]] # more\n@include other\n" +
		"auth Required pam_y.so\nbroken\nsession optional pam_z.so # not continued \\\nsession optional pam_a.so\n"
	want := []Line{
		{"/s", 3, "session", "[success=1 default=ignore]", "pam_x.so", []string{"a=[b", "c]", "d=e f]"}, 0, 72},
		{"/s", 5, "", "@include", "other", nil, 0, 14},
		{"/s", 6, "auth", "required", "pam_y.so", []string{}, 0, 22},
		{"/s", 8, "session", "optional", "pam_z.so", []string{}, 0, 43},
		{"/s", 9, "session", "optional", "pam_a.so", []string{}, 0, 25},
	}
	if diff := cmp.Diff(want, parse(File{"/s", text})); diff != "" {
		t.Error(diff)
	}
}

func TestIncludesStandInPlaceAndEndlessOnesEnd(t *testing.T) {
	s := stacks(map[string]string{
		"a":          "session required pam_1.so\n@include b\nsession include c\nauth include b\nsession required pam_4.so\n",
		"b":          "session required pam_2.so\nauth required pam_0.so\n",
		"c":          "session required pam_3.so\n",
		"d":          "@include d\n",
		"e":          "session substack c\nsession required pam_4.so\n",
		"f":          "auth required pam_0.so\n",
		otherService: "session required pam_deny.so\n",
	})
	for service, want := range map[string]string{
		"a": "pam_1.so pam_2.so pam_3.so pam_4.so", "d": "pam_deny.so", "e": "c pam_3.so pam_4.so",
		"f": "pam_deny.so", "no-such-service": "pam_deny.so",
	} {
		var got []string
		for _, l := range s.Sessions(service) {
			got = append(got, l.Module)
		}
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("%s: %s", service, diff)
		}
	}
	if got := s.Included("a"); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("a includes %v", got)
	}
}

// A file in the first directory hides the others; an absolute path is read as well.
func TestDirectories(t *testing.T) {
	dir := t.TempDir()
	defer func(before []string) { Dirs = before }(Dirs)
	Dirs = []string{dir + "/etc", dir + "/usr"}
	for name, text := range map[string]string{
		"etc/su":           "session required pam_etc.so\n",
		"usr/su":           "session required pam_usr.so\n",
		"usr/manager":      "session include " + dir + "/else/where\n",
		"else/where":       "@include " + dir + "/else/there\n",
		"else/there":       "session required pam_there.so\n",
		"etc/su~":          "session required pam_old.so\n",
		"etc/su.dpkg-dist": "session required pam_old.so\n",
		"etc/su.orig":      "session required pam_old.so\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := Read()
	if got, want := s.Services(), []string{"manager", "su"}; !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
	if lines := s.Sessions("su"); len(lines) != 1 || lines[0].Place() != dir+"/etc/su:1" {
		t.Errorf("%+v", lines)
	}
	if lines := s.Sessions("manager"); len(lines) != 1 || lines[0].File != dir+"/else/there" {
		t.Errorf("%+v", lines)
	}
}

// Which line keeps PAM from the last one, which calls pam_gotmpns.so.
func TestWhatSkipsALine(t *testing.T) {
	const ours = "session optional pam_gotmpns.so\n"
	for _, c := range []struct{ name, text, by string }{
		{"nothing", "session required pam_1.so\n" + ours, ""},
		{"sufficient", "session sufficient pam_1.so\n" + ours, "pam_1.so"},
		{"optional", "session optional pam_1.so\n" + ours, ""},
		{"done", "session [success=done default=bad] pam_1.so\n" + ours, "pam_1.so"},
		{"done for all", "session [default=done] pam_1.so\n" + ours, "pam_1.so"},
		{"die", "session [success=die] pam_1.so\n" + ours, "pam_1.so"},
		{"a jump over it", "session [success=2 default=ignore] pam_1.so\nsession required pam_2.so\n" + ours, "pam_1.so"},
		{"a jump to it", "session [success=1 default=ignore] pam_1.so\nsession required pam_2.so\n" + ours, ""},
		{"a jump past what would skip it", "session [success=1 default=ignore] pam_1.so\nsession sufficient pam_2.so\n" + ours, ""},
		{"done in a substack", "session substack done\n" + ours, ""},
		{"a long jump in a substack", "session substack jump\n" + ours, ""},
		{"a jump over a substack", "session [success=1 default=ignore] pam_1.so\nsession substack two\n" + ours, ""},
		{"a jump over a substack and ours", "session [success=2 default=ignore] pam_1.so\nsession substack two\n" + ours, "pam_1.so"},
		{"done in an included file", "session include done\n" + ours, "pam_9.so"},
		{"ours in a substack, done before it", "session sufficient pam_1.so\nsession substack ours\n", "pam_1.so"},
		{"ours in a substack with done before it", "session substack done-ours\n", "pam_9.so"},
	} {
		s := stacks(map[string]string{
			"x": c.text, "done": "session sufficient pam_9.so\n", "two": "session required pam_8.so\nsession required pam_7.so\n",
			"jump": "session [success=5 default=ignore] pam_9.so\n", "ours": ours, "done-ours": "session sufficient pam_9.so\n" + ours,
		})
		lines := s.Sessions("x")
		by, skipped := Skips(lines, Index(lines, "pam_gotmpns.so"))
		if by.Module != c.by || skipped != (c.by != "") {
			t.Errorf("%s: skipped by %q, want %q", c.name, by.Module, c.by)
		}
	}
}

func TestServicesThatOpenSessions(t *testing.T) {
	s := stacks(map[string]string{
		"common-session": "session required pam_unix.so\n", "system-auth": "session required pam_unix.so\n",
		"sshd": "@include common-session\n", "vsftpd": "@include common-session\n", "passwd": "password required pam_unix.so\n",
		"chsh": "@include common-session\n", "polkit-1": "@include common-session\n", "other": "@include common-session\n",
		"/opt/stack": "session required pam_unix.so\n", "slurm": "session required pam_unix.so\n",
	})
	if got, want := s.Services(), []string{"slurm", "sshd", "vsftpd"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
