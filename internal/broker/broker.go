// Package broker is the resident worker: "gotmpns serve".
//
// It answers the shim's requests with the same packages as a worker does, without
// the start of a process for each login. What it adds is listening, watching and
// cleaning:
//
//	pool     threads, each bound to the namespace of pid 1, that accept a connection,
//	         answer it and accept the next; a new one whenever the last free one is taken,
//	         so that a slow name service or a silent client holds up nobody else
//	watcher  the login process of each session, by pidfd: a session has ended when it
//	         has, whether or not anyone has called close_session
//	cleaner  what is due when a session has ended (package cleanup)
//	journal  what an operator wants to know, as fields
//
// Nothing depends on it. A caller that it cannot serve is hung up on, and whoever
// is hung up on, or finds nobody, asks a worker. So it keeps nothing that is not
// in /run/gotmpns as well, and may be killed at any moment.
package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/config"
)

const (
	// threadsIdle wait for the next connection; more than that end.
	threadsIdle = 4
	// threadsAtMost bounds what a name service that is down can tie up. Who finds
	// all of them busy waits for his patience to end, and asks a worker.
	threadsAtMost = 64
	// clientPatience is for a client to send its request and take its reply.
	clientPatience = 2 * time.Second
	// farewell is for those who are being served when the broker is told to stop.
	farewell = 2 * time.Second
)

// Broker is one that runs.
type Broker struct {
	listener int      // of socket; blocking
	socket   *os.File // the caller's; kept, or it would be closed as garbage
	config   config.Cache
	journal  *journal
	watcher  *watcher
	cleaner  *cleaner

	idle    atomic.Int32
	threads atomic.Int32
	serving sync.WaitGroup
	failed  chan error
}

// New makes a broker for a socket that listens (SOCK_SEQPACKET). It fails where
// this process cannot see the host as pid 1 does.
func New(listener *os.File) (*Broker, error) {
	b := &Broker{listener: int(listener.Fd()), socket: listener, journal: newJournal(), failed: make(chan error, threadsAtMost)}
	if err := unix.SetNonblock(b.listener, false); err != nil {
		return nil, fmt.Errorf("cannot use the socket %s: %w", listener.Name(), err)
	}
	b.cleaner = newCleaner(b.journal, &b.config)
	var err error
	if b.watcher, err = newWatcher(b.journal, b.cleaner.wake); err != nil {
		return nil, err
	}
	return b, nil
}

// Serve answers until ctx ends, and then lets those finish who are being served.
// ready is called when the first thread accepts.
func (b *Broker) Serve(ctx context.Context, ready func()) error {
	go b.run("the watcher", b.watcher.run)
	go b.run("the cleaner", b.cleaner.run)
	b.journal.every(ctx, time.Hour)
	b.spawn(ready)
	var err error
	select {
	case <-ctx.Done():
	case err = <-b.failed:
	}
	b.wait()
	b.journal.summary()
	return err
}

// run carries out one of the parts, which returns only with an error.
func (b *Broker) run(name string, part func() error) {
	b.failed <- fmt.Errorf("cannot go on without %s: %w", name, part())
}

// wait lets those finish who are being served. Whoever comes in between is hung up
// on when the process ends, and asks a worker.
func (b *Broker) wait() {
	done := make(chan struct{})
	go func() { b.serving.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(farewell):
	}
}

// Healthy says whether somebody is free to answer: for the service manager's
// watchdog.
func (b *Broker) Healthy() bool {
	return b.idle.Load() > 0 || b.threads.Load() < threadsAtMost
}

// spawn starts another thread, unless there are enough.
func (b *Broker) spawn(ready func()) {
	if b.threads.Add(1) > threadsAtMost {
		b.threads.Add(-1)
		return
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
		t.loop()
	}()
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
