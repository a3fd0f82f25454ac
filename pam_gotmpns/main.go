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
	"os"
	"runtime"

	"gotmpns/internal/exchange"
	"gotmpns/internal/session"
	"gotmpns/internal/wire"
)

//export gotmpns_session_serve
func gotmpns_session_serve(socket C.int) C.int { return C.int(serve(int(socket))) }

func main() {} // a c-shared library has to have one

func serve(socket int) int {
	// Mount namespaces belong to threads: all of it happens on this one.
	runtime.LockOSThread()
	message, err := exchange.Receive(socket, make([]byte, exchange.BufferSize))
	if err != nil {
		return wire.ExitUsage
	}
	answer := answerTo(message)
	if err := exchange.Send(socket, answer); err != nil {
		answer.TakeBack()
		return wire.ExitReply
	}
	if answer.Hold() {
		exchange.AwaitHangUp(socket)
	}
	answer.Finish()
	answer.Sweep()
	return 0
}

func answerTo(message []byte) *session.Answer {
	request, err := wire.DecodeRequest(message)
	if err != nil {
		return exchange.Refuse(err)
	}
	// The worker is the login process's own child (prctl(2), PR_SET_PDEATHSIG).
	return exchange.Answer(session.Worker(), request, os.Getppid())
}
