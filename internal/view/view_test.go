package view

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/proc"
	"gotmpns/test/fatal"
	"gotmpns/test/leftover"
	"gotmpns/test/process"
)

// Tests move threads and leave them where they are. The main thread ends with none of
// them, and /proc takes it for the process: no test has it.
func init() { runtime.LockOSThread() }

var must = fatal.If

// newTop makes a directory of the test's own, with a target and a /proc in it.
func newTop(t *testing.T) string {
	t.Helper()
	leftover.Require(t)
	top, err := os.MkdirTemp("/opt", "view")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	must(t, os.Chmod(top, 0o755), os.Mkdir(top+"/target", 0o755), os.WriteFile(top+"/target/hosts", nil, 0o644), os.Mkdir(top+"/proc", 0o755))
	return top
}

// A caller is where a login process can come from, and how it is looked at.
type caller struct {
	// view moves the calling goroutine's thread to where that is, and returns what
	// /proc says about it. It ends with the test.
	view           func(t *testing.T, top string) *View
	inHost, ofInit bool
}

var callers = map[string]caller{
	"a worker, from the host": {func(t *testing.T, _ string) *View {
		return enterFor(t, os.Getpid())
	}, true, true},
	"a worker, from a session": {func(t *testing.T, top string) *View {
		login := inSession(t, top)
		runtime.LockOSThread()
		namespace, err := proc.OpenNamespace(namespacePath(login.PID))
		must(t, err, unix.Unshare(unix.CLONE_FS), enterNamespace(namespace), namespace.Close())
		return enterFor(t, login.PID)
	}, false, true},
	// As in a container that shares the host's pids.
	"a worker, in another root directory": {func(t *testing.T, top string) *View {
		must(t, unix.Mount("proc", top+"/proc", "proc", 0, ""))
		t.Cleanup(func() { _ = unix.Unmount(top+"/proc", unix.MNT_DETACH) })
		runtime.LockOSThread()
		must(t, unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
			unix.Mount(top, top, "", unix.MS_BIND|unix.MS_REC, ""), unix.Chdir(top), unix.Chroot("."),
			unix.Mount("tmpfs", "/target", "tmpfs", 0, ""), os.WriteFile("/target/sessions", nil, 0o644))
		return enterFor(t, os.Getpid())
	}, false, false},
	"the broker, for the host": {func(t *testing.T, _ string) *View {
		return settled(t, os.Getpid())
	}, true, true},
	"the broker, for a session": {func(t *testing.T, top string) *View {
		return settled(t, inSession(t, top).PID)
	}, false, true},
}

// inSession starts a login process that has something else at the target.
func inSession(t *testing.T, top string) *process.Process {
	return process.Stay(t, "mount -t tmpfs tmpfs "+top+"/target; touch "+top+"/target/sessions", "unshare", "--mount")
}

func namespacePath(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/ns/mnt" }

func enterFor(t *testing.T, pid int) *View {
	v, err := Enter(pid)
	must(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func settled(t *testing.T, pid int) *View {
	r, err := Settle()
	must(t, err)
	t.Cleanup(r.Close)
	v, err := r.For(pid)
	must(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// eachCaller runs a test once for every caller, on a thread that ends with it. target is
// the path of the target for that caller.
func eachCaller(t *testing.T, test func(t *testing.T, v *View, c caller, target string)) {
	for name, c := range callers {
		t.Run(name, func(t *testing.T) {
			top := newTop(t)
			v := c.view(t, top)
			target := top + "/target"
			if !c.ofInit {
				target = "/target"
			}
			test(t, v, c, target)
		})
	}
}

// has says whether a target has a file in a tree.
func has(t *testing.T, tree mountfd.Tree, target, name string) bool {
	t.Helper()
	f, err := mountfd.Open(tree.Root, target+"/"+name)
	if err == nil {
		f.Close()
	}
	return err == nil
}

func TestWhereALoginComesFrom(t *testing.T) {
	eachCaller(t, func(t *testing.T, v *View, c caller, target string) {
		if v.InHost != c.inHost || v.OfInit != c.ofInit {
			t.Errorf("in the host's namespace: %v, in its root: %v", v.InHost, v.OfInit)
		}
		if got := has(t, v.Caller, target, "hosts"); got != c.inHost {
			t.Errorf("the caller sees what the host has: %v", got)
		}
		if got := has(t, v.Host, target, "hosts"); got != c.ofInit {
			t.Errorf("the host is seen: %v", got)
		}
		if !c.inHost && !has(t, v.Caller, target, "sessions") {
			t.Error("the caller's own is not seen")
		}
		// Of two descriptors, what they are counts.
		host, err := proc.OpenNamespace(v.HostNamespace().Name())
		must(t, err)
		defer host.Close()
		if v.IsCaller(v.HostNamespace()) != v.IsCaller(host) {
			t.Error("a namespace is another by another descriptor")
		}
		if c.ofInit && !c.inHost && v.IsCaller(v.HostNamespace()) {
			t.Error("the host's namespace is taken for the caller's")
		}
		cwd, err := v.Cwd()
		must(t, err, cwd.Close())
	})
}

// here is where a thread is.
type here struct {
	namespace, root, cwd mountfd.ID
}

func whereItIs(t *testing.T) here {
	t.Helper()
	var at here
	var errs [3]error
	at.namespace, errs[0] = proc.IdentityAt("/proc/thread-self/ns/mnt")
	at.root, errs[1] = proc.IdentityAt("/")
	at.cwd, errs[2] = proc.IdentityAt(".")
	must(t, errs[:]...)
	return at
}

func tableOf(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

// builds are what can happen in a new namespace.
var builds = map[string]struct {
	build func(tree mountfd.Tree, target string) error
	fails bool
}{
	"nothing":   {func(mountfd.Tree, string) error { return nil }, false},
	"a mount":   {attach, false},
	"a failure": {func(mountfd.Tree, string) error { return errBuild }, true},
	"a failure after a mount": {func(tree mountfd.Tree, target string) error {
		return errors.Join(attach(tree, target), errBuild)
	}, true},
	"another working directory": {func(tree mountfd.Tree, target string) error {
		return unix.Chdir(target)
	}, false},
	"a mount over the root directory": {func(tree mountfd.Tree, _ string) error {
		return attach(tree, "/")
	}, false},
}

var errBuild = errors.New("build")

// attach mounts a tmpfs on the target, where no peer sees it.
func attach(tree mountfd.Tree, target string) error {
	if err := mountfd.SetPropagation(tree.Root, unix.MS_PRIVATE, true); err != nil {
		return err
	}
	mount, err := mountfd.NewTmpfs(mountfd.Tmpfs{Mode: 0o755})
	if err != nil {
		return err
	}
	defer mount.Close()
	onto, err := mountfd.Open(tree.Root, target)
	if err != nil {
		return err
	}
	defer onto.Close()
	return mountfd.Attach(mount, onto)
}

func TestTheThreadComesBackFromWhatItMakes(t *testing.T) {
	eachCaller(t, func(t *testing.T, v *View, _ caller, target string) {
		tables := map[string]string{v.Caller.Table: tableOf(t, v.Caller.Table), v.Host.Table: tableOf(t, v.Host.Table), "/proc/1/mountinfo": tableOf(t, "/proc/1/mountinfo")}
		before := whereItIs(t)
		for name, b := range builds {
			for from, create := range map[string]func(func(mountfd.Tree) error) (*Namespace, error){
				"host":                   v.FromHost,
				"caller":                 func(build func(mountfd.Tree) error) (*Namespace, error) { return v.FromCaller(nil, build) },
				"caller, in a directory": func(build func(mountfd.Tree) error) (*Namespace, error) { return v.FromCaller(v.Caller.Root, build) },
			} {
				made := mountfd.ID{}
				n, err := create(func(tree mountfd.Tree) error {
					made = whereItIs(t).namespace
					return b.build(tree, target)
				})
				if errors.Is(err, errBuild) != b.fails || (n == nil) != b.fails {
					t.Fatalf("%s, %s: %v, %v", from, name, n, err)
				}
				if after := whereItIs(t); after != before || made == before.namespace {
					t.Fatalf("%s, %s: the thread was at %v and is at %v; built was %v", from, name, before, after, made)
				}
				if n == nil {
					continue
				}
				if id, err := proc.IdentityOf(n.File); err != nil || id != made {
					t.Errorf("%s, %s: another namespace is returned: %v, %v", from, name, id, err)
				}
				must(t, n.Close())
			}
		}
		for path, table := range tables {
			if now := tableOf(t, path); now != table {
				t.Errorf("%s was\n%s\nand is\n%s", path, table, now)
			}
		}
	})
}

func TestTheNewNamespaceIsACopyWithWhatWasBuilt(t *testing.T) {
	eachCaller(t, func(t *testing.T, v *View, c caller, target string) {
		for from, create := range map[string]func(func(mountfd.Tree) error) (*Namespace, error){
			"host":   v.FromHost,
			"caller": func(build func(mountfd.Tree) error) (*Namespace, error) { return v.FromCaller(nil, build) },
		} {
			name := "hosts"
			if !c.ofInit || from == "caller" && !c.inHost {
				name = "sessions"
			}
			n, err := create(func(tree mountfd.Tree) error {
				if !has(t, tree, target, name) {
					t.Errorf("%s: it is not a copy", from)
				}
				return attach(tree, target)
			})
			must(t, err)
			defer n.Close()
			before := whereItIs(t)
			must(t, v.In(n.File, func(root *os.File) {
				inside := n.Root
				if c.ofInit {
					inside = root // that of the namespace
				}
				if has(t, mountfd.Tree{Root: inside}, target, name) || has(t, mountfd.Tree{Root: n.Root}, target, name) {
					t.Errorf("%s: what was built is not there", from)
				}
			}))
			if after := whereItIs(t); after != before {
				t.Errorf("%s: the thread was at %v and is at %v", from, before, after)
			}
		}
	})
}

func TestTheWorkingDirectoryIsKept(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, path string){
		"as it is":      func(*testing.T, string) {},
		"removed":       func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"replaced":      func(t *testing.T, path string) { must(t, os.Remove(path), os.Mkdir(path, 0o755)) },
		"not for users": func(t *testing.T, path string) { must(t, os.Chmod(path, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			eachCaller(t, func(t *testing.T, v *View, c caller, target string) {
				path := strings.TrimSuffix(target, "target") + "cwd"
				must(t, os.Mkdir(path, 0o755))
				t.Cleanup(func() { _ = os.Remove(path) })
				cwd, err := mountfd.OpenDir(v.Caller.Root, path)
				must(t, err)
				defer cwd.Close()
				prepare(t, path)
				before := whereItIs(t)
				n, err := v.FromCaller(cwd, func(tree mountfd.Tree) error { return attach(tree, target) })
				must(t, err)
				defer n.Close()
				if after := whereItIs(t); after != before {
					t.Errorf("the thread was at %v and is at %v", before, after)
				}
				want, err := mountfd.Stat(cwd)
				must(t, err)
				if n.Cwd == nil {
					t.Fatal("it has none")
				}
				got, err := mountfd.Stat(n.Cwd)
				if err != nil || got.ID != want.ID || n.Cwd.Name() != path {
					t.Errorf("it is %s, %+v, %v; want %+v", n.Cwd.Name(), got, err, want)
				}
				// It lies on a mount of the new namespace, and not on one of the old.
				must(t, v.In(n.File, func(root *os.File) {
					if _, err := (mountfd.Tree{Root: root, Table: table}).RootOf(n.Cwd); err != nil {
						t.Error(err)
					}
				}))
				if _, err := v.Host.RootOf(n.Cwd); err == nil {
					t.Error("it lies on a mount of the host's")
				}
			})
		})
	}
}

// A user's own file system lets nobody else in, root neither.
func TestAWorkingDirectoryThatRootMayNotEnterIsNotKept(t *testing.T) {
	top := newTop(t)
	must(t, os.Mkdir(top+"/users", 0o777), os.Chmod(top+"/users", 0o777))
	must(t, os.Chmod(top, 0o755))
	login := process.Stay(t, "setpriv --reuid=1000 --regid=1000 --clear-groups bindfs --no-allow-other "+top+"/target "+top+"/users", "unshare", "--mount")
	v := settled(t, login.PID)
	cwd, err := mountfd.OpenDir(v.Caller.Root, top+"/users")
	must(t, err)
	defer cwd.Close()
	before := whereItIs(t)
	n, err := v.FromCaller(cwd, func(mountfd.Tree) error { return nil })
	must(t, err)
	defer n.Close()
	if n.Cwd != nil || whereItIs(t) != before {
		t.Errorf("it is kept: %v", n.Cwd)
	}
}

func TestWhatLiesBelowAMountIsUncovered(t *testing.T) {
	top := newTop(t)
	v := callers["a worker, in another root directory"].view(t, top)
	before := whereItIs(t)
	callers := tableOf(t, v.Caller.Table)
	undo, err := v.Uncover("/target")
	must(t, err)
	if !has(t, v.Host, "/target", "hosts") || !has(t, v.Caller, "/target", "sessions") {
		t.Error("what lies below is not seen, or the caller's own is no longer seen")
	}
	uncovered := whereItIs(t)
	for name, create := range map[string]func(func(mountfd.Tree) error) (*Namespace, error){
		"hosts":    v.FromHost,
		"sessions": func(build func(mountfd.Tree) error) (*Namespace, error) { return v.FromCaller(nil, build) },
	} {
		for _, fails := range []error{nil, errBuild} {
			n, err := create(func(tree mountfd.Tree) error {
				if !has(t, tree, "/target", name) {
					t.Errorf("it has no %s", name)
				}
				return fails
			})
			if !errors.Is(err, fails) {
				t.Error(err)
			}
			if n != nil {
				must(t, n.Close())
			}
			if after := whereItIs(t); after != uncovered {
				t.Fatalf("%s: the thread was at %v and is at %v", name, uncovered, after)
			}
		}
	}
	must(t, undo())
	if after := whereItIs(t); after.namespace != before.namespace || after.root != before.root || !has(t, v.Host, "/target", "sessions") {
		t.Errorf("the thread was at %v and is at %v", before, after)
	}
	if now := tableOf(t, v.Caller.Table); now != callers {
		t.Errorf("the caller's table was\n%s\nand is\n%s", callers, now)
	}
}

func TestWhatTheBrokerCannotServe(t *testing.T) {
	top := newTop(t)
	r, err := Settle()
	must(t, err)
	defer r.Close()
	gone := process.Stay(t, "")
	gone.End()
	zombie := process.Stay(t, "")
	zombie.Kill()
	for name, c := range map[string]struct {
		pid    int
		served bool
	}{
		"this process":                     {os.Getpid(), true},
		"a process of the host":            {process.Stay(t, "").PID, true},
		"one in a namespace of its own":    {process.Stay(t, "", "unshare", "--mount").PID, true},
		"one in another root directory":    {inChroot(t, top+"/target").PID, false},
		"one in a user namespace":          {process.Stay(t, "", "unshare", "--user", "--map-root-user").PID, false},
		"one in a user's mount namespace":  {process.Stay(t, "", "unshare", "--user", "--map-root-user", "--mount").PID, false},
		"one in a user's, but not as user": {usersNamespace(t).PID, false},
		"one that has ended":               {gone.PID, false},
		"a zombie":                         {zombie.PID, false},
		"none":                             {1 << 22, false},
	} {
		v, err := r.For(c.pid)
		if (err == nil) != c.served || err != nil && !errors.Is(err, ErrElsewhere) {
			t.Errorf("%s: error is %v", name, err)
		}
		if v != nil {
			must(t, v.Close())
		}
		if !r.IsHome() {
			t.Fatalf("%s: the thread is not where it was", name)
		}
	}
	must(t, unix.Unshare(unix.CLONE_NEWNS))
	if r.IsHome() {
		t.Error("it does not see that it is elsewhere")
	}
}

// inChroot is a process whose root directory has nothing but programs.
func inChroot(t *testing.T, root string) *process.Process {
	return process.Stay(t, "", "unshare", "--mount", "sh", "-ec", "mount -t tmpfs tmpfs "+root+"; cd "+root+"; mkdir usr; mount --rbind /usr usr; "+
		"for link in bin lib lib64; do ln -s usr/$link; done; exec chroot . \"$@\"", "sh")
}

// usersNamespace is a process of root's that has entered the mount namespace that a user
// made, but not the user namespace.
func usersNamespace(t *testing.T) *process.Process {
	users := process.Stay(t, "", "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "unshare", "--user", "--map-root-user", "--mount")
	return process.Stay(t, "", "nsenter", "--mount", "--target", strconv.Itoa(users.PID))
}

func TestLookingElsewhere(t *testing.T) {
	leftover.Require(t)
	other := process.Stay(t, "mount -t tmpfs tmpfs /mnt; touch /mnt/x", "unshare", "--mount")
	eachCaller(t, func(t *testing.T, v *View, _ caller, _ string) {
		before := whereItIs(t)
		namespace, err := proc.OpenNamespace(namespacePath(other.PID))
		must(t, err)
		defer namespace.Close()
		looked := false
		must(t, v.In(namespace, func(root *os.File) { looked = has(t, mountfd.Tree{Root: root}, "/mnt", "x") }))
		if !looked || whereItIs(t) != before {
			t.Errorf("looked: %v; the thread was at %v and is at %v", looked, before, whereItIs(t))
		}
		wrong, err := os.Open("/proc/self/ns/uts")
		must(t, err)
		defer wrong.Close()
		looked = false
		if err := v.In(wrong, func(*os.File) { looked = true }); err == nil || looked || whereItIs(t) != before {
			t.Errorf("what is no mount namespace: %v, %v", looked, err)
		}
	})
}
