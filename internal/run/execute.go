package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// execute becomes the command; it returns with an error only.
func execute(command []string) error {
	return tryToExecute(command, func(path string, args []string) error {
		return syscall.Exec(path, args, os.Environ())
	})
}

// tryToExecute finds a command as execvp(3) does, in what it will see itself. A
// file without "#!" is a script of /bin/sh.
func tryToExecute(command []string, run func(path string, args []string) error) error {
	path, err := exec.LookPath(command[0])
	// POSIX has "." in PATH, or an empty word, for the working directory.
	if err != nil && !errors.Is(err, exec.ErrDot) {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot run %q: %w", command[0], ErrNotFound)
		}
		return notRun(command[0], err)
	}
	err = run(path, command)
	if errors.Is(err, unix.ENOEXEC) {
		err = run(Shell, AsScript(path, command))
	}
	if err != nil {
		return notRun(command[0], explainExec(path, err))
	}
	return nil
}

// Shell executes files that the kernel does not, because they have no "#!".
const Shell = "/bin/sh"

// AsScript returns the arguments of [Shell] for such a file, as execvp(3) has them.
func AsScript(path string, command []string) []string {
	return append([]string{"sh", path}, command[1:]...)
}

func notRun(name string, err error) error {
	if e := (*exec.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("cannot run %q: %w: %w", name, ErrNotRun, err)
}
