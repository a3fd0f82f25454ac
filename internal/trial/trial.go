//go:build cgo

// Package trial opens real PAM sessions through the module, with a stack that
// stands nowhere in /etc: a service file in a directory of its own, which PAM
// reads instead (pam_start_confdir(3), Linux-PAM 1.4).
//
// The stack has nothing but the module in it, so a trial shows what the module
// does, not what the other modules of the machine do.
package trial

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/msteinert/pam/v2"
	"golang.org/x/sys/unix"
)

// Service is the PAM service's name where none is asked for.
const Service = "gotmpns"

// Stack is what the trial's PAM stack says.
type Stack struct {
	Service string // empty: Service
	Module  string // the file pam_gotmpns.so
	Worker  string // empty: the one that the module knows; otherwise the broker is not asked
	Config  string // empty: the one that the module knows
}

// Session is an open session. It belongs to the thread that opened it, whose
// mount namespace it has changed.
type Session struct {
	Private bool   // the thread is in another namespace than before
	Logged  string // the last line that the module has logged; empty: none
	tx      *pam.Transaction
}

// Refusal says that PAM did not open the session.
type Refusal struct {
	User   string
	Reason string // the module's own, as it logs it; empty: it gave none
	Err    error  // PAM's, which knows a status only
}

func (r *Refusal) Error() string {
	if r.Reason != "" {
		return fmt.Sprintf("cannot open a session of %s: %s", r.User, r.Reason)
	}
	return fmt.Sprintf("cannot open a session of %s: PAM says %q", r.User, r.Err)
}
func (r *Refusal) Unwrap() error { return r.Err }

// Open opens a session of a user. The calling goroutine has to be locked to the
// process's main thread: the module records the session by process.
func Open(user string, stack Stack) (*Session, error) {
	text, err := stack.text()
	if err != nil {
		return nil, err
	}
	// Not below /tmp, which is about to change.
	dir, err := os.MkdirTemp("/run", ".gotmpns-try-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a directory for the PAM stack: %w", err)
	}
	defer os.RemoveAll(dir)
	service := cmp.Or(stack.Service, Service)
	// Without a file for "other", PAM logs an error.
	for name, text := range map[string]string{"other": denied, service: text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("cannot write the PAM stack: %w", err)
		}
	}
	tx, err := pam.StartConfDir(service, user, pam.ConversationFunc(silent), dir)
	if err != nil {
		return nil, fmt.Errorf("cannot begin with PAM: %w", err)
	}
	before := namespace()
	lines, err := captureLog(func() error { return tx.OpenSession(0) })
	if err != nil {
		_ = tx.End()
		return nil, &Refusal{user, lastOf(lines), err}
	}
	return &Session{Private: namespace() != before, Logged: lastOf(lines), tx: tx}, nil
}

// denied is the stack of "other", which nothing uses.
const denied = "auth required pam_deny.so\naccount required pam_deny.so\npassword required pam_deny.so\nsession required pam_deny.so\n"

func silent(pam.Style, string) (string, error) { return "", nil }

// Environment is what PAM wants the session to have.
func (s *Session) Environment() []string {
	variables, err := s.tx.GetEnvList()
	if err != nil {
		return nil
	}
	list := make([]string, 0, len(variables))
	for name, value := range variables {
		list = append(list, name+"="+value)
	}
	return list
}

// Close closes the session.
func (s *Session) Close() error {
	return errors.Join(s.tx.CloseSession(0), s.tx.End())
}

// text is the service file.
func (s Stack) text() (string, error) {
	if s.Service != "" && !isServiceName(s.Service) {
		return "", fmt.Errorf("cannot use %q as a PAM service: it is named like a file in /etc/pam.d, in lower case", s.Service)
	}
	line := "session required " + s.Module
	for _, argument := range [...]struct{ name, path string }{{"worker", s.Worker}, {"config", s.Config}} {
		if argument.path != "" {
			line += " " + argument.name + "=" + argument.path
		}
	}
	if s.Worker != "" {
		line += " socket=none"
	}
	for _, path := range []string{s.Module, s.Worker, s.Config} {
		if err := checkPath(path); err != nil {
			return "", err
		}
	}
	return "auth required pam_permit.so\naccount required pam_permit.so\n" + line + "\n", nil
}

// checkPath refuses what PAM would read as something else than one word.
func checkPath(path string) error {
	if path == "" {
		return nil
	}
	odd := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`[]\#`, r)
	}
	if strings.ContainsFunc(path, odd) {
		return fmt.Errorf("cannot write %q into a PAM stack: use a path without spaces, brackets, backslashes and #", path)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("cannot find %s: %w", path, err)
	}
	return nil
}

func isServiceName(name string) bool {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.@+", r)
	}
	return !strings.ContainsFunc(name, odd) && name[0] != '.'
}

// namespace is the number of the calling thread's mount namespace.
func namespace() uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/thread-self/ns/mnt", &st) != nil {
		return 0
	}
	return st.Ino
}
