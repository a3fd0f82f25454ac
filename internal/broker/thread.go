package broker

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/exchange"
	"gotmpns/internal/session"
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

func (t *thread) loop() {
	b := t.broker
	for {
		free := b.idle.Add(1)
		if free > threadsIdle {
			b.idle.Add(-1)
			t.home.Close()
			return
		}
		fd, err := b.accept()
		last := b.idle.Add(-1) == 0
		if err != nil {
			b.failed <- err
			return
		}
		b.serving.Add(1)
		if last {
			b.spawn(nil)
		}
		t.serve(fd)
		b.serving.Done()
		// Whatever went wrong in between: the next login is not decided from
		// somebody's session.
		if !t.home.IsHome() {
			b.spawn(nil)
			t.home.Close()
			return
		}
	}
}

// serve answers one connection, or hangs up on it: then a worker is asked.
func (t *thread) serve(fd int) {
	defer unix.Close(fd)
	began := time.Now()
	peer, err := peerOf(fd)
	if err != nil {
		t.broker.journal.hungUp(err)
		return
	}
	defer peer.close()
	request, err := t.receive(fd)
	if err != nil {
		t.broker.journal.hungUp(err)
		return
	}
	t.broker.cleaner.remember(request.Config)
	answer := exchange.Answer(t.host(peer), request, peer.pid)
	defer answer.Close()
	if errors.Is(answer.Err, view.ErrElsewhere) {
		t.broker.journal.hungUp(answer.Err)
		return
	}
	if err := exchange.Send(fd, answer); err != nil {
		answer.TakeBack()
		answer.Finish()
		t.broker.journal.hungUp(fmt.Errorf("cannot send the answer: %w", err))
		return
	}
	took := time.Since(began)
	if answer.Hold() {
		exchange.AwaitHangUp(fd)
	}
	answer.Finish()
	if answer.Session != "" {
		t.broker.watcher.add(answer.Session, peer.take())
	}
	t.broker.journal.login(request, answer, took)
}

func (t *thread) receive(fd int) (wire.Request, error) {
	err := errors.Join(
		exchange.SetTimeout(fd, unix.SO_RCVTIMEO, clientPatience),
		exchange.SetTimeout(fd, unix.SO_SNDTIMEO, clientPatience))
	if err != nil {
		return wire.Request{}, fmt.Errorf("cannot set a deadline: %w", err)
	}
	message, err := exchange.Receive(fd, t.buffer)
	if err != nil {
		return wire.Request{}, fmt.Errorf("cannot receive a request: %w", err)
	}
	return wire.DecodeRequest(message)
}

// host is for one caller. Its view is looked up by pid, and then the process has
// to be the same that has connected.
func (t *thread) host(p *peer) session.Host {
	return session.Host{
		Config: t.broker.config.Load,
		View: func(pid int) (*view.View, error) {
			v, err := t.home.For(pid)
			if err == nil && !p.lives() {
				v.Close()
				return nil, view.ErrElsewhere
			}
			return v, err
		},
	}
}
