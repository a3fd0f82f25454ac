package broker

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/state"
	"gotmpns/internal/view"
)

// lookAround is how often the records are read again: for sessions that a worker
// has opened meanwhile, and those whose end nobody has seen.
const lookAround = time.Minute

// linger is how long the watcher waits after one process for others to end: nobody
// waits for it, and logins that are under way need the processors more.
const linger = 200 * time.Millisecond

// watcher waits for the login processes of all sessions at once (epoll(7)).
type watcher struct {
	epoll   int
	journal *journal
	ended   func() // called when a session has ended

	mu       sync.Mutex
	sessions map[int]string // by pidfd, which is owned
}

func newWatcher(j *journal, ended func()) (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot watch processes (epoll_create1): %w", err)
	}
	return &watcher{epoll: fd, journal: j, ended: ended, sessions: map[int]string{}}, nil
}

// add watches the session of that name until the process of pidfd, which it takes
// over, has ended.
func (w *watcher) add(session string, pidfd int) {
	w.mu.Lock()
	w.sessions[pidfd] = session
	w.mu.Unlock()
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(pidfd)}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, pidfd, &event); err != nil {
		w.forget(pidfd) // looking around will find it
	}
}

func (w *watcher) forget(pidfd int) (session string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	session = w.sessions[pidfd]
	delete(w.sessions, pidfd)
	unix.Close(pidfd) // which takes it out of the epoll, too
	return session
}

func (w *watcher) run() error {
	home, err := view.Settle()
	if err != nil {
		return err
	}
	next := time.Now()
	for {
		if now := time.Now(); !now.Before(next) {
			if err := w.look(home); err != nil {
				w.journal.problem(err)
			}
			next = now.Add(lookAround)
		}
		ended, err := w.wait(time.Until(next), 1)
		if err != nil {
			return err
		}
		if len(ended) == 0 {
			continue
		}
		time.Sleep(linger)
		if err := w.end(home); err != nil {
			w.journal.problem(err)
		}
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

// end takes away the records of sessions that have ended. close_session may have
// done so already.
func (w *watcher) end(home *view.Resident) error {
	records, err := state.Open(home.Host())
	if err != nil {
		return err
	}
	defer records.Close()
	for {
		ended, err := w.wait(0, 64)
		if err != nil || len(ended) == 0 {
			w.ended()
			return err
		}
		for _, fd := range ended {
			if session := w.forget(fd); session != "" {
				records.RemoveSession(session)
			}
		}
	}
}

// look reads the records: it watches who is not watched, and takes away what
// nobody will.
func (w *watcher) look(home *view.Resident) error {
	records, err := state.Open(home.Host())
	if err != nil {
		return err
	}
	defer records.Close()
	watched := map[string]bool{}
	w.mu.Lock()
	for _, session := range w.sessions {
		watched[session] = true
	}
	w.mu.Unlock()
	for _, session := range records.Sessions() {
		if watched[session.Name] || !session.Alive {
			continue
		}
		fd, err := unix.PidfdOpen(session.PID, 0)
		if err != nil {
			continue // it has ended meanwhile, and is seen to next time
		}
		if !records.Lives(session.Name) {
			unix.Close(fd)
			continue
		}
		w.add(session.Name, fd)
	}
	records.SweepAll()
	w.ended() // whoever has ended while nobody was watching
	return nil
}
