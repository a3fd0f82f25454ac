package run

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// What the set-up gets is what was asked for, byte by byte.
func TestStageArguments(t *testing.T) {
	p := privileges{1, 2, 1 << 63, 4, 5, 6}
	for _, want := range []stage{
		{request: Request{Propagation: Slave, Command: []string{"true"}}},
		{request: Request{Propagation: PropagationOff, PID: true, IPC: true, Hostname: "a,b", Command: []string{"-", "--", ""}}, after: p},
		{userNamespace: true, after: p, request: Request{
			Propagation: Shared, Net: true, UTS: true, MayMount: true,
			Mounts:  []Mount{{Bind, "a b", "\xff:\n", 0}, {Tmpfs, "", "4", 1 << 63}, {Private, "", ",", 0}},
			Command: []string{"2", "private"},
		}},
	} {
		words := want.encode()
		got, ok := decode(words[2:])
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(stage{}, privileges{})); !ok || diff != "" {
			t.Errorf("%q: %t %s", words, ok, diff)
		}
		// A command is needed, and what comes before it, too.
		for end := 2; end <= len(words)-len(want.request.Command); end++ {
			if _, ok := decode(words[2:end]); ok {
				t.Errorf("%q is enough", words[:end])
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("user,slave,0,0,0,0,0,0,,1,bind,a,b,0,true")
	f.Add(strings.Join((stage{request: Request{Command: []string{"x"}}}).encode()[2:], "\x00"))
	f.Fuzz(func(t *testing.T, text string) {
		s, ok := decode(strings.Split(text, "\x00"))
		if ok && len(s.request.Command) == 0 {
			t.Errorf("%q has no command", text)
		}
	})
}

// A setting that forbids user namespaces is named, whichever it is.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		err      unix.Errno
		settings map[string]string
		want     string
		hint     string
	}{
		{unix.EPERM, map[string]string{"kernel.unprivileged_userns_clone": "0"}, "forbids it by kernel.unprivileged_userns_clone = 0", "ask root"},
		{unix.ENOSPC, map[string]string{"user.max_user_namespaces": "0"}, "forbids it by user.max_user_namespaces = 0", "ask root"},
		{unix.ENOSPC, map[string]string{"user.max_mnt_namespaces": "0", "user.max_user_namespaces": "9"}, "forbids it by user.max_mnt_namespaces = 0", "ask root"},
		{unix.EACCES, map[string]string{apparmorSetting: "1"}, "forbids it by " + apparmorSetting + " = 1", "ask root"},
		{unix.ENOSPC, map[string]string{"user.max_user_namespaces": "9", "kernel.unprivileged_userns_clone": "1"}, "no space left", "too many namespaces"},
		{unix.EPERM, nil, "operation not permitted", "a chroot forbids"},
		{unix.EINVAL, map[string]string{apparmorSetting: "0"}, "invalid argument", "CONFIG_USER_NS"},
	} {
		err := forbidden(c.err, func(name string) string { return c.settings[name] })
		var advised *Error
		if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) ||
			!errors.As(err, &advised) || !strings.Contains(advised.Hint, c.hint) {
			t.Errorf("%v, %v: %v, hint %+v; want %q and %q", c.err, c.settings, err, advised, c.want, c.hint)
		}
	}
}

func TestPrivileges(t *testing.T) {
	now, err := readPrivileges()
	if err != nil {
		t.Fatal(err)
	}
	again, ok := parsePrivileges(now.String())
	if !ok || again != now {
		t.Errorf("%v is read as %v, %t", now, again, ok)
	}
	for _, s := range []string{"", "1,2,3,4,5", "1,2,3,4,5,6,7", "1,2,3,4,5,x", "1,2,3,4,5,-6"} {
		if _, ok := parsePrivileges(s); ok {
			t.Errorf("%q passes", s)
		}
	}
	if got := (privileges{bounding: 1}).with(2); got != (privileges{2, 2, 2, 1, 2, 0}) {
		t.Errorf("with 2 it is %v", got)
	}
}

func TestMayFollow(t *testing.T) {
	link := func(uid uint32) mountfd.Info { return mountfd.Info{UID: uid} }
	public, closed := mountfd.Info{Mode: 0o1777}, mountfd.Info{Mode: 0o755}
	const overflow = 65534
	for _, c := range []struct {
		name string
		w    walker
		link uint32
		dir  mountfd.Info
		want bool
	}{
		{"one's own", walker{uid: 1000}, 1000, public, true},
		{"root's", walker{uid: 1000}, 0, public, true},
		{"another's, for root", walker{uid: 0}, 1001, closed, false},
		{"another's", walker{uid: 1000}, 1001, public, false},
		{"one's own, in a user namespace", walker{uid: 1000, unknown: true}, 1000, public, true},
		{"somebody's, where only he could put it", walker{uid: 1000, unknown: true}, overflow, closed, true},
		{"somebody's, where all could put it", walker{uid: 1000, unknown: true}, overflow, public, false},
	} {
		if got := c.w.mayFollow(link(c.link), c.dir); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestComponents(t *testing.T) {
	for path, want := range map[string][]string{
		"/": nil, "": nil, ".": nil, "a//b/./c/": {"a", "b", "c"}, "/../a": {"..", "a"},
	} {
		if got := components(path); !slices.Equal(got, want) {
			t.Errorf("components(%q) = %q", path, got)
		}
	}
}

func TestInterpreters(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hidden := write("hidden", "", 0o644)
	for _, c := range []struct{ path, interpreter, reason string }{
		{write("script", "#! /no/such/shell -e\n", 0o755), "/no/such/shell", "its interpreter /no/such/shell cannot be executed: no such file"},
		{write("hides", "#!"+hidden+"\n", 0o755), hidden, "cannot be executed: permission denied"},
		{write("fine", "#!/bin/sh\n", 0o755), "/bin/sh", "exec format error"},
		{write("empty", "#!\n", 0o755), "", "exec format error"},
		{write("text", "echo\n", 0o755), "", "exec format error"},
		{filepath.Join(dir, "nothing"), "", "exec format error"},
		{"/proc/self/mem", "", "exec format error"},
	} {
		if got := interpreterOf(c.path); got != c.interpreter {
			t.Errorf("%s has the interpreter %q, want %q", c.path, got, c.interpreter)
		}
		if err := explainExec(c.path, unix.ENOEXEC); !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, want %q", c.path, err, c.reason)
		}
	}
	if got := interpreterOf("/bin/ls"); !strings.Contains(got, "ld") {
		t.Errorf("the loader of a program is %q", got)
	}
}
