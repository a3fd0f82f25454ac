package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gotmpns/internal/proc"
	"gotmpns/test/process"
)

func wantCount(t *testing.T, h *Held, namespaces, users int) {
	t.Helper()
	if n, u := h.Count(); n != namespaces || u != users || h.Holds(alice) != (u > 0) {
		t.Errorf("%d namespaces of %d users are held, want %d of %d", n, u, namespaces, users)
	}
}

// add is for a namespace that the test does not need itself.
func add(h *Held, uid uint32, n *Namespace, session string) {
	h.Add(uid, n, session)
	_ = n.Close()
}

func TestWhatIsHeldLastsUntilItsSessionsHaveEnded(t *testing.T) {
	records, host := newRecords(t)
	h := NewHeld()
	file, err := os.Open("/proc/self/ns/mnt") // the runtime's poller, which it starts, stays
	must(t, err, file.Close())
	before := descriptors(t)
	login := own(t)
	add(h, alice, open(t, login, "first"), "first")
	add(h, alice, open(t, login, "second"), "second")
	wantCount(t, h, 1, 1)
	wantNamespaces(t, h.Of(records, alice, host), login)
	wantNamespaces(t, h.Of(records, bob, host))
	h.End(alice, "first")
	h.End(alice, "no session")
	h.End(bob, "second")
	if left := h.Release(); len(left) != 0 || len(h.Residents()) != 0 {
		t.Errorf("although a session is open: %v has nothing left, residents are %v", left, h.Residents())
	}
	wantCount(t, h, 1, 1)
	held := h.Of(records, alice, host)
	id, err := proc.IdentityOf(held[0].File)
	must(t, err)
	if uid, ok := h.Whose(id.Inode); !ok || uid != alice {
		t.Errorf("it is %d's, %v", uid, ok)
	}
	login.End()
	h.End(alice, "second")
	wantCount(t, h, 1, 1) // until somebody has looked
	if diff := cmp.Diff([]uint32{alice}, h.Release()); diff != "" {
		t.Error(diff)
	}
	wantCount(t, h, 0, 0)
	if uid, ok := h.Whose(id.Inode); ok {
		t.Errorf("it is still %d's", uid)
	}
	// What was given out is the caller's, whatever happens to what is held.
	if again, err := proc.IdentityOf(held[0].File); err != nil || again != id {
		t.Errorf("%v, %v", again, err)
	}
	must(t, held[0].Close())
	if left := h.Release(); len(left) != 0 {
		t.Errorf("again: %v", left)
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are left open", after-before)
	}
}

func TestTheLatestNamespaceComesFirst(t *testing.T) {
	records, host := newRecords(t)
	h := NewHeld()
	logins := []*process.Process{own(t), own(t), own(t)}
	for i, login := range logins {
		add(h, alice, open(t, login, fmt.Sprint(i)), fmt.Sprint(i))
	}
	add(h, alice, open(t, logins[0], "again"), "again")
	wantCount(t, h, 3, 1)
	slices.Reverse(logins)
	wantNamespaces(t, h.Of(records, alice, host), logins...)
}

// A process stays when the login process has gone, as a detached tmux does.
func TestAProcessThatStaysKeepsItsNamespace(t *testing.T) {
	records, host := newRecords(t)
	h := NewHeld()
	before := descriptors(t)
	login := own(t)
	tmux, shell := with(t, login), with(t, login)
	add(h, alice, open(t, login, "s"), "s")
	login.End()
	h.End(alice, "s")
	for _, stays := range []*process.Process{tmux, shell} {
		if left := h.Release(); len(left) != 0 {
			t.Fatalf("%v has nothing left although %d is there", left, stays.PID)
		}
		residents := h.Residents()
		if len(residents) != 1 {
			t.Fatalf("residents are %v", residents)
		}
		wantNamespaces(t, h.Of(records, alice, host), shell)
		if left := h.Release(); len(left) != 0 || !slices.Equal(residents, h.Residents()) {
			t.Errorf("a resident that lives is looked for again: %v, %v", left, h.Residents())
		}
		one := shell
		if residentPID(h) == tmux.PID {
			one = tmux
		}
		one.End()
		wantEnded(t, residents[0])
	}
	if diff := cmp.Diff([]uint32{alice}, h.Release()); diff != "" || len(h.Residents()) != 0 {
		t.Errorf("%s; residents are %v", diff, h.Residents())
	}
	wantCount(t, h, 0, 0)
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are left open", after-before)
	}
}

func residentPID(h *Held) int { return h.users[alice].resident.pid }

// wantEnded waits for the event that the broker waits for.
func wantEnded(t *testing.T, pidfd int) {
	t.Helper()
	events := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	if n, err := unix.Poll(events, 60_000); n != 1 || err != nil {
		t.Errorf("the end of a resident is not reported: %d, %v", n, err)
	}
}

func TestALoginThatJoinsWhileReleaseLooks(t *testing.T) {
	records, host := newRecords(t)
	for name, c := range map[string]struct {
		joins   func(t *testing.T, h *Held, n *Namespace)
		ended   bool // by the time of the end, the session that joined has ended as well
		left    []uint32
		holding int
	}{
		"nobody": {func(*testing.T, *Held, *Namespace) {}, false, []uint32{alice}, 0},
		"another session": {func(_ *testing.T, h *Held, n *Namespace) {
			add(h, alice, n, "second")
		}, false, nil, 1},
		"another session, in another namespace": {func(t *testing.T, h *Held, _ *Namespace) {
			add(h, alice, open(t, own(t), "second"), "second")
		}, false, nil, 1},
		"another session that has ended": {func(_ *testing.T, h *Held, n *Namespace) {
			add(h, alice, n, "second")
			h.End(alice, "second")
		}, true, []uint32{alice}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := NewHeld()
			login := own(t)
			add(h, alice, open(t, login, "first"), "first")
			n := h.Of(records, alice, host)[0] // what the login is about to join
			login.End()
			h.End(alice, "first")
			idle := h.idle()
			found := residents(idle)
			c.joins(t, h, n)
			gone, left := h.release(idle, found)
			for _, n := range gone {
				must(t, n.close())
			}
			if diff := cmp.Diff(c.left, left); diff != "" {
				t.Error(diff)
			}
			wantCount(t, h, c.holding, min(c.holding, 1))
			for _, n := range h.Of(records, alice, host) {
				if _, err := proc.IdentityOf(n.File); err != nil {
					t.Error(err)
				}
				must(t, n.Close())
			}
		})
	}
}

// The login comes too late for what was held: it holds it itself.
func TestALoginThatJoinsWhatWasReleased(t *testing.T) {
	records, host := newRecords(t)
	h := NewHeld()
	login := own(t)
	add(h, alice, open(t, login, "first"), "first")
	n := h.Of(records, alice, host)[0]
	login.End()
	h.End(alice, "first")
	if left := h.Release(); len(left) != 1 {
		t.Fatalf("left are %v", left)
	}
	add(h, alice, n, "second")
	wantCount(t, h, 1, 1)
}

func TestWhereProcessesCannotBeListedEverythingStays(t *testing.T) {
	newRecords(t)
	h := NewHeld()
	login := own(t)
	add(h, alice, open(t, login, "s"), "s")
	login.End()
	h.End(alice, "s")
	if gone, left := h.release(h.idle(), nil); len(left) != 0 || len(gone) != 0 {
		t.Errorf("%v has nothing left, %d namespaces have gone", left, len(gone))
	}
	wantCount(t, h, 1, 1)
}

func TestARestartedBrokerAdoptsWhatIsThere(t *testing.T) {
	records, host := newRecords(t)
	one, other := own(t), own(t)
	joined := with(t, one)
	record(t, records, alice, one, "k")
	record(t, records, alice, other, "l")
	latest := record(t, records, alice, joined, "k")
	h := NewHeld()
	before := descriptors(t)
	wantNamespaces(t, h.Of(records, alice, host), one, other)
	wantCount(t, h, 0, 0) // looking is not holding
	for range 2 {
		h.Adopt(records, alice, host)
		wantCount(t, h, 2, 1)
		wantNamespaces(t, h.Of(records, alice, host), one, other)
	}
	h.Adopt(records, bob, host)
	wantCount(t, h, 2, 1)
	// The other session in that namespace has not ended.
	joined.End()
	h.End(alice, latest)
	if left := h.Release(); len(left) != 0 {
		t.Errorf("%v has nothing left", left)
	}
	wantCount(t, h, 2, 1)
	one.End()
	other.End()
	for _, r := range records.Sessions() {
		h.End(alice, r.Name)
	}
	if diff := cmp.Diff([]uint32{alice}, h.Release()); diff != "" {
		t.Error(diff)
	}
	wantCount(t, h, 0, 0)
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are left open", after-before)
	}
}

func TestANamespaceThatIsClosedIsNotHeld(t *testing.T) {
	file, err := os.Open("/proc/self/ns/mnt")
	must(t, err, file.Close())
	h := NewHeld()
	add(h, alice, &Namespace{File: file}, "s")
	wantCount(t, h, 0, 0)
	if _, err := duplicate(int(file.Fd()), file.Name()); err == nil {
		t.Error("a closed descriptor is duplicated")
	}
}

// Logins, ends and looks of many threads at once, with files instead of namespaces.
func TestManyThreads(t *testing.T) {
	dir := t.TempDir()
	h := NewHeld()
	before := descriptors(t)
	const users, logins = 8, 100
	var wait sync.WaitGroup
	for u := range uint32(users) {
		for i := range 4 {
			wait.Add(1)
			go func() {
				defer wait.Done()
				for j := range logins {
					session := fmt.Sprint(i, j)
					name := fmt.Sprintf("%s/%d-%d", dir, u, j%3)
					file, err := os.OpenFile(name, os.O_CREATE|os.O_RDONLY, 0o600)
					if err != nil {
						t.Error(err)
						return
					}
					add(h, u, &Namespace{Session: session, File: file}, session)
					for _, n := range h.of(u) {
						if _, err := proc.IdentityOf(n.File); err != nil {
							t.Error(err)
						}
						if err := n.Close(); errors.Is(err, fs.ErrClosed) {
							t.Error(err)
						}
					}
					h.Count()
					h.Residents()
					h.End(u, session)
				}
			}()
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			h.Release()
		}
	}()
	wait.Wait()
	<-done
	h.Release()
	if n, u := h.Count(); n != 0 || u != 0 || len(h.numbers) != 0 {
		t.Errorf("%d namespaces of %d users, %d numbers are left", n, u, len(h.numbers))
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are left open", after-before)
	}
}

// A login that joins needs no further descriptor; what is not held any more is not joined.
func TestASessionJoinsWhatIsHeld(t *testing.T) {
	records, host := newRecords(t)
	h := NewHeld()
	login := own(t)
	made := open(t, login, "first")
	if h.Join(alice, made, "first") {
		t.Error("a namespace that nobody holds is joined")
	}
	add(h, alice, made, "first")
	given := h.Of(records, alice, host)[0]
	defer given.Close()
	if h.Join(bob, given, "bob's") || !h.Join(alice, given, "second") {
		t.Error("bob has joined, or alice has not")
	}
	h.End(alice, "first")
	login.End()
	if left := h.Release(); len(left) != 0 {
		t.Errorf("although the session that joined is open, %v has nothing left", left)
	}
	h.End(alice, "second")
	if left := h.Release(); len(left) != 1 || h.Join(alice, given, "third") {
		t.Errorf("%v has nothing left, or what has gone is joined", left)
	}
}
