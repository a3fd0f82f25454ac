package broker

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/registry"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
)

// rescanInterval is how often the records are read again: for sessions that a worker
// has opened since, and those whose end nobody has seen.
const rescanInterval = time.Minute

// coalesce is how long the watcher waits after one process for others to end: nobody
// waits for it, and logins that are under way need the processors more.
const coalesce = 200 * time.Millisecond

// pauseFor is how long a thread that looks at all processes waits after it has looked for so
// long: on a host with very many of them it takes a twentieth of a processor, and looks for
// more users at once.
func pauseFor(took time.Duration) time.Duration {
	const share = 20
	return min(max(share*took, coalesce), rescanInterval/2)
}

// watcher waits for the login processes of all sessions at once (epoll(7)), and for the
// processes that stay in a namespace when its sessions have ended.
type watcher struct {
	epoll    int
	journal  *journal
	registry *registry.Held
	ended    func(uid uint32) // called when a session of a user has ended, or what was left of the last one

	mu       sync.Mutex
	sessions map[int]watched // by pidfd, which is owned
}

type watched struct {
	uid  uint32
	name string
}

func newWatcher(j *journal, r *registry.Held, ended func(uint32)) (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot watch processes (epoll_create1): %w", err)
	}
	return &watcher{epoll: fd, journal: j, registry: r, ended: ended, sessions: map[int]watched{}}, nil
}

// add watches a session until the process of pidfd, which it takes over, has ended.
func (w *watcher) add(uid uint32, session string, pidfd int) {
	w.mu.Lock()
	w.sessions[pidfd] = watched{uid, session}
	w.mu.Unlock()
	if w.watch(pidfd) != nil {
		w.forget(pidfd) // the next scan will find it
	}
}

// isFull says that a descriptor is one of those that are left for answers: the broker holds
// one for each session and one for each user. The kernel gives out the lowest number that
// is free.
func isFull(fd int) bool { return fd >= descriptorsHeld() }

var descriptorsHeld = sync.OnceValue(func() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return heldAtMost(1024) // the default of every Linux
	}
	return heldAtMost(int(min(limit.Cur, 1<<30)))
})

// heldAtMost leaves enough for all threads to answer at once.
func heldAtMost(limit int) int {
	const forAnswers = 1024
	return limit - min(forAnswers, limit/4)
}

func (w *watcher) watch(pidfd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(pidfd)}
	return unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, pidfd, &event)
}

// forget stops watching; a descriptor that is not a session's is the registry's.
func (w *watcher) forget(pidfd int) (session watched, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if session, ok = w.sessions[pidfd]; ok {
		if delete(w.sessions, pidfd); len(w.sessions) == 0 {
			w.sessions = map[int]watched{} // a map keeps the memory that it has had
		}
		unix.Close(pidfd) // which takes it out of the epoll, too
	}
	return session, ok
}

func (w *watcher) run() error {
	home, err := view.Settle()
	if err != nil {
		return err
	}
	next, pause := time.Now(), coalesce
	var before int
	for {
		if now := time.Now(); !now.Before(next) {
			if err := w.rescan(home); err != nil {
				w.journal.problem(err)
			}
			before = w.trim(before)
			next = now.Add(rescanInterval)
		}
		ended, err := w.wait(time.Until(next), 1)
		if err != nil {
			return err
		}
		if len(ended) == 0 {
			continue
		}
		time.Sleep(pause)
		if err := w.end(home); err != nil {
			w.journal.problem(err)
		}
		pause = pauseFor(w.registry.Looked())
	}
}

// wait returns the pidfds of processes that have ended, at most so many.
func (w *watcher) wait(limit time.Duration, most int) ([]int, error) {
	events := make([]unix.EpollEvent, most)
	n, err := unix.EpollWait(w.epoll, events, milliseconds(limit))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("cannot wait for processes to end: %w", err)
	}
	var fds []int
	for _, event := range events[:max(n, 0)] {
		fds = append(fds, int(event.Fd))
	}
	return fds, nil
}

// milliseconds rounds up, so that nobody is woken too early again and again.
func milliseconds(d time.Duration) int {
	return int((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}

// end removes the records of sessions that have ended, which close_session may have
// done already, and lets go of namespaces that nobody is in.
func (w *watcher) end(home *view.Resident) error {
	records, err := state.Open(home.Host().Root)
	if err != nil {
		return err
	}
	defer records.Close()
	users := map[uint32]bool{}
	for {
		ended, err := w.wait(0, 1024)
		if err != nil {
			return err
		}
		if len(ended) == 0 {
			break
		}
		w.endAll(records, ended, users)
	}
	w.release(records, users)
	return nil
}

// endAll takes pidfds out of the epoll, and notes the users whose sessions have ended.
func (w *watcher) endAll(records *state.Dir, ended []int, users map[uint32]bool) {
	for _, fd := range ended {
		session, ok := w.forget(fd)
		if !ok { // it stayed in a namespace; the registry has its descriptor
			_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil)
			continue
		}
		records.RemoveSession(session.name)
		w.registry.End(session.uid, session.name)
		users[session.uid] = true
	}
}

// release is for users of whom a session has ended.
func (w *watcher) release(records *state.Dir, users map[uint32]bool) {
	for _, uid := range w.registry.Release() {
		users[uid] = true
	}
	for _, pidfd := range w.registry.Residents() {
		_ = w.watch(pidfd) // EEXIST: it is watched already
	}
	for uid := range users {
		w.ended(uid)
		if w.registry.Holds(uid) || len(records.Living(uid)) > 0 {
			continue
		}
		w.forgetTmpfs(records, uid)
		records.DropUser(uid)
	}
}

// forgetTmpfs: with a user's last namespace its tmpfs are gone. A login that has come
// since would have written its record first.
func (w *watcher) forgetTmpfs(records *state.Dir, uid uint32) {
	unlock, err := records.LockUser(uid, 0)
	if err != nil {
		return // a login is under way, and finds out by itself that they are gone
	}
	defer unlock()
	if len(records.Living(uid)) == 0 && !w.registry.Holds(uid) {
		records.ForgetTmpfs(uid)
	}
}

// rescan reads the records: it watches sessions that are not watched, and removes those that
// nothing else would.
func (w *watcher) rescan(home *view.Resident) error {
	records, err := state.Open(home.Host().Root)
	if err != nil {
		return err
	}
	defer records.Close()
	users := map[uint32]bool{}
	for _, uid := range records.Sweep() {
		users[uid] = true
	}
	known, adopted := w.known(), map[uint32]bool{}
	for session := range records.Named {
		if _, isKnown := slices.BinarySearch(known, session.Name); isKnown {
			continue
		}
		fd, err := unix.PidfdOpen(session.PID, 0)
		if err != nil {
			continue // it has ended, and is seen to next time
		}
		if isFull(fd) {
			unix.Close(fd)
			break // close_session removes the records of the others
		}
		if !session.Lives() {
			unix.Close(fd)
			continue
		}
		if !adopted[session.UID] {
			adopted[session.UID] = true
			w.registry.Adopt(records, session.UID, home.Namespace())
		}
		w.add(session.UID, session.Name, fd)
	}
	w.release(records, users)
	return nil
}

// trim gives memory back where there are many sessions, or were at the last scan: logins in
// great number leave a heap with holes, a third of it. It returns how many there are.
func (w *watcher) trim(before int) int {
	const many = 1000
	w.mu.Lock()
	now := len(w.sessions)
	w.mu.Unlock()
	if max(before, now) >= many {
		debug.FreeOSMemory() // some milliseconds, in the background
	}
	return now
}

// known returns the names of the sessions that are watched, sorted: a set of them takes twice
// the memory, for all sessions of the host at once.
func (w *watcher) known() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := make([]string, 0, len(w.sessions))
	for _, session := range w.sessions {
		known = append(known, session.name)
	}
	slices.Sort(known)
	return known
}
