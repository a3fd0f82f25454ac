package run

import (
	"errors"
	"strings"
)

// enteredName is the name of a process that c/front.c has put into a user and a mount
// namespace, before the privileges that it had outside (see [privileges.String]).
const enteredName = "gotmpns-entered:"

// Caller is the user who runs a command: what they may do, and whether the calling process
// already is in the user and mount namespace of the command.
type Caller struct {
	before  privileges
	entered bool
}

// CallerOf returns the caller; name is args[0] of the process, by which the front
// reports the namespaces. Like the stages, the name is not a boundary: a caller who makes
// one up gets what they could have done themselves.
func CallerOf(name string) (Caller, error) {
	words, entered := strings.CutPrefix(name, enteredName)
	if !entered {
		before, err := readPrivileges()
		return Caller{before: before}, err
	}
	before, ok := parsePrivileges(words)
	if !ok || before.effective&capSysAdmin != 0 {
		return Caller{}, errors.New("cannot continue: " + enteredName + " is a name given by gotmpns only")
	}
	return Caller{before, true}, nil
}

// Restore gives the calling thread the privileges that the caller had. It does not leave the
// namespaces. Only the thread that then executes another program may call it.
func (c Caller) Restore() error {
	if !c.entered {
		return nil
	}
	return c.before.restore()
}
