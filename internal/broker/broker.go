// Package broker is the resident worker: "gotmpns serve".
//
// It answers the shim's requests with the same packages as a worker does, without
// the start of a process for each login. What it adds is listening, watching and
// cleaning:
//
//	pool     threads, each bound to the namespace of pid 1, that accept a connection,
//	         answer it and accept the next; a new one whenever the last free one is taken,
//	         so that a slow name service delays no other user, and no user takes more than a few
//	waiting  connections that have sent nothing yet: a stopped client keeps no thread
//	registry the namespaces of users' sessions, held while a process is in them
//	watcher  the login process of each session, by pidfd: a session has ended when it
//	         has, whether or not anyone has called close_session
//	cleaner  what is due when a user's last session has ended (package cleanup)
//	journal  what an operator wants to know, as fields
//
// Nothing depends on it. A login process whose connection it closes, or that finds
// no broker, asks a worker. So it keeps nothing that is not
// in /run/gotmpns as well, and may be killed at any moment.
package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/config"
	"gotmpns/internal/registry"
	"gotmpns/internal/session"
)

const (
	// threadsIdle wait for the next connection; more than that end.
	threadsIdle = 4
	// threadsAtMost bounds what a name service that is down can tie up. A login that
	// finds all of them busy waits for its timeout, and asks a worker.
	threadsAtMost = 64
	// perUserAtMost keeps one user's logins from taking all threads.
	perUserAtMost = 16
	// requestSoon, in milliseconds, is how long a thread waits for a request itself; then
	// the connection waits elsewhere for up to requestTimeout.
	requestSoon    = 5
	requestTimeout = 2 * time.Second
	waitingAtMost  = 256
	// After so many logins and ends, and when there are fewer than that in an interval, the
	// memory that they have used is given back: the runtime keeps twice of what a full host
	// needs.
	tidyAfter    = 200
	tidyInterval = 5 * time.Second
	// shutdownGrace is for answers that were begun when the broker is stopped.
	shutdownGrace = 2 * time.Second
)

// Broker is one that runs.
type Broker struct {
	listener int      // of socket; blocking
	socket   *os.File // the caller's; kept, or it would be closed as garbage
	config   config.Cache
	journal  *journal
	registry *registry.Held
	waiting  *waiting
	watcher  *watcher
	cleaner  *cleaner

	idle    atomic.Int32
	threads atomic.Int32
	// answered counts logins since the memory was looked at, and their ends.
	answered atomic.Int32
	serving  sync.WaitGroup
	failed   chan error

	mu    sync.Mutex
	users map[uint32]int // how many logins of each are being answered
}

// New makes a broker for a socket that listens (SOCK_SEQPACKET). It fails where
// this process cannot see the host as pid 1 does.
func New(listener *os.File) (*Broker, error) {
	b := &Broker{
		listener: int(listener.Fd()), socket: listener, journal: newJournal(), registry: registry.NewHeld(),
		failed: make(chan error, threadsAtMost), users: map[uint32]int{},
	}
	if err := unix.SetNonblock(b.listener, false); err != nil {
		return nil, fmt.Errorf("cannot use the socket %s: %w", listener.Name(), err)
	}
	b.cleaner = newCleaner(b.journal, &b.config, b.registry)
	var err error
	if b.waiting, err = newWaiting(b.resume); err != nil {
		return nil, err
	}
	if b.watcher, err = newWatcher(b.journal, b.registry, b.ended); err != nil {
		return nil, err
	}
	return b, nil
}

// Serve answers until ctx ends, and then lets those finish who are being served.
// ready is called when the first thread accepts.
func (b *Broker) Serve(ctx context.Context, ready func()) error {
	go b.run("the waiting connections", b.waiting.run)
	go b.run("the watcher", b.watcher.run)
	go b.run("the cleaner", b.cleaner.run)
	every(ctx, time.Hour, b.journal.summary)
	every(ctx, 15*time.Second, b.journal.save)
	b.tidyEvery(ctx, tidyInterval)
	b.spawn(-1, ready)
	var err error
	select {
	case <-ctx.Done():
	case err = <-b.failed:
	}
	b.wait()
	b.journal.summary()
	return errors.Join(err, b.journal.counters.Save())
}

// run carries out one of the parts, which returns only with an error.
func (b *Broker) run(name string, part func() error) {
	b.failed <- fmt.Errorf("cannot go on without %s: %w", name, part())
}

// wait lets answers that were begun finish. Logins that connect in between lose the
// connection when the process ends, and ask a worker.
func (b *Broker) wait() {
	done := make(chan struct{})
	go func() { b.serving.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(shutdownGrace):
	}
}

// tidyEvery gives back what a storm of logins has left free.
func (b *Broker) tidyEvery(ctx context.Context, interval time.Duration) {
	go func() {
		for all := int32(0); ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(interval):
				last := b.answered.Swap(0)
				if all += last; all >= tidyAfter && last < tidyAfter {
					debug.FreeOSMemory()
					all = 0
				}
			}
		}
	}()
}

// Healthy says whether somebody is free to answer: for the service manager's
// watchdog.
func (b *Broker) Healthy() bool {
	return b.idle.Load() > 0 || b.threads.Load() < threadsAtMost
}

// resume has a thread serve a connection that has waited, or closes it.
func (b *Broker) resume(fd int) {
	b.serving.Add(1)
	if !b.spawn(fd, nil) {
		b.serving.Done()
		unix.Close(fd)
	}
}

// enter counts a login of a user; false says that there are enough of them. leave takes
// it off again.
func (b *Broker) enter(uid uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users[uid] >= perUserAtMost {
		return false
	}
	b.users[uid]++
	return true
}

func (b *Broker) leave(uid uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users[uid]--; b.users[uid] == 0 {
		delete(b.users, uid)
	}
}

// ended is called when a session of a user has ended.
func (b *Broker) ended(uid uint32) {
	b.answered.Add(1)
	b.cleaner.wake(uid)
}

// hold registers the namespace of an answer, for the logins that follow.
func (b *Broker) hold(answer *session.Answer) {
	if answer.Namespace == nil || b.registry.Join(answer.UID, answer.Namespace, answer.Session) {
		return
	}
	b.registry.Add(answer.UID, answer.Namespace, answer.Session)
}

// spawn starts another thread, for a connection that has waited (or -1), unless there
// are enough.
func (b *Broker) spawn(waited int, ready func()) bool {
	if b.threads.Add(1) > threadsAtMost {
		b.threads.Add(-1)
		return false
	}
	go func() {
		defer b.threads.Add(-1)
		t, err := newThread(b)
		if err != nil {
			b.failed <- err
			return
		}
		if ready != nil {
			ready()
		}
		t.loop(waited)
	}()
	return true
}

// accept waits for the next connection.
func (b *Broker) accept() (int, error) {
	for {
		fd, _, err := unix.Accept4(b.listener, unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
			time.Sleep(50 * time.Millisecond) // others will have finished by then
		default:
			return -1, fmt.Errorf("cannot accept connections: %w", err)
		}
	}
}
