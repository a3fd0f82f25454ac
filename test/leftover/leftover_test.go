package leftover

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// story is a test that is looked at, instead of one that runs.
type story struct {
	testing.TB
	cleanups []func()
	errors   []string
}

func (s *story) Helper()          {}
func (s *story) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }
func (s *story) Errorf(format string, args ...any) {
	s.errors = append(s.errors, fmt.Sprintf(format, args...))
}

// end does what the testing package does at the end of a test.
func (s *story) end() string {
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
	return strings.Join(s.errors, "\n")
}

// leaves runs what a test does, and returns the complaint about it.
func leaves(t *testing.T, grace time.Duration, do func(), options ...Option) string {
	t.Helper()
	Require(t)
	s := &story{TB: t}
	Snapshot(s, append(options, func(s *settings) { s.grace = grace })...)
	do()
	return s.end()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustContain(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, part := range want {
		if !strings.Contains(got, part) {
			t.Errorf("the complaint does not have %q:\n%s", part, got)
		}
	}
}

func TestNothingLeftIsNoComplaint(t *testing.T) {
	got := leaves(t, 0, func() {
		must(t, exec.Command("true").Run())
		must(t, os.WriteFile("/tmp/f", nil, 0o600))
		must(t, os.Remove("/tmp/f"))
		must(t, unix.Mount("none", "/mnt", "tmpfs", 0, ""))
		must(t, unix.Unmount("/mnt", 0))
	})
	if got != "" {
		t.Error(got)
	}
}

func TestAMountLeft(t *testing.T) {
	Require(t)
	dir := t.TempDir()
	got := leaves(t, 0, func() { must(t, unix.Mount("none", dir, "tmpfs", 0, "")) })
	must(t, unix.Unmount(dir, 0))
	mustContain(t, got, "left: mount self: ", "left: mount pid 1: ", dir)
}

func TestPropagationChanged(t *testing.T) {
	Require(t)
	dir := t.TempDir()
	must(t, unix.Mount("none", dir, "tmpfs", 0, ""))
	got := leaves(t, 0, func() { must(t, unix.Mount("", dir, "", unix.MS_UNBINDABLE, "")) })
	must(t, unix.Unmount(dir, 0))
	mustContain(t, got, "gone: mount self: ", "left: mount self: ", " unbindable ")
}

func TestAFileLeft(t *testing.T) {
	for _, place := range places {
		file := filepath.Join(place, "left")
		got := leaves(t, 0, func() { must(t, os.WriteFile(file, nil, 0o600)) })
		mustContain(t, got, "left: file "+file+": -rw------- 0:0")
		must(t, os.Remove(file))
	}
}

func TestAFileThatMayBeLeft(t *testing.T) {
	got := leaves(t, 0, func() { must(t, os.MkdirAll("/tmp/gotmpns-1/1000", 0o700)) }, Ignore("/tmp/gotmpns-*"))
	must(t, os.RemoveAll("/tmp/gotmpns-1"))
	if got != "" {
		t.Error(got)
	}
}

func TestADescriptorLeft(t *testing.T) {
	var file *os.File
	got := leaves(t, 0, func() {
		var err error
		file, err = os.Open("/etc/passwd")
		must(t, err)
	})
	must(t, file.Close())
	mustContain(t, got, "left: descriptor ", " -> /etc/passwd")
}

func TestAProcessLeft(t *testing.T) {
	cmd := exec.Command("sleep", "77")
	got := leaves(t, 0, func() { must(t, cmd.Start()) })
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
	// Not its arguments: they are not there yet, right after exec.
	mustContain(t, got, fmt.Sprintf("left: process %d of parent %d: ", cmd.Process.Pid, os.Getpid()))
}

func TestAnOrphanLeft(t *testing.T) {
	var pid int
	got := leaves(t, 0, func() {
		out, err := exec.Command("sh", "-c", "setsid sleep 77 >/dev/null 2>&1 & echo $!").Output()
		must(t, err)
		_, err = fmt.Sscan(string(out), &pid)
		must(t, err)
	})
	must(t, unix.Kill(pid, unix.SIGKILL))
	mustContain(t, got, fmt.Sprintf("left: process %d of parent 1: ", pid))
}

func TestAZombieLeft(t *testing.T) {
	cmd := exec.Command("true")
	got := leaves(t, 50*time.Millisecond, func() { must(t, cmd.Start()) })
	must(t, cmd.Wait())
	mustContain(t, got, "a zombie that nobody waits for")
}

func TestWhatEndsByItselfHasTime(t *testing.T) {
	begin := time.Now()
	got := leaves(t, grace, func() {
		must(t, exec.Command("sh", "-c", "(sleep .2; rm /tmp/late) >/dev/null 2>&1 & : >/tmp/late").Run())
	})
	if got != "" {
		t.Error(got)
	}
	if took := time.Since(begin); took >= grace {
		t.Errorf("waited for %v, though there was nothing any more after 200ms", took)
	}
}

func TestABadPatternIsTold(t *testing.T) {
	s := &fatal{}
	func() {
		defer func() { _ = recover() }()
		Snapshot(s, Ignore("/tmp/[")) // before anything is looked at, so on any machine
	}()
	mustContain(t, s.said, `cannot ignore "/tmp/["`)
}

// fatal is a test that ends at its first Fatalf.
type fatal struct {
	testing.TB
	said string
}

func (f *fatal) Helper() {}
func (f *fatal) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	panic(f)
}

func TestRequireSaysWhatIsNeeded(t *testing.T) {
	t.Setenv("GOTMPNS_DISPOSABLE", "")
	s := &skipped{}
	Require(s)
	mustContain(t, s.said, "run make test")
}

type skipped struct {
	testing.TB
	said string
}

func (s *skipped) Helper()          {}
func (s *skipped) Skip(args ...any) { s.said = fmt.Sprint(args...) }
