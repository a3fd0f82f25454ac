// Command pam_gotmpns is gotmpns-session.so: the one function that the worker
// calls, between c/launcher.c, which has made a clean process, and
// internal/session, which knows what a login gets.
//
// It reads one request from a socket, sends one reply with a namespace as
// SCM_RIGHTS, and returns. Go never runs in the login process itself: a runtime
// cannot be taken out of a process again, and does not survive a fork.
package main

import "C"

import (
	"runtime"

	"gotmpns/internal/exchange"
	"gotmpns/internal/session"
	"gotmpns/internal/wire"
)

//export gotmpns_session_serve
func gotmpns_session_serve(socket C.int) C.int { return C.int(serve(int(socket))) }

func main() {} // a c-shared library has to have one

// How the worker ends. Nobody waits for it; the login process goes by the reply.
const (
	exitUsage = 64 // started by hand, without a socket
	exitReply = 70 // the login process took no reply
)

func serve(socket int) int {
	// Mount namespaces belong to threads: all of it happens on this one.
	runtime.LockOSThread()
	message, err := exchange.Receive(socket, make([]byte, exchange.BufferSize))
	if err != nil || len(message) == 0 {
		return exitUsage
	}
	if err := exchange.EndOnHangUp(socket); err != nil {
		return exitUsage
	}
	answer := answerTo(socket, message)
	if err := exchange.StayOnHangUp(socket); err != nil {
		return exitUsage
	}
	if err := exchange.Deliver(socket, answer); err != nil {
		return exitReply
	}
	if answer.Made() {
		// Other logins of the user find the namespace by this login's process.
		exchange.AwaitHangUp(socket)
	}
	answer.Release()
	return 0
}

func answerTo(socket int, message []byte) *session.Answer {
	request, err := wire.DecodeRequest(message)
	if err != nil {
		return exchange.Refuse(err)
	}
	peer, err := exchange.Peer(socket)
	if err != nil {
		return exchange.Refuse(err)
	}
	return exchange.Answer(session.Worker(), request, int(peer.Pid))
}
