package broker

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gotmpns/internal/proc"
	"gotmpns/internal/registry"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
	"gotmpns/test/fatal"
	"gotmpns/test/leftover"
	"gotmpns/test/process"
)

const (
	alice = 1000
	bob   = 1001
)

// Tests move threads and leave them where they are. The main thread ends with none of
// them, and /proc takes it for the process: no test has it.
func init() { runtime.LockOSThread() }

var must = fatal.If

// watch is a watcher whose work the test does itself.
type watch struct {
	*watcher
	t       *testing.T
	home    *view.Resident
	records *state.Dir
	ended   []uint32 // users of whom the watcher has said that a session has ended
}

func newWatch(t *testing.T) *watch {
	t.Helper()
	leftover.Require(t)
	home, err := view.Settle()
	must(t, err)
	t.Cleanup(home.Close)
	t.Cleanup(func() { _ = os.RemoveAll(state.Path) })
	records, err := state.Open(home.Host().Root)
	must(t, err)
	t.Cleanup(func() { _ = records.Close() })
	w := &watch{t: t, home: home, records: records}
	w.watcher, err = newWatcher(newJournal(), registry.NewHeld(), func(uid uint32) { w.ended = append(w.ended, uid) })
	must(t, err)
	t.Cleanup(func() { unix.Close(w.epoll) })
	return w
}

// logIn records a session of a process, as a login does.
func (w *watch) logIn(uid uint32, p *process.Process) (session string) {
	w.t.Helper()
	claim, err := w.records.Claim(uid, p.PID)
	must(w.t, err, claim.Fill(state.Session{User: "x", Key: "k", Namespace: p.Namespace(w.t)}), w.records.SetTmpfs(state.Tmpfs{Target: "/tmp", UID: uid, Mark: "x"}))
	return claim.Name
}

// serve registers and watches a session, as the broker does that has answered the login.
func (w *watch) serve(uid uint32, p *process.Process) (session string) {
	w.t.Helper()
	session = w.logIn(uid, p)
	file, err := proc.OpenNamespace("/proc/" + strconv.Itoa(p.PID) + "/ns/mnt")
	must(w.t, err)
	w.registry.Add(uid, &registry.Namespace{Session: session, PID: p.PID, Key: "k", File: file}, session)
	must(w.t, file.Close())
	pidfd, err := unix.PidfdOpen(p.PID, 0)
	must(w.t, err)
	w.add(uid, session, pidfd)
	return session
}

// end waits for the end of a process and does what is due.
func (w *watch) end() {
	w.t.Helper()
	fds, err := w.wait(time.Minute, 1)
	if len(fds) == 0 {
		w.t.Fatalf("nothing has ended: %v", err)
	}
	w.ended = nil
	must(w.t, err, w.watcher.end(w.home))
}

// left is what there is of a user.
type left struct {
	Sessions, Namespaces int
	Tmpfs, Directory     bool
}

func (w *watch) left(uid uint32) left {
	_, tmpfs := w.records.Tmpfs("/tmp", uid)
	namespaces := w.registry.Of(w.records, uid, w.home.Namespace())
	for _, n := range namespaces {
		_ = n.Close()
	}
	return left{len(w.records.Living(uid)), len(namespaces), tmpfs, slices.Contains(w.records.Users(), uid)}
}

func (w *watch) want(uid uint32, want left, ended ...uint32) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.left(uid)); diff != "" {
		w.t.Errorf("of %d is left: %s", uid, diff)
	}
	slices.Sort(w.ended)
	if !slices.Equal(w.ended, ended) {
		w.t.Errorf("sessions of %v have ended, want %v", w.ended, ended)
	}
}

func own(t *testing.T) *process.Process { return process.Stay(t, "", "unshare", "--mount") }

func with(t *testing.T, p *process.Process) *process.Process {
	return process.Stay(t, "", "nsenter", "--mount", "--target", strconv.Itoa(p.PID))
}

func TestTheLastSessionOfAUserEnds(t *testing.T) {
	w := newWatch(t)
	first, bobs := own(t), own(t)
	second := with(t, first)
	w.serve(alice, first)
	w.serve(alice, second)
	w.serve(bob, bobs)
	first.End()
	w.end()
	w.want(alice, left{1, 1, true, true}, alice)
	second.End()
	w.end()
	w.want(alice, left{}, alice)
	w.want(bob, left{1, 1, true, true}, alice)
	if len(w.sessions) != 1 {
		t.Errorf("%d sessions are watched", len(w.sessions))
	}
	bobs.End()
	w.end()
	w.want(bob, left{}, bob)
	if n, users := w.registry.Count(); n != 0 || users != 0 || len(w.sessions) != 0 {
		t.Errorf("%d namespaces of %d users are held, %d sessions watched", n, users, len(w.sessions))
	}
}

// A detached tmux is no session, and has the user's namespace and tmpfs.
func TestWhatStaysKeepsTheNamespaceAndTheTmpfs(t *testing.T) {
	w := newWatch(t)
	login := own(t)
	tmux := with(t, login)
	w.serve(alice, login)
	login.End()
	w.end()
	w.want(alice, left{0, 1, true, true}, alice)
	again := with(t, tmux) // a login that comes back to it
	w.serve(alice, again)
	w.want(alice, left{1, 1, true, true}, alice)
	tmux.End()
	w.end()
	w.want(alice, left{1, 1, true, true})
	again.End()
	w.end()
	w.want(alice, left{}, alice)
	if fds, err := w.wait(0, 16); len(fds) != 0 || err != nil {
		t.Errorf("events without an end: %v, %v", fds, err)
	}
}

// A login that is about to take the tmpfs has the lock, or has its record already.
func TestATmpfsIsNotForgottenUnderALogin(t *testing.T) {
	w := newWatch(t)
	login := own(t)
	w.serve(alice, login)
	unlock, err := w.records.LockUser(alice, 0)
	must(t, err)
	login.End()
	w.end()
	unlock()
	if got := w.left(alice); !got.Tmpfs || got.Namespaces != 0 {
		t.Errorf("left is %+v", got)
	}
	login = own(t)
	w.serve(alice, login)
	claim, err := w.records.Claim(alice, os.Getpid())
	must(t, err)
	login.End()
	w.end()
	w.want(alice, left{1, 0, true, true}, alice)
	must(t, claim.Close())
}

func TestSessionsOfWorkersAreFound(t *testing.T) {
	w := newWatch(t)
	one, other, ended := own(t), own(t), own(t)
	w.logIn(alice, one)
	w.logIn(alice, with(t, one))
	w.logIn(alice, other)
	w.logIn(bob, ended)
	ended.Kill()
	must(t, w.rescan(w.home))
	w.want(alice, left{3, 2, true, true}, bob)
	w.want(bob, left{}, bob)
	must(t, w.rescan(w.home)) // nothing twice
	if len(w.sessions) != 3 {
		t.Errorf("%d sessions are watched", len(w.sessions))
	}
	w.want(alice, left{3, 2, true, true}, bob)
	other.End()
	w.end()
	w.want(alice, left{2, 1, true, true}, alice)
}

// Somebody else has seen to the record, and the process has ended before it was watched.
func TestAnEndThatWasSeenElsewhere(t *testing.T) {
	w := newWatch(t)
	login := own(t)
	session := w.logIn(alice, login)
	pidfd, err := unix.PidfdOpen(login.PID, 0)
	must(t, err)
	login.End()
	w.records.RemoveSession(session)
	w.add(alice, session, pidfd)
	w.end()
	w.want(alice, left{}, alice)
	// What cannot be watched is left to the next scan.
	file, err := unix.Open("/etc/passwd", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	w.add(alice, session, file)
	if len(w.sessions) != 0 || unix.Close(file) == nil {
		t.Errorf("%d sessions are watched, or a descriptor is left open", len(w.sessions))
	}
}

func TestWhoMayAsk(t *testing.T) {
	leftover.Require(t)
	dir, err := os.MkdirTemp("/opt", "broker")
	must(t, err, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(listener)
	at := &unix.SockaddrUnix{Name: dir + "/socket"}
	must(t, unix.Bind(listener, at), unix.Listen(listener, 4), os.Chmod(at.Name, 0o777))
	for _, uid := range []int{0, alice} {
		client := make(chan int)
		go func() { // its thread, which is this user's, ends with it
			runtime.LockOSThread()
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); err != nil || errno != 0 {
				t.Error(err, errno)
			}
			if err := unix.Connect(fd, at); err != nil {
				t.Error(err)
			}
			client <- fd
		}()
		theirs := <-client
		ours, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		must(t, err)
		p, err := peerOf(ours)
		if (err == nil) != (uid == 0) {
			t.Errorf("uid %d: error is %v", uid, err)
		}
		if p != nil {
			if p.pid != os.Getpid() || !p.lives() {
				t.Errorf("it is %d, and lives: %v", p.pid, p.lives())
			}
			pidfd := p.take()
			p.close() // what was taken is not closed
			must(t, unix.Close(pidfd))
		}
		unix.Close(ours)
		unix.Close(theirs)
	}
}

// A worker has descriptors of its own, so a broker that has none left refuses nobody.
func TestWhereDescriptorsRunOutAWorkerIsAsked(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("cannot open the namespace: %w", unix.EMFILE), true},
		{fmt.Errorf("here: %w", view.ErrElsewhere), true},
		{fmt.Errorf("cannot make the instance: %w", unix.ENOSPC), false}, // a worker would meet it as well
		{nil, false},
	} {
		if got := isForWorker(c.err); got != c.want {
			t.Errorf("%v: a worker is asked: %v", c.err, got)
		}
	}
}

func TestALookAtAllProcessesTakesAShareOfAProcessor(t *testing.T) {
	for _, c := range []struct{ took, want time.Duration }{
		{0, coalesce}, {time.Millisecond, coalesce}, {100 * time.Millisecond, 2 * time.Second}, {time.Hour, rescanInterval / 2},
	} {
		if got := pauseFor(c.took); got != c.want {
			t.Errorf("after %s it waits for %s, want %s", c.took, got, c.want)
		}
	}
}

func TestDescriptorsAreLeftForAnswers(t *testing.T) {
	for _, c := range []struct{ limit, want int }{{524288, 523264}, {20000, 18976}, {4096, 3072}, {1024, 768}} {
		if got := heldAtMost(c.limit); got != c.want || got >= c.limit {
			t.Errorf("of %d descriptors %d are held, want %d", c.limit, got, c.want)
		}
	}
	if isFull(3) || !isFull(1<<30) {
		t.Error("the third descriptor is one too many, or no descriptor is")
	}
}

// Where there are few sessions, no logout pays for a collection; where there are many, or
// were until a moment ago, the memory goes back at once.
func TestMemoryIsGivenBackAfterManySessions(t *testing.T) {
	w := &watcher{sessions: map[int]watched{}}
	collections := func(before int) uint32 {
		var earlier, later runtime.MemStats
		runtime.ReadMemStats(&earlier)
		if now := w.trim(before); now != len(w.sessions) {
			t.Errorf("%d sessions are counted as %d", len(w.sessions), now)
		}
		runtime.ReadMemStats(&later)
		return later.NumForcedGC - earlier.NumForcedGC
	}
	if n := collections(999); n != 0 {
		t.Errorf("after 999 sessions it collects %d times", n)
	}
	if n := collections(1000); n == 0 {
		t.Error("after 1000 sessions it does not collect")
	}
	for fd := range 1000 {
		w.sessions[fd] = watched{}
	}
	if n := collections(0); n == 0 {
		t.Error("with 1000 sessions it does not collect")
	}
}
