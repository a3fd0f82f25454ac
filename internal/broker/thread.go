package broker

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/exchange"
	"gotmpns/internal/instance"
	"gotmpns/internal/registry"
	"gotmpns/internal/session"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
	"gotmpns/internal/wire"
)

// thread serves one connection after the other. Its goroutine is bound to an
// operating system thread, which ends with it.
type thread struct {
	broker *Broker
	home   *view.Resident
	buffer []byte // for requests; what is decoded is copied
}

func newThread(b *Broker) (*thread, error) {
	home, err := view.Settle()
	return &thread{b, home, make([]byte, exchange.BufferSize)}, err
}

// loop serves a connection that has waited, if there is one (or -1), and then accepts.
func (t *thread) loop(waited int) {
	b := t.broker
	for fd := waited; ; fd = -1 {
		if fd < 0 {
			var err error
			if fd, err = t.next(); fd < 0 {
				if err != nil {
					b.failed <- err
				}
				t.home.Close()
				return
			}
		}
		t.serve(fd)
		b.serving.Done()
		// Whatever went wrong in between: the next login is not decided from
		// somebody's session.
		if !t.home.IsHome() {
			b.spawn(-1, nil)
			t.home.Close()
			return
		}
	}
}

// next accepts a connection; a negative one says that there are threads enough.
func (t *thread) next() (int, error) {
	b := t.broker
	if b.idle.Add(1) > threadsIdle {
		b.idle.Add(-1)
		return -1, nil
	}
	fd, err := b.accept()
	last := b.idle.Add(-1) == 0
	if err != nil {
		return -1, err
	}
	b.serving.Add(1)
	if last {
		b.spawn(-1, nil)
	}
	return fd, nil
}

// serve answers one connection, or hangs up on it: then a worker is asked. A client
// that sends nothing, because its user has stopped it, waits elsewhere.
func (t *thread) serve(fd int) {
	message, err := t.receive(fd)
	if errors.Is(err, unix.EAGAIN) {
		t.broker.waiting.add(fd)
		return
	}
	defer unix.Close(fd)
	if err == nil && len(message) > 0 {
		err = t.answer(fd, message)
	}
	if err != nil {
		t.broker.journal.handedOver(err)
	}
}

// receive takes a request that is there, or is there in a moment. An empty one is a
// client that hangs up without having asked: it only looked whether somebody listens.
func (t *thread) receive(fd int) ([]byte, error) {
	// A login process connects and sends with nothing in between.
	events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(events, requestSoon); n == 0 && err == nil {
		return nil, unix.EAGAIN
	}
	return exchange.Receive(fd, t.buffer)
}

// answer is an error where the login is handed over to a worker.
func (t *thread) answer(fd int, message []byte) error {
	began := time.Now()
	peer, err := peerOf(fd)
	if err != nil {
		return err
	}
	defer peer.close()
	if isFull(peer.pidfd) {
		return errors.New("too many sessions are open for the limit on descriptors (LimitNOFILE=)")
	}
	request, err := wire.DecodeRequest(message)
	if err != nil {
		return err
	}
	if hungUp(fd) {
		return errors.New("the login process hung up: it waited too long in the queue")
	}
	if !t.broker.enter(request.UID) {
		return fmt.Errorf("%d logins of uid %d are being answered already", perUserAtMost, request.UID)
	}
	defer t.broker.leave(request.UID)
	t.broker.cleaner.remember(request.Config)
	return t.open(fd, request, peer, began)
}

func (t *thread) open(fd int, request wire.Request, peer *peer, began time.Time) error {
	answer := exchange.Answer(t.host(peer), request, peer.pid)
	defer answer.Close()
	if isForWorker(answer.Err) {
		return answer.Err
	}
	// From here on the user's next login finds the namespace.
	t.broker.hold(answer)
	answer.Release()
	name := answer.Session
	if err := exchange.Deliver(fd, answer); err != nil {
		t.broker.registry.End(answer.UID, name)
		return fmt.Errorf("cannot send the answer: %w", err)
	}
	if answer.Session != "" {
		t.broker.watcher.add(answer.UID, answer.Session, peer.take())
	}
	t.broker.journal.login(request, answer, time.Since(began))
	t.broker.answered.Add(1)
	return nil
}

// isForWorker says that a worker can do what this process cannot: it has the ids of users,
// its own view, and descriptors of its own.
func isForWorker(err error) bool {
	return errors.Is(err, view.ErrElsewhere) || errors.Is(err, instance.ErrConfined) || errors.Is(err, unix.EMFILE)
}

// hungUp says that nobody waits for an answer any more.
func hungUp(fd int) bool {
	events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(events, 0)
	return err == nil && n > 0
}

// host is for one caller. Its view is looked up by pid, and then the process has
// to be the same that has connected.
func (t *thread) host(p *peer) session.Host {
	return session.Host{
		Config:    t.broker.config.Load,
		Confined:  true,
		Remembers: true,
		View: func(pid int) (*view.View, error) {
			v, err := t.home.For(pid)
			if err == nil && !p.lives() {
				v.Close()
				return nil, view.ErrElsewhere
			}
			return v, err
		},
		Namespaces: func(records *state.Dir, uid uint32, host *os.File) []*registry.Namespace {
			return t.broker.registry.Of(records, uid, host)
		},
	}
}
