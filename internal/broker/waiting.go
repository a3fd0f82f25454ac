package broker

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// waiting holds connections that have sent nothing yet. A user can stop a setuid
// program at any moment, also between its connecting and its asking; such a connection
// must not keep a thread. Each has a deadline.
type waiting struct {
	epoll int
	serve func(fd int) // takes over a connection on which there is something to receive

	mu    sync.Mutex
	since map[int]time.Time // by descriptor, which is owned
}

func newWaiting(serve func(int)) (*waiting, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot wait for requests (epoll_create1): %w", err)
	}
	return &waiting{epoll: fd, serve: serve, since: map[int]time.Time{}}, nil
}

// add takes over a connection. Where too many wait, it is closed: a worker is asked
// then.
func (w *waiting) add(fd int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(fd)}
	if len(w.since) >= waitingAtMost || unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &event) != nil {
		unix.Close(fd)
		return
	}
	w.since[fd] = time.Now()
}

func (w *waiting) run() error {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, int(requestTimeout/time.Millisecond))
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("cannot wait for requests: %w", err)
		}
		for _, event := range events[:max(n, 0)] {
			w.hand(int(event.Fd))
		}
		w.expire(time.Now().Add(-requestTimeout))
	}
}

// hand passes a connection on, out of the epoll.
func (w *waiting) hand(fd int) {
	w.mu.Lock()
	delete(w.since, fd)
	_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	w.mu.Unlock()
	w.serve(fd)
}

// expire closes what has waited since then.
func (w *waiting) expire(then time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for fd, since := range w.since {
		if since.Before(then) {
			delete(w.since, fd)
			unix.Close(fd)
		}
	}
}
