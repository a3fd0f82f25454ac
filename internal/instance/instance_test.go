package instance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
	"gotmpns/test/fatal"
	"gotmpns/test/leftover"
)

var (
	alice = Owner{UID: 1000, User: "alice"}
	bob   = Owner{UID: 1001, User: "bob"}
)

// newStore serves one login whose target is a directory of the test's own.
func newStore(t *testing.T, dir string) (*Store, Target) {
	t.Helper()
	v, err := view.Enter(os.Getpid()) // this goroutine keeps its thread, which ends with it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	s, err := state.Open(v.Host.Root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	target, err := OpenTarget(v.Host, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Dir.Close() })
	store := NewStore(v, s)
	t.Cleanup(store.Close)
	return store, target
}

// newTarget is outside of /tmp, where the tests themselves have files.
func newTarget(t *testing.T) string {
	t.Helper()
	leftover.Require(t)
	dir, err := os.MkdirTemp("/opt", "target")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir); _ = os.RemoveAll("/run/gotmpns") })
	chmod(t, dir, os.ModeSticky|0o777)
	return dir
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func first(t *testing.T, dir string) (instance string) {
	t.Helper()
	store, target := newStore(t, dir)
	f, err := store.Directory(target, policy.Private{}, alice)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	store.Close() // other logins of this user wait no longer
	return one(t, dir+"/gotmpns-*") + "/1000"
}

var one = fatal.UnlessOne

func TestTheInstanceLooksLikeItsTarget(t *testing.T) {
	dir := newTarget(t)
	info, err := os.Stat(first(t, dir))
	if err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("%v, %v", info, err)
	}
	if again := first(t, dir); again != first(t, dir) {
		t.Error("the next login has another instance")
	}
}

// foreign are the things that a user could put instead of ours (CASES 1).
var foreign = map[string]func(path string) error{
	"a user's directory": func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chown(p, 1001, 1001)) },
	"a symbolic link":    func(p string) error { return os.Symlink("/etc", p) },
	"a FIFO":             func(p string) error { return unix.Mkfifo(p, 0o600) },
	"a file":             func(p string) error { return os.WriteFile(p, nil, 0o600) },
	"a device":           func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) },
	"a wrong mode":       func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o755)) },
}

func TestAForeignBaseIsRefused(t *testing.T) {
	for name, put := range foreign {
		t.Run(name, func(t *testing.T) {
			dir := newTarget(t)
			base := dir + "-base"
			t.Cleanup(func() { _ = os.RemoveAll(base) })
			if err := put(base); err != nil {
				t.Fatal(err)
			}
			before := lstat(t, base)
			store, target := newStore(t, dir)
			_, err := store.Directory(target, policy.Private{Base: base}, alice)
			if err == nil || !strings.Contains(err.Error(), "cannot") || !strings.Contains(err.Error(), base) {
				t.Errorf("error is %v", err)
			}
			if after := lstat(t, base); after != before {
				t.Errorf("it was %s and is %s", before, after)
			}
		})
	}
}

func TestAForeignInstanceIsRefused(t *testing.T) {
	for name, put := range foreign {
		t.Run(name, func(t *testing.T) {
			dir := newTarget(t)
			instance := first(t, dir)
			if err := os.Remove(instance); err != nil {
				t.Fatal(err)
			}
			if err := put(instance); err != nil {
				t.Fatal(err)
			}
			before := lstat(t, instance)
			store, target := newStore(t, dir)
			if _, err := store.Directory(target, policy.Private{}, alice); err == nil || !strings.Contains(err.Error(), "cannot") {
				t.Errorf("error is %v", err)
			}
			if after := lstat(t, instance); after != before {
				t.Errorf("it was %s and is %s", before, after)
			}
		})
	}
}

func lstat(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(st.Ino, st.Mode, st.Uid, st.Gid)
}

// CASES 4: a cleaner has removed the base, and a user has taken its name.
func TestASquattedBaseIsReplaced(t *testing.T) {
	dir := newTarget(t)
	instance := first(t, dir)
	base := filepath.Dir(instance)
	if err := os.RemoveAll(base); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(instance, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(base, 1001, 1001); err != nil {
		t.Fatal(err)
	}
	store, target := newStore(t, dir)
	f, err := store.Directory(target, policy.Private{}, alice)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if strings.HasPrefix(f.Name(), base) || len(store.Remarks) == 0 || !strings.Contains(store.Remarks[0], "is replaced") {
		t.Errorf("the instance is %s, the remarks are %q", f.Name(), store.Remarks)
	}
}

// CASES 22.
func TestAfterRunIsEmptiedThereIsANewBase(t *testing.T) {
	dir := newTarget(t)
	old := first(t, dir)
	if err := os.RemoveAll("/run/gotmpns"); err != nil {
		t.Fatal(err)
	}
	store, target := newStore(t, dir)
	f, err := store.Directory(target, policy.Private{}, alice)
	if err != nil || f.Name() == old {
		t.Errorf("%v, %v", f, err)
	}
}

// CASES 3.
func TestWhereOthersCanRenameNoInstanceIsKept(t *testing.T) {
	for name, prepare := range map[string]func(dir string) error{
		"writable by a group":         func(d string) error { return os.Chmod(d, 0o775) },
		"writable by all, not sticky": func(d string) error { return os.Chmod(d, 0o777) },
		"a user's, sticky or not":     func(d string) error { return os.Chown(d, 1000, 1000) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTarget(t)
			if err := prepare(dir); err != nil {
				t.Fatal(err)
			}
			store, target := newStore(t, dir)
			if _, err := store.Directory(target, policy.Private{}, alice); err == nil || !strings.Contains(err.Error(), "cannot keep instances in "+dir) {
				t.Errorf("error is %v", err)
			}
			if _, err := store.Directory(target, policy.Private{Base: dir + "/base"}, alice); err == nil || !strings.Contains(err.Error(), "cannot trust "+dir) {
				t.Errorf("error of a base in there is %v", err)
			}
		})
	}
}

// CASES 2: while a user does what he can to the names, 1,000 logins touch
// nothing that is outside.
func TestRacesWithTheUserNeverLeadOutside(t *testing.T) {
	dir := newTarget(t)
	instance := first(t, dir)
	outside := dir + "-outside"
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(outside) })
	before := lstat(t, outside)
	// In the instance, through a mount as the session has it, and beside the base.
	attack := fmt.Sprintf(`cd %[1]s/.mount || exit 1; while :; do mkdir s 2>/dev/null; mv s t; ln -s %[2]s s; rm -f s; mv t s; rmdir s; `+
		`ln -s %[2]s %[1]s/gotmpns-zzzzzzzz; mv %[1]s/gotmpns-zzzzzzzz %[1]s/gotmpns-yyyyyyyy; rm -f %[1]s/gotmpns-yyyyyyyy; done 2>/dev/null`, dir, outside)
	if err := os.Mkdir(dir+"/.mount", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(instance, dir+"/.mount", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir+"/.mount", unix.MNT_DETACH) }()
	attacker := exec.Command("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "sh", "-c", attack)
	if err := attacker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = attacker.Process.Kill(); _ = attacker.Wait() }()
	refused := 0
	login, target := newStore(t, dir)
	for i := 0; i < 1000 || refused == 0 && i < 100_000; i++ {
		store := NewStore(login.view, login.state)
		f, err := store.Directory(target, policy.Private{}, alice)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := MountPoint(f, "s/inner", true); err != nil {
			refused++
		}
		_ = f.Close()
		store.Close()
		_ = os.RemoveAll(instance + "/s") // once it is root's, nobody can remove it
	}
	if after := lstat(t, outside); after != before || len(list(t, outside)) != 0 {
		t.Errorf("outside was %s and is %s, with %v", before, after, list(t, outside))
	}
	if refused == 0 {
		t.Error("the attacker never got in the way: this shows nothing")
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestMountPointsAreMadeAsRootsOwn(t *testing.T) {
	dir := newTarget(t)
	instance := first(t, dir)
	root, err := mountfd.Root()
	if err != nil {
		t.Fatal(err)
	}
	f, err := mountfd.OpenDir(root, instance)
	if err != nil {
		t.Fatal(err)
	}
	for path, directory := range map[string]bool{"a/b/c": true, "file": false, "a/file": false} {
		if _, err := MountPoint(f, path, directory); err != nil {
			t.Error(err)
		}
	}
	if err := os.Mkdir(instance+"/mine", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(instance+"/mine", 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", instance+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"mine", "mine/x", "link", "link/x", "a/b/c/../../../../x", "file/x"} {
		if _, err := MountPoint(f, path, true); err == nil {
			t.Errorf("%s is taken for a mount point", path)
		}
	}
}
