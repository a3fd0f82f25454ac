// Command pam_gotmpns is gotmpns-session.so: the one function that the worker
// calls, between c/launcher.c, which has made a clean process, and
// internal/session, which knows what a login gets.
//
// It reads one request from a socket, sends one reply with its attachments as
// SCM_RIGHTS, and returns. Go never runs in the login process itself: a runtime
// cannot be taken out of a process again, and does not survive a fork.
package main

import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"gotmpns/internal/session"
	"gotmpns/internal/wire"
)

//export gotmpns_session_serve
func gotmpns_session_serve(socket C.int) C.int { return C.int(serve(int(socket))) }

func main() {} // a c-shared library has to have one

func serve(socket int) int {
	// Mount namespaces belong to threads: all of it happens on this one.
	runtime.LockOSThread()
	message, err := receive(socket)
	if err != nil {
		return wire.ExitUsage
	}
	answer := answerTo(message)
	if err := send(socket, answer); err != nil {
		return wire.ExitReply
	}
	if answer.Hold() {
		awaitHangUp(socket)
	}
	answer.Finish()
	return 0
}

// answerTo never fails: what cannot be answered is refused.
func answerTo(message []byte) (answer *session.Answer) {
	defer func() {
		if p := recover(); p != nil {
			answer = refuse(fmt.Errorf("internal error, please report it: %v at %s", p, debug.Stack()))
		}
	}()
	request, err := wire.DecodeRequest(message)
	if err != nil {
		return refuse(err)
	}
	// The worker is the login process's own child (prctl(2), PR_SET_PDEATHSIG).
	return session.Open(request, os.Getppid())
}

func refuse(err error) *session.Answer {
	why := wire.Summary{Text: err.Error()}
	return &session.Answer{Reply: wire.Reply{Status: wire.SessionErr, Entries: []wire.Entry{why}}}
}

func receive(socket int) ([]byte, error) {
	buffer := make([]byte, wire.RequestMax+1)
	for {
		n, _, err := unix.Recvfrom(socket, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return buffer[:max(n, 0)], err
	}
}

func send(socket int, answer *session.Answer) error {
	message, err := answer.Reply.Encode()
	if err != nil {
		answer.Attachments = nil
		if message, err = refuse(fmt.Errorf("cannot put the answer into words: %w", err)).Reply.Encode(); err != nil {
			return err
		}
	}
	var rights []byte
	if len(answer.Attachments) > 0 {
		fds := make([]int, 0, len(answer.Attachments))
		for _, file := range answer.Attachments {
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

// awaitHangUp returns when the login process has committed and closed its end.
// One that hangs does not keep the lock from the others.
func awaitHangUp(socket int) {
	limit := unix.Timeval{Sec: 10}
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return
	}
	var rest [1]byte
	for {
		if _, _, err := unix.Recvfrom(socket, rest[:], 0); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
