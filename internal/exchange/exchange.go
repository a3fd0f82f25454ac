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
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/session"
	"gotmpns/internal/wire"
)

// ErrInternal is a mistake of ours: the thread on which it was met may be anywhere.
var ErrInternal = errors.New("internal error, please report it")

// holdAtMost is how long a login process that hangs can keep a user's lock.
const holdAtMost = 10 * time.Second

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
	return &session.Answer{Reply: wire.Reply{Status: wire.SessionErr, Entries: []wire.Entry{why}}, Err: err}
}

// Send sends an answer with its attachments.
func Send(socket int, answer *session.Answer) error {
	message, err := answer.Reply.Encode()
	attachments := answer.Attachments
	if err != nil {
		attachments = nil
		if message, err = Refuse(fmt.Errorf("cannot put the answer into words: %w", err)).Reply.Encode(); err != nil {
			return err
		}
	}
	var rights []byte
	if len(attachments) > 0 {
		fds := make([]int, 0, len(attachments))
		for _, file := range attachments {
			fds = append(fds, int(file.Fd()))
		}
		rights = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(socket, message, rights, nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// AwaitHangUp returns when the login process has committed and closed its end.
// One that hangs does not keep the others waiting for ever.
func AwaitHangUp(socket int) {
	if SetTimeout(socket, unix.SO_RCVTIMEO, holdAtMost) != nil {
		return
	}
	var rest [1]byte
	for {
		if _, _, err := unix.Recvfrom(socket, rest[:], 0); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// SetTimeout sets SO_RCVTIMEO or SO_SNDTIMEO (socket(7)).
func SetTimeout(socket, option int, limit time.Duration) error {
	tv := unix.NsecToTimeval(limit.Nanoseconds())
	return unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, option, &tv)
}
