// Package run runs a command in a mount namespace of its own, for anybody.
//
// A caller with CAP_SYS_ADMIN gets the namespaces directly: the calling thread
// unshares, mounts, and becomes the command. Anybody else gets a user namespace
// around them, in which uid and gid are the same as outside. A program with several
// threads cannot enter a user namespace (unshare(2)), and every Go program has several.
// So the command in PATH is a small C program (c/front.c): it enters the
// namespaces and becomes this one, which is named after what its caller was allowed
// to do (see [CallerOf]):
//
//	gotmpns run        c/front.c: enters the user and mount namespace
//	gotmpns-run        mounts, gives up the capabilities of the namespace
//	COMMAND
//
// All of that is one process, so there is nobody between the command and the process
// that started it: signals, job control and exit status are its own. A pid namespace
// begins with a child, so there is no way around one. There is none either where
// this program is started without the front:
//
//	gotmpns-run                      waits, passes signals on, ends as the command ended
//	  gotmpns gotmpns-run-setup      mounts, and becomes
//	  gotmpns gotmpns-run-init       pid 1: starts COMMAND, reaps, passes signals on
//	    COMMAND
//
// What the command may do: what its caller may. In a user namespace all five
// sets of capabilities and the securebits are put back to what the caller had, so
// that the mounts cannot be undone; CAP_SYS_ADMIN stays where the caller asks for
// it (MayMount), and is worth no more than that user namespace. no_new_privs is not
// set: with CAP_SYS_ADMIN the command is to run as if it ran alone, sudo among
// others; and in a user namespace there is nothing to gain, because the kernel
// ignores setuid programs and file capabilities of owners that are not mapped
// (user_namespaces(7)), root first of all.
//
// Nothing here is setuid, so the stages are no boundary: who starts one by hand
// gets what he could have done himself.
package run

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// Kind says what a [Mount] puts over its target.
type Kind string

// The kinds.
const (
	Private      Kind = "private" // an empty directory, the caller's, with the mode of the target
	Tmpfs        Kind = "tmpfs"   // the same, with a limit
	Bind         Kind = "bind"    // the source without what is mounted below it
	BindAll      Kind = "rbind"   // the source with what is mounted below it
	BindReadOnly Kind = "ro-bind" // as BindAll, and nothing of it can be written
)

// Mount is one thing to do. Sources are what the caller sees before anything is
// mounted; targets are looked up in what the earlier mounts have made.
type Mount struct {
	Kind           Kind
	Source, Target string // paths, relative to the working directory or absolute; Source for binds only
	Size           uint64 // of a Tmpfs, in bytes; 0: the kernel's default, half of the memory
}

// Propagation says how mounts travel between the host and the command.
type Propagation string

// The propagations.
const (
	Slave          Propagation = "slave"   // what the host mounts is seen by the command
	PropagationOff Propagation = "private" // neither way
	Shared         Propagation = "shared"  // both ways, but for the targets; with CAP_SYS_ADMIN only
)

// Request is what [Run] is asked for.
type Request struct {
	Mounts             []Mount // in this order
	Propagation        Propagation
	PID, Net, IPC, UTS bool     // more namespaces of the command's own
	Hostname           string   // in a UTS namespace; empty: the host's
	MayMount           bool     // the command keeps CAP_SYS_ADMIN in its user namespace
	Command            []string // a program, looked up in PATH, and its arguments
}

// ErrNotFound says that there is no such command, ErrNotRun that there is one
// which could not be executed.
var (
	ErrNotFound = errors.New("command not found")
	ErrNotRun   = errors.New("cannot execute")
)

// Error is an error with advice.
type Error struct {
	Err  error
	Hint string
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

const capSysAdmin = 1 << unix.CAP_SYS_ADMIN

// Run runs the command. It returns with the command's exit status, or 128 and the
// number of the signal that ended it, when the command has ended; or with an error
// when it was not run. Where it can, it becomes the command and does not return.
func (c Caller) Run(r Request) (status int, err error) {
	runtime.LockOSThread() // namespaces and PR_SET_PDEATHSIG belong to a thread
	privileged := c.before.effective&capSysAdmin != 0
	if !privileged && r.Propagation == Shared {
		return 0, &Error{
			errors.New("cannot share mounts with the host: mounts made in a user namespace never leave it"),
			"only root can use --propagation shared",
		}
	}
	s := stage{request: r, userNamespace: !privileged, after: c.before}
	if r.MayMount {
		s.after = c.before.with(capSysAdmin)
	}
	if r.PID {
		return s.supervise()
	}
	if !privileged && !c.entered {
		if err := filtered(); err != nil {
			return 0, err
		}
		return s.supervise()
	}
	namespaces := r.namespaces()
	if c.entered {
		namespaces &^= unix.CLONE_NEWNS
	}
	if err := unix.Unshare(int(namespaces)); err != nil {
		return 0, explainUnshare(err)
	}
	return 0, s.setUpAndExecute()
}

// namespaces returns the CLONE_NEW* flags; of the user namespace others know.
func (r Request) namespaces() uintptr {
	flags := uintptr(unix.CLONE_NEWNS)
	for _, n := range []struct {
		wanted bool
		flag   uintptr
	}{
		{r.PID, unix.CLONE_NEWPID}, {r.Net, unix.CLONE_NEWNET},
		{r.IPC, unix.CLONE_NEWIPC}, {r.UTS, unix.CLONE_NEWUTS},
	} {
		if n.wanted {
			flags |= n.flag
		}
	}
	return flags
}
