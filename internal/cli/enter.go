package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gotmpns/internal/inventory"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/run"
)

func newEnter() *cobra.Command {
	var flags trialFlags
	cmd := &cobra.Command{
		Use:   "enter [OPTIONS] USER [-- COMMAND [ARGUMENT...]]",
		Short: "Run a command in a user's mount namespace, as root",
		Long: `Runs COMMAND, or without one a shell, in the mount namespace of the latest session
of USER or, if none is open, in a new session like that of a login. The options
apply only to a new session.

Only the namespace changes. You stay root, keep your environment, and stay in your
working directory if the namespace has it. What you do in the user's /tmp, you do
as root.
The exit status is COMMAND's.`,
		Example: `  gotmpns enter alice
  gotmpns enter alice -- ls -la /tmp
  gotmpns enter alice -- sh -c 'du -sh /tmp/*'`,
		Args:              userAndCommand,
		ValidArgsFunction: completeUser,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !isRoot() {
				return needRoot("enter a user's private view")
			}
			return enter(cmd, args[0], args[1:], flags)
		},
	}
	flags.add(cmd)
	return cmd
}

func enter(cmd *cobra.Command, name string, command []string, flags trialFlags) error {
	u, err := account(name)
	if err != nil {
		return err
	}
	cwd, _ := unix.Getwd() // by its name: the directory itself may lie outside the view
	inv, err := takeInventory(cmd, wantOf(u))
	if err != nil {
		return err
	}
	err = inv.Enter(u.Username)
	if errors.Is(err, inventory.ErrNoSession) {
		session, err := flags.open(u)
		if err != nil {
			return err
		}
		if !session.Private {
			defer session.Close()
			return hinted(fmt.Errorf("cannot enter a private view of %s: a session has none: %s", printable(name), whyNothing(session)),
				fmt.Sprintf("\"%s\" shows every rule", flags.checkCommand(u)))
		}
	} else if err != nil {
		return err
	}
	if goTo(cwd) != nil {
		_ = os.Chdir("/")
	}
	return become(command)
}

// goTo enters a directory in the namespace that this thread has entered. There, the user may
// have mounted a file system of their own on it (FUSE), which may never answer.
func goTo(cwd string) error {
	dir, err := openPlace(cwd)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Fchdir(int(dir.Fd()))
}

// openPlace opens a path as a place, in the namespace that this thread is in: it follows no
// link, and asks no file system that a user answers for. The place is the caller's to close.
func openPlace(path string) (*os.File, error) {
	root, err := mountfd.Root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return mountfd.Tree{Root: root, Table: "/proc/thread-self/mountinfo"}.Open(path)
}

// become replaces this program by a command, so that signals, terminal and exit status
// are the command's own. Go opens everything close-on-exec.
func become(command []string) error {
	if len(command) == 0 {
		shell := cmp.Or(os.Getenv("SHELL"), "/bin/sh")
		if !filepath.IsAbs(shell) {
			return fmt.Errorf("cannot run the shell %s: SHELL is not an absolute path", printable(shell))
		}
		command = []string{shell}
	}
	path, err := find(command[0], os.Getenv("PATH"))
	if err != nil {
		return err
	}
	err = syscall.Exec(path, command, os.Environ())
	if errors.Is(err, syscall.ENOEXEC) {
		err = syscall.Exec(run.Shell, run.AsScript(path, command), os.Environ())
	}
	return notRun(command[0], err)
}
