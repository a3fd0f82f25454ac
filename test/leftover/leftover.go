// Package leftover fails a test that leaves something behind: a mount, a
// process, a descriptor of the test itself, a file in one of the places where
// everybody writes.
//
// A test calls Snapshot first. What is there at its end and was not at its
// beginning, or the other way round, is an error. Login programs end in their
// own time (sshd's children outlive the client that they served), so there is a
// grace; nobody waits for longer than needed.
//
// It looks at all there is, so tests that use it must not run in parallel with
// one another, nor packages of them (go test -p 1).
package leftover

import (
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// grace is for what is ending already when a test ends.
const grace = 5 * time.Second

// places are looked at with all that is below, but not into other mounts.
var places = []string{"/tmp", "/var/tmp", "/run", "/dev/shm"}

type settings struct {
	ignored []string
	grace   time.Duration
}

// An Option says what may be left.
type Option func(*settings)

// Ignore lets be the files that match a pattern of path.Match, and what is
// below them. Mounts there count nevertheless.
func Ignore(patterns ...string) Option {
	return func(s *settings) { s.ignored = append(s.ignored, patterns...) }
}

// Disposable says whether this is a root that can be spoiled: see test/root/enter.
func Disposable() bool {
	return os.Getenv("GOTMPNS_DISPOSABLE") == "1" && os.Geteuid() == 0
}

// Require skips a test that would change the machine.
func Require(t testing.TB) {
	t.Helper()
	if !Disposable() {
		t.Skip("needs the disposable root: run make test")
	}
}

// Snapshot notes what there is now, and compares at the end of the test. What a
// test undoes in its own Cleanup has to be registered later than this.
func Snapshot(t testing.TB, options ...Option) {
	t.Helper()
	// The test binary may be running under `go test`, which is busy in here.
	s := settings{ignored: []string{"/tmp/go-build*"}, grace: grace}
	for _, option := range options {
		option(&s)
	}
	for _, pattern := range s.ignored {
		if _, err := path.Match(pattern, ""); err != nil {
			t.Fatalf("leftover: cannot ignore %q: %v", pattern, err)
		}
	}
	if err := startPoller(); err != nil {
		t.Fatalf("leftover: %v", err)
	}
	before, err := take(s.ignored)
	if err != nil {
		t.Fatalf("leftover: %v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		differences, err := s.settle(before)
		if err != nil {
			t.Errorf("leftover: %v", err)
		}
		if len(differences) > 0 {
			t.Errorf("not as it was before the test:\n\t%s", strings.Join(differences, "\n\t"))
		}
	})
}

// settle compares until there is no difference, or no more time.
func (s settings) settle(before state) ([]string, error) {
	end := time.Now().Add(s.grace)
	for {
		after, err := take(s.ignored)
		if err != nil {
			return nil, err
		}
		differences := diff(before, after)
		if len(differences) == 0 || time.Now().After(end) {
			return differences, nil
		}
		if err := awaitChange(before.newIn(after)); err != nil {
			return nil, err
		}
	}
}

// awaitChange returns when one of the processes ends or a mount changes. For the
// rest (files, the reaping of a zombie) there is no event: they are looked at
// again after a moment.
func awaitChange(running []process) error {
	const moment = 20 // ms
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer mounts.Close()
	events := []unix.PollFd{{Fd: int32(mounts.Fd()), Events: unix.POLLPRI}}
	for _, p := range running {
		if p.zombie() {
			continue // its pidfd is ready, and would always be
		}
		fd, err := unix.PidfdOpen(p.pid, 0)
		if err != nil {
			continue // it has ended
		}
		defer unix.Close(fd)
		events = append(events, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	if _, err := unix.Poll(events, moment); err != nil && err != unix.EINTR {
		return fmt.Errorf("cannot wait for processes to end: %w", err)
	}
	return nil
}

// startPoller has the Go runtime open the descriptors of its network poller,
// which it does once and keeps.
func startPoller() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	r.Close()
	w.Close()
	return nil
}
