package broker

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// soPeerPIDFD is SO_PEERPIDFD (Linux 6.5).
const soPeerPIDFD = 77

// peer is the process at the other end.
type peer struct {
	pid   int
	pidfd int // owned
}

// peerOf makes sure that the peer is root, here and not in some user namespace of
// its own: SO_PEERCRED is in our own terms.
func peerOf(fd int) (*peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot tell who has connected: %w", err)
	case cred.Uid != 0:
		return nil, fmt.Errorf("uid %d has connected, and root alone may", cred.Uid)
	case cred.Pid <= 0:
		return nil, fmt.Errorf("a process of another pid namespace has connected")
	}
	p := &peer{pid: int(cred.Pid)}
	if p.pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, soPeerPIDFD); err == nil {
		return p, nil
	}
	// Before Linux 6.5: the number may be another process's by now. That it is not,
	// root being at the other end of a connection that is still open, is as good as sure.
	if p.pidfd, err = unix.PidfdOpen(p.pid, 0); err != nil {
		return nil, fmt.Errorf("cannot open process %d: %w", p.pid, err)
	}
	return p, nil
}

// lives says that the process has not ended, so that its pid is still its own.
func (p *peer) lives() bool {
	fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 0
}

// take hands the pidfd over.
func (p *peer) take() int {
	fd := p.pidfd
	p.pidfd = -1
	return fd
}

func (p *peer) close() {
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
	}
}
