// Package exchange is one request and its reply, on one SOCK_SEQPACKET socket:
// what a worker does once and a broker again and again.
//
// The sockets are the caller's to close, and so are the descriptors in an answer.
// Everything is done with plain system calls on the calling thread, which must not
// change between them; deadlines are the socket's own (SO_RCVTIMEO, SO_SNDTIMEO).
package exchange

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/session"
	"gotmpns/internal/wire"
)

// ErrInternal is a mistake of ours: the thread on which it was met may be anywhere.
var ErrInternal = errors.New("internal error, please report it")

// holdAtMost is how long a login process that was stopped keeps other logins of the
// same user from going on.
const holdAtMost = time.Second

// BufferSize holds any request, and tells one that is too long.
const BufferSize = wire.RequestMax + 1

// Receive reads one request into a buffer of [BufferSize].
func Receive(socket int, buffer []byte) ([]byte, error) {
	for {
		n, _, err := unix.Recvfrom(socket, buffer, 0)
		if !errors.Is(err, unix.EINTR) {
			return buffer[:max(n, 0)], err
		}
	}
}

// Answer answers a request of the process pid. It never fails: what cannot be
// answered is refused.
func Answer(host session.Host, request wire.Request, pid int) (answer *session.Answer) {
	defer func() {
		if p := recover(); p != nil {
			answer = Refuse(fmt.Errorf("%w: %v at %s", ErrInternal, p, debug.Stack()))
		}
	}()
	return host.Open(request, pid)
}

// Refuse is an answer that says why there is none.
func Refuse(err error) *session.Answer {
	why := wire.Summary{Text: err.Error()}
	return &session.Answer{Reply: wire.Reply{Status: wire.SystemErr, Entries: []wire.Entry{why}}, Err: err}
}

// Deliver sends an answer, after what is not part of it has been closed. On an error the
// login process has no session, and its record is removed.
func Deliver(socket int, answer *session.Answer) error {
	answer.Settle()
	err := send(socket, answer)
	if err != nil {
		answer.Revoke()
	}
	return err
}

// send sends an answer with its descriptors. An answer that cannot be encoded is sent as
// a refusal, and is an error: there is no session then.
func send(socket int, answer *session.Answer) error {
	message, unfit := answer.Reply.Encode()
	descriptors := answer.Descriptors
	if unfit != nil {
		var err error
		unfit = fmt.Errorf("cannot put the answer into words: %w", unfit)
		descriptors = nil
		if message, err = Refuse(unfit).Reply.Encode(); err != nil {
			return err
		}
	}
	var rights []byte
	if len(descriptors) > 0 {
		fds := make([]int, 0, len(descriptors))
		for _, file := range descriptors {
			fds = append(fds, int(file.Fd()))
		}
		rights = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(socket, message, rights, nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return errors.Join(err, unfit)
		}
	}
}

// AwaitHangUp returns when the login process has entered its namespace and closed its
// end, or after a second: one that was stopped does not keep the others waiting.
func AwaitHangUp(socket int) {
	if setTimeout(socket, unix.SO_RCVTIMEO, holdAtMost) != nil {
		return
	}
	var rest [1]byte
	for {
		if _, _, err := unix.Recvfrom(socket, rest[:], 0); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Peer returns the login process at the other end: of a pair of sockets, the one that
// made it; of a connection, the one that connected (unix(7), SO_PEERCRED).
func Peer(socket int) (*unix.Ucred, error) {
	peer, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, fmt.Errorf("cannot find out which process asks: %w", err)
	}
	if peer.Pid <= 0 {
		return nil, errors.New("cannot find out which process asks: it is in another pid namespace")
	}
	return peer, nil
}

// EndOnHangUp has the kernel end this process when the other end is closed
// (fcntl(2), O_ASYNC: SIGIO, whose default is to end): a worker whose login has gone
// has nothing left to do, whatever it waits for.
func EndOnHangUp(socket int) error {
	if _, err := unix.FcntlInt(uintptr(socket), unix.F_SETOWN, os.Getpid()); err != nil {
		return err
	}
	return setAsync(socket, true)
}

// StayOnHangUp undoes [EndOnHangUp].
func StayOnHangUp(socket int) error { return setAsync(socket, false) }

func setAsync(socket int, on bool) error {
	flags, err := unix.FcntlInt(uintptr(socket), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	flags &^= unix.O_ASYNC
	if on {
		flags |= unix.O_ASYNC
	}
	_, err = unix.FcntlInt(uintptr(socket), unix.F_SETFL, flags)
	return err
}

// setTimeout sets SO_RCVTIMEO or SO_SNDTIMEO (socket(7)).
func setTimeout(socket, option int, limit time.Duration) error {
	tv := unix.NsecToTimeval(limit.Nanoseconds())
	return unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, option, &tv)
}
