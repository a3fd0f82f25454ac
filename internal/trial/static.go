//go:build !cgo

// Package trial, without the C library, opens nothing: PAM is a C library's.
package trial

import "errors"

// Service is the PAM service's name where none is asked for.
const Service = "gotmpns"

// Stack is what the trial's PAM stack says.
type Stack struct{ Service, Module, Worker, Config string }

// Session is an open session; there is none here.
type Session struct {
	Private bool
	Logged  string
}

// Refusal says that PAM did not open the session.
type Refusal struct {
	Reason string
	Err    error
}

func (r *Refusal) Error() string { return r.Err.Error() }

// Open fails: this program is linked without PAM.
func Open(string, Stack) (*Session, error) {
	return nil, errors.New("cannot open a PAM session: this program is linked without PAM; is the installation complete?")
}

// Environment is empty.
func (s *Session) Environment() []string { return nil }

// Close does nothing.
func (s *Session) Close() error { return nil }
