package broker

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connection is a pair of sockets as accept(2) gives one of them.
func connection(t *testing.T) (ours, theirs int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[1]) })
	return pair[0], pair[1]
}

// hangsUp says whether the other end of a connection has been closed.
func hangsUp(t *testing.T, theirs int) bool {
	t.Helper()
	events := []unix.PollFd{{Fd: int32(theirs)}}
	if _, err := unix.Poll(events, 0); err != nil {
		t.Fatal(err)
	}
	return events[0].Revents&unix.POLLHUP != 0
}

// newRunning has the waiting connections looked at until the test ends.
func newRunning(t *testing.T) (w *waiting, served chan int) {
	t.Helper()
	served = make(chan int, waitingAtMost)
	w, err := newWaiting(func(fd int) { served <- fd })
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.run() }() // it ends with the process
	return w, served
}

func TestAConnectionWaitsUntilSomethingComes(t *testing.T) {
	for name, c := range map[string]func(t *testing.T, theirs int) error{
		"a request": func(_ *testing.T, theirs int) error { return unix.Send(theirs, []byte("x"), 0) },
		"a hang-up": func(_ *testing.T, theirs int) error { return unix.Shutdown(theirs, unix.SHUT_WR) },
		"both at once": func(_ *testing.T, theirs int) error {
			if err := unix.Send(theirs, []byte("x"), 0); err != nil {
				return err
			}
			return unix.Shutdown(theirs, unix.SHUT_RDWR)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, served := newRunning(t)
			ours, theirs := connection(t)
			_, silent := connection(t)
			w.add(ours)
			select {
			case <-served:
				t.Error("it is served although nothing came")
			case <-time.After(20 * time.Millisecond): // it can only be missed, never wrong
			}
			if err := c(t, theirs); err != nil {
				t.Fatal(err)
			}
			if fd := <-served; fd != ours {
				t.Errorf("served is %d, want %d", fd, ours)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.since) != 0 || hangsUp(t, silent) {
				t.Errorf("%d still wait", len(w.since))
			}
			unix.Close(ours)
		})
	}
}

func TestAConnectionDoesNotWaitForever(t *testing.T) {
	w, err := newWaiting(func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	old, oldPeer := connection(t)
	w.add(old)
	then := time.Now()
	young, youngPeer := connection(t)
	w.add(young)
	w.expire(then)
	if !hangsUp(t, oldPeer) || hangsUp(t, youngPeer) {
		t.Errorf("hung up on the old one: %v, on the young one: %v", hangsUp(t, oldPeer), hangsUp(t, youngPeer))
	}
	w.expire(time.Now().Add(time.Second))
	if !hangsUp(t, youngPeer) || len(w.since) != 0 {
		t.Errorf("%d wait", len(w.since))
	}
}

// It is not only expired when it is asked, but by itself.
func TestSilentConnectionsAreHungUpOn(t *testing.T) {
	w, _ := newRunning(t)
	began := time.Now()
	ours, theirs := connection(t)
	w.add(ours)
	events := []unix.PollFd{{Fd: int32(theirs), Events: unix.POLLIN}}
	if n, err := unix.Poll(events, 60_000); n != 1 || err != nil || !hangsUp(t, theirs) {
		t.Errorf("nobody hangs up: %d, %v", n, err)
	}
	if time.Since(began) < requestTimeout {
		t.Errorf("after %s", time.Since(began))
	}
}

func TestTooManyConnectionsDoNotWait(t *testing.T) {
	w, err := newWaiting(func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	for i := range waitingAtMost + 1 {
		ours, theirs := connection(t)
		w.add(ours)
		if hangsUp(t, theirs) != (i == waitingAtMost) {
			t.Fatalf("connection %d is hung up on: %v", i, hangsUp(t, theirs))
		}
	}
	w.expire(time.Now().Add(time.Second))
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	w.add(fd)
	if len(w.since) != 0 {
		t.Error("what can never be waited for waits")
	}
	if err := unix.Close(fd); err == nil {
		t.Error("what can never be waited for is left open")
	}
}

func TestOneUserDoesNotTakeAllThreads(t *testing.T) {
	b := &Broker{users: map[uint32]int{}}
	const alice, bob = 1000, 1001
	for i := range perUserAtMost {
		if !b.enter(alice) {
			t.Fatalf("login %d is too many", i)
		}
	}
	if b.enter(alice) || !b.enter(bob) {
		t.Error("alice has no end, or bob none at all")
	}
	b.leave(alice)
	if !b.enter(alice) || b.enter(alice) {
		t.Error("who leaves makes no room, or too much")
	}
	for range perUserAtMost {
		b.leave(alice)
	}
	b.leave(bob)
	if len(b.users) != 0 || perUserAtMost >= threadsAtMost {
		t.Errorf("counted are %v", b.users)
	}
}
