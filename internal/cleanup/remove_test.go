package cleanup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gotmpns/test/fatal"
)

// tree makes a directory "victim" with everything in it that a user may leave, and
// beside it files that must stay.
func tree(t *testing.T) (parent *os.File, dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"victim/a/b/c", "victim/empty", "outside"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("outside/precious")
	put("victim/file")
	put("victim/a/b/c/deep")
	put("victim/\xff\xfe not UTF-8\n")
	put("victim/-rf")
	must(t, os.Symlink("../outside", filepath.Join(dir, "victim/link")))
	must(t, os.Symlink("/", filepath.Join(dir, "victim/a/root")))
	must(t, os.Symlink("..", filepath.Join(dir, "victim/a/up")))
	must(t, os.Link(filepath.Join(dir, "outside/precious"), filepath.Join(dir, "victim/hard")))
	must(t, unix.Mkfifo(filepath.Join(dir, "victim/fifo"), 0o600))
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(socket)
	must(t, unix.Bind(socket, &unix.SockaddrUnix{Name: filepath.Join(dir, "victim/socket")}))
	parent, err = os.Open(dir)
	must(t, err)
	t.Cleanup(func() { parent.Close() })
	return parent, dir
}

var must = fatal.If

func gone(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	return os.IsNotExist(err)
}

func TestAllIsRemovedAndNothingElse(t *testing.T) {
	parent, dir := tree(t)
	if err := removeTree(parent, "victim", never); err != nil {
		t.Fatal(err)
	}
	if !gone(t, dir+"/victim") {
		t.Error("it is still there")
	}
	if text, err := os.ReadFile(dir + "/outside/precious"); err != nil || string(text) != "x" {
		t.Errorf("what a link led to is gone: %v", err)
	}
}

func TestALinkInItsPlaceIsNotFollowed(t *testing.T) {
	parent, dir := tree(t)
	must(t, os.Rename(dir+"/victim", dir+"/kept"))
	must(t, os.Symlink("outside", dir+"/victim"))
	if err := removeTree(parent, "victim", never); err == nil {
		t.Error("a symbolic link was taken for the directory")
	}
	if gone(t, dir+"/outside/precious") {
		t.Error("what it led to is gone")
	}
}

// A path of more than PATH_MAX bytes, and more levels than descriptors.
func TestADeepTree(t *testing.T) {
	parent, dir := tree(t)
	at, err := unix.Open(dir+"/victim", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	const levels = 3000
	for range levels {
		must(t, unix.Mkdirat(at, "nested", 0o700))
		next, err := unix.Openat(at, "nested", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		unix.Close(at)
		at = next
	}
	unix.Close(at)
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	fewer := limit
	fewer.Cur = 128
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &fewer))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	if err := removeTree(parent, "victim", never); err != nil {
		t.Fatal(err)
	}
	if !gone(t, dir+"/victim") {
		t.Error("it is still there")
	}
}

func TestManyFiles(t *testing.T) {
	parent, dir := tree(t)
	for i := range 20_000 {
		must(t, os.WriteFile(fmt.Sprintf("%s/victim/%d", dir, i), nil, 0o600))
	}
	must(t, removeTree(parent, "victim", never))
	if !gone(t, dir+"/victim") {
		t.Error("it is still there")
	}
}

// It ends early when it is stopped, and the next pass continues.
func TestItCanBeStopped(t *testing.T) {
	parent, dir := tree(t)
	steps := 0
	stop := func() bool { steps++; return steps > 3 }
	if err := removeTree(parent, "victim", stop); err != errStopped {
		t.Fatalf("got %v", err)
	}
	if gone(t, dir+"/victim") {
		t.Error("all of it was removed in three steps")
	}
	must(t, removeTree(parent, "victim", never))
	if !gone(t, dir+"/victim") {
		t.Error("it is still there")
	}
}

// While somebody moves things about in it, nothing outside is touched, and in the
// end it is gone.
func TestRenamesUnderWay(t *testing.T) {
	parent, dir := tree(t)
	inside, err := unix.Open(dir+"/victim", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	ended, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			default:
			}
			_ = unix.Renameat(inside, "a", inside, "empty/a")
			_ = unix.Renameat(inside, "empty/a", inside, "a")
			_ = unix.Symlinkat("../outside", inside, fmt.Sprintf("again%d", i%10))
		}
	}()
	steps := 0
	_ = removeTree(parent, "victim", func() bool { steps++; return steps > 5000 })
	close(end)
	<-ended
	unix.Close(inside)
	if gone(t, dir+"/outside/precious") {
		t.Fatal("what a link led to is gone")
	}
	if !gone(t, dir+"/victim") {
		must(t, removeTree(parent, "victim", never))
	}
}

// A mount inside stays as it is, and so does an immutable file: both are reported.
func TestWhatCannotBeRemovedIsTold(t *testing.T) {
	if os.Getenv("GOTMPNS_DISPOSABLE") != "1" {
		t.Skip("needs the disposable root: run make test")
	}
	parent, dir := tree(t)
	must(t, unix.Mount(dir+"/outside", dir+"/victim/empty", "", unix.MS_BIND, ""))
	defer func() { must(t, unix.Unmount(dir+"/victim/empty", 0)) }()
	err := removeTree(parent, "victim", never)
	if err == nil || !strings.Contains(err.Error(), `"empty": something is mounted there`) {
		t.Errorf("got %v", err)
	}
	if gone(t, dir+"/outside/precious") {
		t.Error("what was mounted in it is gone")
	}
	if !gone(t, dir+"/victim/a") || !gone(t, dir+"/victim/file") {
		t.Error("the rest is still there")
	}
}
