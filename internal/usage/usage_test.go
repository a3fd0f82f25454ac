package usage

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gotmpns/test/fatal"
)

// TestMain is also the process that uses a tree: see [process].
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "process" {
		behave(os.Args[2:])
		return
	}
	os.Exit(m.Run())
}

// behave carries out words on the main thread, says so, and stays until its input ends.
func behave(words []string) {
	runtime.LockOSThread()
	if len(words) > 0 && words[0] == "thread" { // on another one, while this is locked
		done := make(chan struct{})
		go func() { runtime.LockOSThread(); carryOut(words[1:]); close(done); select {} }()
		<-done
	} else {
		carryOut(words)
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

func carryOut(words []string) {
	for _, word := range words {
		if err := do(strings.Split(word, "=")); err != nil {
			fmt.Printf("%s: %v\n", word, err)
			os.Exit(1)
		}
	}
}

func do(word []string) error {
	switch word[0] {
	case "unshare":
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	case "private":
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	case "bind":
		return unix.Mount(word[1], word[2], "", unix.MS_BIND, "")
	case "tmpfs":
		return unix.Mount("tmpfs", word[1], "tmpfs", 0, "")
	case "detach":
		return unix.Unmount(word[1], unix.MNT_DETACH)
	case "chroot":
		return unix.Chroot(word[1])
	case "cd":
		return unix.Chdir(word[1])
	case "root": // the working directory becomes the root directory
		return unix.Chroot(".")
	case "stack":
		n, err := strconv.Atoi(word[2])
		for i := 0; i < n && err == nil; i++ {
			err = unix.Mount(word[1], word[1], "", unix.MS_BIND, "")
		}
		return err
	}
	return fmt.Errorf("unknown")
}

// Which namespaces a process has of its own.
type namespaces int

const (
	none namespaces = iota
	own
	users // made by a user, uid 1000
)

// process starts a process that does what words say; it ends with the test, or with
// the returned function.
func process(t *testing.T, has namespaces, words ...string) (end func()) {
	t.Helper()
	command := append([]string{program(t), "process"}, words...)
	if has == users {
		command = append([]string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups",
			"unshare", "--user", "--map-root-user", "--mount", "--"}, command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	if has == own {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the process says %q", line)
	}
	end = sync.OnceFunc(func() {
		in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(end)
	return end
}

// program copies this program to where any user can start it.
func program(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	path := filepath.Join(t.TempDir(), "program")
	must(t, os.WriteFile(path, text, 0o755))
	must(t, os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755))
	return path
}

var must = fatal.If

// field is a base with the instances of two users, and a finder.
type field struct {
	testing.TB
	dir    string
	finder *Finder
	trees  []Tree
}

func newField(t testing.TB) *field {
	t.Helper()
	if os.Getenv("GOTMPNS_DISPOSABLE") != "1" {
		t.Skip("needs the disposable root: run make test")
	}
	finder, err := New()
	must(t, err)
	t.Cleanup(finder.Close)
	f := &field{TB: t, dir: t.TempDir(), finder: finder}
	must(t, os.Chmod(filepath.Dir(f.dir), 0o755))
	for _, dir := range []string{"base/1000/sub", "base/10001", "base/1000 1", "else/where"} {
		must(t, os.MkdirAll(filepath.Join(f.dir, dir), 0o755))
	}
	f.add("base/1000", 1000)
	f.add("base/10001", 1001)
	f.add("base/1000 1", NoUID)
	return f
}

func (f *field) path(name string) string { return filepath.Join(f.dir, name) }

func (f *field) add(name string, uid uint32) {
	f.Helper()
	fd, err := unix.Open(f.path(name), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(f.TB, err)
	dir := os.NewFile(uintptr(fd), name)
	f.Cleanup(func() { dir.Close() })
	f.trees = append(f.trees, Tree{dir, uid})
}

func never() bool { return false }

// want compares which trees are used, such as "1000 1".
func (f *field) want(names ...string) {
	f.Helper()
	uses, err := f.finder.Uses(f.trees, Nobodys, never)
	must(f.TB, err)
	f.compare(uses, names)
}

func (f *field) compare(uses []Use, names []string) {
	f.Helper()
	var got []string
	for i, use := range uses {
		if use.Any() {
			got = append(got, filepath.Base(f.trees[i].Dir.Name()))
		}
	}
	if strings.Join(got, ",") != strings.Join(names, ",") {
		f.Errorf("used are %q, and not %q: %v", got, names, uses)
	}
}

func TestWhoUsesATree(t *testing.T) {
	for name, c := range map[string]struct {
		has   namespaces
		words []string // @ is the directory
		want  []string
	}{
		"nobody":                     {none, nil, nil},
		"another place":              {own, []string{"private", "bind=@/base/10001=@/else"}, []string{"10001"}},
		"a part of it":               {own, []string{"private", "bind=@/base/1000/sub=@/else"}, []string{"1000"}},
		"a name with a blank":        {own, []string{"private", "bind=@/base/1000 1=@/else"}, []string{"1000 1"}},
		"the base and no instance":   {own, []string{"private", "bind=@/base=@/else"}, nil},
		"one thread":                 {none, []string{"thread", "unshare", "bind=@/base/1000=@/else"}, []string{"1000"}},
		"another root directory":     {own, []string{"private", "bind=@/base/1000=@/else", "tmpfs=/mnt", "chroot=/mnt"}, []string{"1000"}},
		"a user's other root":        {users, []string{"private", "bind=@/base/1000=@/else", "tmpfs=/mnt", "chroot=/mnt"}, []string{"1000"}},
		"below a mount over /":       {users, []string{"private", "bind=@/base/1000=@/else", "tmpfs=/"}, []string{"1000"}},
		"inside, by the host's path": {none, []string{"cd=@/base/1000/sub"}, []string{"1000"}},
		"root in it":                 {none, []string{"unshare", "cd=@/base/1000/sub", "root"}, []string{"1000"}},
		"inside, detached":           {own, []string{"private", "bind=@/base/1000=@/else", "cd=@/else/sub", "detach=@/else"}, []string{"1000"}},
		"the base, by its path":      {none, []string{"cd=@/base"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newField(t)
			words := make([]string, len(c.words))
			for i, word := range c.words {
				words[i] = strings.ReplaceAll(word, "@", f.dir)
			}
			end := process(t, c.has, words...)
			f.want(c.want...)
			f.want(c.want...) // and with what is remembered
			end()
			f.want()
		})
	}
}

// A finder that has seen a namespace notices what is mounted in there later.
func TestALaterMountIsNoticed(t *testing.T) {
	f := newField(t)
	f.want()
	must(t, unix.Mount(f.path("base/1000"), f.path("else"), "", unix.MS_BIND, ""))
	f.want("1000")
	must(t, unix.Unmount(f.path("else"), 0))
	f.want()
}

// A tree in a base that the finder has not known so far is looked for everywhere.
func TestAnotherBase(t *testing.T) {
	f := newField(t)
	must(t, os.MkdirAll(f.path("second/1002"), 0o755))
	process(t, own, "private", "bind="+f.path("second/1002")+"="+f.path("else"))
	f.want()
	f.add("second/1002", 1002)
	f.want("1002")
}

// What a caller knows counts for the user whose it is.
func TestKnownNamespaces(t *testing.T) {
	f := newField(t)
	process(t, own, "private", "bind="+f.path("base/1000")+"="+f.path("else"))
	mine := number(t, "/proc/self/ns/mnt")
	for uid, want := range map[uint32][]string{1000: {"1000"}, 1001: {"10001"}, 1002: nil} {
		known := func(n uint64) (uint32, bool) { return uid, n != mine }
		f.trees = f.trees[:2] // whose users are known
		uses, err := f.finder.Uses(f.trees, known, never)
		must(t, err)
		f.compare(uses, want)
	}
}

func number(t testing.TB, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Ino
}

// A user with more mounts than anybody wants to read keeps their own instance, and
// the one whose user is not known.
func TestTooManyMountsKeepNobodyElses(t *testing.T) {
	f := newField(t)
	deep := f.path("else/" + strings.Repeat(strings.Repeat("x", 250)+"/", 14))
	must(t, os.MkdirAll(deep, 0o777))
	process(t, users, "private", "tmpfs="+deep, "stack="+deep+"=5200")
	f.want("1000", "1000 1")
}

// Nor can a user take the time of the others, by many namespaces or by stacked mounts,
// which take the kernel long to print.
func TestAUsersShareOfTheTime(t *testing.T) {
	f := newField(t)
	process(t, users, "private", "tmpfs=/mnt", "stack=/mnt=100")
	process(t, own, "private", "tmpfs=/mnt", "stack=/mnt=100")
	f.want()
	f.finder.share = 0
	f.finder.version++ // nothing is remembered
	f.want("1000", "1000 1")
	f.want("1000", "1000 1")
	for _, was := range f.finder.seen {
		if was.tooLong {
			return
		}
	}
	t.Error("the table would be read again each time")
}

// Nor by deep directories: one that is too deep to look at keeps its owner's instance, and
// none that is as deep as usual is missed.
func TestDeepDirectoriesTakeNobodysTime(t *testing.T) {
	f := newField(t)
	deep := func(at string, levels, uid int) string {
		path := f.path(at)
		for range levels {
			path += "/d"
			must(t, os.MkdirAll(path, 0o755))
			must(t, os.Chown(path, uid, uid))
		}
		return path
	}
	shallow, bobs, roots := deep("base/10001", 20, 1000), deep("base/10001/sub", 100, 1000), deep("else/root", 100, 0)
	for _, c := range []struct {
		cd   string
		want []string
	}{{shallow, []string{"10001"}}, {bobs, []string{"1000", "1000 1"}}, {roots, nil}} {
		f.finder.share = 0
		end := process(t, none, "cd="+c.cd)
		f.want(c.want...)
		f.finder.share = shareAtMost
		if c.cd == bobs {
			f.want("10001")
		}
		end()
	}
}

// The thread that goes into other namespaces does not stay there, and nothing is
// held open.
func TestNothingIsLeftBehind(t *testing.T) {
	f := newField(t)
	process(t, own, "private", "bind="+f.path("base/1000")+"="+f.path("else"))
	before := open(t)
	for range 20 {
		f.want("1000")
	}
	if after := open(t); after != before {
		t.Errorf("%d descriptors are open, and were %d", after, before)
	}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/mnt")
	must(t, err)
	host := number(t, "/proc/1/ns/mnt")
	for _, task := range tasks {
		var st unix.Stat_t
		if unix.Stat(task, &st) == nil && st.Ino != host {
			t.Errorf("a thread stays in namespace %d: %s", st.Ino, task)
		}
	}
}

func open(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(names)
}

func TestASearchCanBeStopped(t *testing.T) {
	f := newField(t)
	steps := 0
	_, err := f.finder.Uses(f.trees, Nobodys, func() bool { steps++; return steps > 1 })
	if err != ErrStopped {
		t.Errorf("got %v", err)
	}
}

// bindfs mounts a directory of a user's by FUSE, until the test ends.
func (f *field) bindfs(uid int) (mountpoint string, server *exec.Cmd) {
	f.Helper()
	if _, err := exec.LookPath("bindfs"); err != nil {
		f.Skip("needs bindfs")
	}
	source, mountpoint := f.path("source"), f.path("fuse")
	for _, dir := range []string{source, mountpoint} {
		must(f.TB, os.Mkdir(dir, 0o755))
		must(f.TB, os.Chown(dir, uid, uid))
	}
	user := strconv.Itoa(uid)
	server = exec.Command("setpriv", "--reuid="+user, "--regid="+user, "--clear-groups",
		"bindfs", "-f", "-o", "attr_timeout=0", "--no-allow-other", source, mountpoint)
	must(f.TB, server.Start())
	f.Cleanup(func() {
		_ = unix.Unmount(mountpoint, unix.MNT_DETACH)
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	for !isMounted(f.TB, mountpoint) {
		runtime.Gosched()
	}
	return mountpoint, server
}

// A FUSE server that does not answer is not waited for.
func TestAFileSystemThatDoesNotAnswer(t *testing.T) {
	f := newField(t)
	mountpoint, server := f.bindfs(0)
	process(t, own, "private", "bind="+f.path("base/1000")+"=/mnt", "cd="+mountpoint, "root")
	must(t, server.Process.Signal(syscall.SIGSTOP))
	f.want("1000")
}

// On a user's FUSE, root may not even ask. The search still knows the rest.
func TestAFileSystemThatRootMayNotEnter(t *testing.T) {
	f := newField(t)
	mountpoint, _ := f.bindfs(1000)
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, mountpoint, 0, unix.STATX_INO, &st); err == nil {
		t.Fatal("root may enter it: this shows nothing")
	}
	process(t, users, "cd="+mountpoint)
	process(t, users, "private", "bind="+f.path("base/1000")+"=/mnt", "cd="+mountpoint, "root")
	f.want("1000")
}

// isMounted looks at devices, which also a FUSE that is not ours to enter gives.
func isMounted(t testing.TB, path string) bool {
	t.Helper()
	one, err := statx(unix.AT_FDCWD, path, 0)
	must(t, err)
	two, err := statx(unix.AT_FDCWD, filepath.Dir(path), 0)
	must(t, err)
	return idOf(one).device != idOf(two).device
}
