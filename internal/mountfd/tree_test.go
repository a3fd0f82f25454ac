package mountfd

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/test/fatal"
	"gotmpns/test/leftover"
	"gotmpns/test/process"
)

// byAlice runs a command as a user.
var byAlice = []string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"}

// newTop makes a directory of the test's own with some files in it, and the tree of the
// whole machine.
func newTop(t *testing.T) (top string, tree Tree) {
	t.Helper()
	leftover.Require(t)
	top, err := os.MkdirTemp("/opt", "tree")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	must(t, os.Chmod(top, 0o755), os.MkdirAll(top+"/plain/sub", 0o755), os.WriteFile(top+"/plain/file", nil, 0o644),
		os.Symlink("plain", top+"/link"), os.Symlink("/etc", top+"/plain/out"), unix.Mkfifo(top+"/plain/fifo", 0o666))
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return top, Tree{Root: root, Table: "/proc/thread-self/mountinfo"}
}

var must = fatal.If

// mount mounts something on a new directory for as long as the test runs.
func mount(t *testing.T, source, path, kind string, flags uintptr) {
	t.Helper()
	must(t, os.MkdirAll(path, 0o755), unix.Mount(source, path, kind, flags, ""))
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

// Whom a FUSE file system lets in, root among them.
const (
	itsUser  = "--no-allow-other"
	everyone = "-oallow_other"
)

// fuse mounts a FUSE file system that shows source, by way of a command such as
// setpriv(1), and returns its server.
func fuse(t *testing.T, source, path, lets string, by ...string) *process.Process {
	t.Helper()
	must(t, os.WriteFile("/etc/fuse.conf", []byte("user_allow_other\n"), 0o644),
		os.MkdirAll(path, 0o777), os.Chmod(path, 0o777))
	server := process.Stay(t, "bindfs "+lets+" -f "+source+" "+path+" & "+
		"while ! grep -q ' "+path+" ' /proc/self/mountinfo; do sleep 0.01; done", by...)
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return server
}

// stop stops the server of a FUSE file system, so that a system call that asks it does
// not return; the test fails then, instead of waiting indefinitely.
func stop(t *testing.T, server *process.Process) {
	t.Helper()
	must(t, unix.Kill(-server.PID, unix.SIGSTOP))
	watchdog := time.AfterFunc(time.Minute, func() {
		t.Error("a user's own file system was asked, and does not answer")
		server.Kill()
	})
	t.Cleanup(func() { watchdog.Stop() })
}

func TestPathsAreWalkedMountByMount(t *testing.T) {
	top, tree := newTop(t)
	mount(t, "tmpfs", top+"/tmpfs", "tmpfs", 0)
	must(t, os.MkdirAll(top+"/tmpfs/dir/deep", 0o755), os.Symlink("dir", top+"/tmpfs/link"), os.WriteFile(top+"/tmpfs/file", nil, 0o644))
	mount(t, top+"/plain", top+"/tmpfs/dir/bound", "", unix.MS_BIND)
	mount(t, "tmpfs", top+"/tmpfs/dir/bound/sub", "tmpfs", 0)
	must(t, os.Mkdir(top+"/tmpfs/dir/bound/sub/x", 0o755))
	fuse(t, top+"/plain", top+"/roots", everyone)
	stop(t, fuse(t, top+"/plain", top+"/users", everyone, byAlice...))
	stop(t, fuse(t, top+"/plain", top+"/closed", itsUser, byAlice...))
	mount(t, "tmpfs", top+"/tmpfs/dir/deep/below", "tmpfs", 0)

	for path, want := range map[string]error{
		"":                          nil,
		"/":                         nil,
		"/plain":                    nil,
		"/plain/":                   nil,
		"//plain//sub":              nil,
		"/plain/./sub":              nil,
		"/plain/fifo":               nil, // a place: nothing waits for a writer
		"/plain/no":                 fs.ErrNotExist,
		"/plain/file/x":             unix.ENOTDIR,
		"/plain/file/":              nil, // a blemish of the path, not of the file
		"/link":                     unix.ELOOP,
		"/link/file":                unix.ELOOP,
		"/plain/out/passwd":         unix.ELOOP,
		"/tmpfs":                    nil,
		"/tmpfs/":                   nil,
		"/tmpfs/dir":                nil,
		"/tmpfs//dir":               nil,
		"/tmpfs/no":                 fs.ErrNotExist,
		"/tmpfs/no/no":              fs.ErrNotExist,
		"/tmpfs/file/x":             unix.ENOTDIR,
		"/tmpfs/link":               unix.ELOOP,
		"/tmpfs/link/deep":          unix.ELOOP,
		"/tmpfs/dir/bound":          nil,
		"/tmpfs/dir/bound/sub":      nil,
		"/tmpfs/dir/bound/sub/x":    nil,
		"/tmpfs/dir/bound/sub/x/no": fs.ErrNotExist,
		"/tmpfs/dir/bound/out":      unix.ELOOP,
		"/tmpfs/dir/deep/below":     nil,
		"/roots":                    nil,
		"/roots/file":               nil,
		"/users":                    ErrUsers,
		"/users/file":               ErrUsers,
		"/users/no":                 ErrUsers,
		"/users/../plain":           ErrUsers,
		"/closed":                   ErrUsers,
		"/closed/file":              ErrUsers,
	} {
		f, err := tree.Open(top + path)
		if !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), "cannot") {
			t.Errorf("%q: error is %v, want %v", path, err, want)
		}
		if err == nil {
			wantFile(t, f, top+path)
		}
	}
}

// wantFile compares with what the kernel finds at a path, which it closes.
func wantFile(t *testing.T, f *os.File, path string) {
	t.Helper()
	defer f.Close()
	info, err := Stat(f)
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Stat(strings.TrimRight(path, "/"), &st))
	if info.Inode != st.Ino || info.Type != st.Mode&unix.S_IFMT {
		t.Errorf("%s: inode %d of type %#o, want %d, %#o", path, info.Inode, info.Type, st.Ino, st.Mode&unix.S_IFMT)
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	descriptor, derr := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
	if err != nil || derr != nil || flags&unix.O_PATH == 0 || descriptor&unix.FD_CLOEXEC == 0 {
		t.Errorf("%s: it is opened for more than its place, or inherited: %#x, %#x", path, flags, descriptor)
	}
}

// Whatever ".." may do, it does not lead out of the tree.
func TestNoPathLeadsAboveTheRoot(t *testing.T) {
	top, tree := newTop(t)
	mount(t, "tmpfs", top+"/tmpfs", "tmpfs", 0)
	must(t, os.WriteFile(top+"/secret", nil, 0o600))
	for _, root := range []string{"/plain", "/tmpfs"} {
		below, err := tree.Open(top + root)
		must(t, err)
		defer below.Close()
		inside := Tree{Root: below, Table: tree.Table}
		for _, path := range []string{"..", "/..", "/../secret", "/../tmpfs", "/sub/../../secret", "/./../secret", "../plain/../secret", top + "/secret"} {
			if f, err := inside.Open(path); err == nil {
				t.Errorf("%q leads to %s from %s", path, f.Name(), root)
			}
		}
	}
}

func TestWhatAUserAnswersForIsNotAsked(t *testing.T) {
	for name, lets := range map[string]string{"everyone is let in": everyone, "nobody else is let in": itsUser} {
		t.Run(name, func(t *testing.T) {
			top, tree := newTop(t)
			server := fuse(t, top+"/plain", top+"/users", lets, byAlice...)
			place, err := Open(tree.Root, top+"/users")
			must(t, err, SetPropagation(place, unix.MS_SHARED, false))
			defer place.Close()
			stop(t, server)
			if err := tree.Trust(place); !errors.Is(err, ErrUsers) {
				t.Errorf("error is %v", err)
			}
			if root, err := tree.RootOf(place); root != "/" {
				t.Errorf("the mount shows %q, %v", root, err)
			}
			if shared, err := tree.IsShared(place); !shared {
				t.Errorf("the mount is not shared: %v", err)
			}
		})
	}
}

func TestWhatIsKnownIsTrusted(t *testing.T) {
	top, tree := newTop(t)
	stop(t, fuse(t, top+"/plain", top+"/known", everyone, byAlice...))
	stop(t, fuse(t, top+"/plain", top+"/another", everyone, byAlice...))
	place, err := Open(tree.Root, top+"/known")
	must(t, err)
	defer place.Close()
	info, err := Peek(place)
	if err != nil || !info.MountRoot || !info.IsDir() {
		t.Fatalf("%+v, %v", info, err)
	}
	tree.Known = []uint64{1, info.Device}
	f, err := tree.Open(top + "/known")
	if err != nil {
		t.Fatalf("what is known is refused: %v", err)
	}
	f.Close()
	if _, err := tree.Open(top + "/another"); !errors.Is(err, ErrUsers) {
		t.Errorf("what is known makes others known: %v", err)
	}
}

func TestRootAnswersForTheRest(t *testing.T) {
	top, tree := newTop(t)
	mount(t, "tmpfs", top+"/tmpfs", "tmpfs", 0)
	fuse(t, top+"/plain", top+"/roots", everyone)
	for _, path := range []string{"/", "/proc", "/sys", "/dev", top, top + "/tmpfs", top + "/roots"} {
		place, err := Open(tree.Root, path)
		must(t, err)
		if err := tree.Trust(place); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		place.Close()
	}
}

// In the namespace of another process, statmount(2) knows no mount of it: the table of
// that process has to be asked.
func TestMountsOfAnotherNamespaceAreToldByItsTable(t *testing.T) {
	top, here := newTop(t)
	must(t, os.WriteFile("/etc/fuse.conf", []byte("user_allow_other\n"), 0o644),
		os.MkdirAll(top+"/users", 0o777), os.Chmod(top+"/users", 0o777), os.MkdirAll(top+"/tmpfs", 0o755))
	stays := process.Stay(t, "mount -t tmpfs tmpfs "+top+"/tmpfs; mount -t tmpfs tmpfs "+top+"/plain; mount --make-shared "+top+"/plain; "+
		strings.Join(byAlice, " ")+" bindfs "+everyone+" "+top+"/tmpfs "+top+"/users", "unshare", "--mount", "--propagation", "private")
	tree := treeOf(t, stays)
	for path, want := range map[string]struct {
		err    error
		shared bool
	}{
		"/":              {nil, false},
		top + "/tmpfs":   {nil, false},
		top + "/plain":   {nil, true},
		top + "/users":   {ErrUsers, false},
		top + "/users/x": {ErrUsers, false},
	} {
		place, err := tree.Open(path)
		if !errors.Is(err, want.err) {
			t.Errorf("%s: error is %v, want %v", path, err, want.err)
		}
		if err != nil {
			continue
		}
		if shared, err := tree.IsShared(place); err != nil || shared != want.shared {
			t.Errorf("%s: shared is %v, %v; want %v", path, shared, err, want.shared)
		}
		if root, err := tree.RootOf(place); err != nil || root != "/" {
			t.Errorf("%s: root is %q, %v", path, root, err)
		}
		if _, err := here.RootOf(place); err == nil {
			t.Errorf("%s: it is found in a table in which it is not", path)
		}
		place.Close()
	}
}

func treeOf(t *testing.T, p *process.Process) Tree {
	t.Helper()
	at := "/proc/" + strconv.Itoa(p.PID)
	fd, err := unix.Open(at+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	root := os.NewFile(uintptr(fd), "/")
	t.Cleanup(func() { _ = root.Close() })
	return Tree{Root: root, Table: at + "/mountinfo"}
}

func TestSharedMounts(t *testing.T) {
	top, tree := newTop(t)
	for name, c := range map[string]struct {
		modes []uintptr
		want  bool
	}{
		"private":          {[]uintptr{unix.MS_PRIVATE}, false},
		"shared":           {[]uintptr{unix.MS_SHARED}, true},
		"slave":            {[]uintptr{unix.MS_SHARED, 0, unix.MS_SLAVE}, false},
		"slave and shared": {[]uintptr{unix.MS_SHARED, 0, unix.MS_SLAVE, unix.MS_SHARED}, true},
		"unbindable":       {[]uintptr{unix.MS_UNBINDABLE}, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := top + "/mount"
			mount(t, "tmpfs", path, "tmpfs", 0)
			for _, mode := range c.modes {
				if mode == 0 { // from here on about a peer
					mount(t, path, top+"/peer", "", unix.MS_BIND)
					path = top + "/peer"
					continue
				}
				must(t, unix.Mount("", path, "", mode, ""))
			}
			place, err := tree.Open(path)
			must(t, err)
			defer place.Close()
			if shared, err := tree.IsShared(place); err != nil || shared != c.want {
				t.Errorf("shared is %v, %v", shared, err)
			}
			wantAgreement(t, tree, place)
		})
	}
}

// wantAgreement compares what statmount(2) says of a mount with its line of the table.
func wantAgreement(t *testing.T, tree Tree, place *os.File) {
	t.Helper()
	line, err := tree.line(place)
	must(t, err)
	basic, ok := statmount(place, statmountBasic)
	if !ok {
		t.Skip("needs statmount(2), Linux 6.8")
	}
	before, after, _ := strings.Cut(line, " - ")
	if shared := strings.Contains(before, " shared:"); shared != (basic.propagation&unix.MS_SHARED != 0) {
		t.Errorf("statmount says %#x, the table %q", basic.propagation, line)
	}
	if id, _, _ := strings.Cut(line, " "); id != strconv.Itoa(int(basic.oldID)) {
		t.Errorf("statmount says %d, the table %q", basic.oldID, line)
	}
	magic, ok := superMagic(place)
	if isFuse := strings.HasPrefix(after, "fuse"); !ok || isFuse != (magic == unix.FUSE_SUPER_MAGIC) {
		t.Errorf("statmount says %#x (%v), the table %q", magic, ok, line)
	}
}

func TestTheKernelAndTheTableAgreeOnEveryMount(t *testing.T) {
	top, tree := newTop(t)
	fuse(t, top+"/plain", top+"/users", everyone, byAlice...)
	fuse(t, top+"/plain", top+"/roots", everyone)
	table, err := os.ReadFile(tree.Table)
	must(t, err)
	seen := 0
	for line := range strings.Lines(string(table)) {
		place, err := Open(tree.Root, unescape(strings.Fields(line)[4]))
		must(t, err)
		wantAgreement(t, tree, place)
		place.Close()
		seen++
	}
	if seen < 5 {
		t.Errorf("only %d mounts were looked at", seen)
	}
}

func TestTheRootOfAMountIsNamedAsItIs(t *testing.T) {
	top, tree := newTop(t)
	mount(t, "tmpfs", top+"/tmpfs", "tmpfs", 0)
	for _, name := range []string{
		"1000", "a b", "tab\there", "line\nbreak", `back\slash`, `\040`, "#", "ü", "\xff", "1000//deleted", " ", "x - fuse",
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.MkdirAll(top+"/tmpfs/"+name, 0o755))
			mount(t, top+"/tmpfs/"+name, top+"/mount", "", unix.MS_BIND)
			place, err := tree.Open(top + "/mount")
			must(t, err)
			defer place.Close()
			want := "/" + strings.ReplaceAll(name, "//", "/")
			if root, err := tree.RootOf(place); err != nil || root != want {
				t.Errorf("root is %q, %v; want %q", root, err, want)
			}
			must(t, os.Remove(top+"/tmpfs/"+name))
			if root, err := tree.RootOf(place); err != nil || root != want+"//deleted" {
				t.Errorf("root is %q, %v; want %q", root, err, want+"//deleted")
			}
			wantAgreement(t, tree, place)
		})
	}
}

func TestADetachedMountIsInNoTable(t *testing.T) {
	_, tree := newTop(t)
	detached, err := NewTmpfs(Tmpfs{Mode: 0o755})
	must(t, err)
	defer detached.Close()
	if err := tree.Trust(detached); err == nil || errors.Is(err, ErrUsers) {
		t.Errorf("error is %v", err)
	}
	if root, err := tree.RootOf(detached); err == nil {
		t.Errorf("root is %q", root)
	}
}
