package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"gotmpns/internal/run"
)

// statusError ends gotmpns with the status of the command that it ran; there is
// nothing to say about it.
func statusError(status int) error {
	if status == 0 {
		return nil
	}
	return &failure{err: errors.New(""), status: status}
}

// runAs runs a command as a user, or the login shell where there is none, and
// waits for it.
func runAs(u *user.User, command []string, environment []string) error {
	request, err := requestOf(u, "", "/")
	if err != nil {
		return err
	}
	groups, err := groupsOf(u)
	if err != nil {
		return err
	}
	shell := cmp.Or(request.Shell, "/bin/sh")
	cmd := &exec.Cmd{
		Path: shell,
		Args: []string{"-" + filepath.Base(shell)}, // as login(1) says to a shell that it is one
		Env:  append(loginEnvironment(u, shell), environment...),
		Dir:  homeOf(u),
		SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{
			Uid: request.UID, Gid: request.GID, Groups: groups,
		}},
	}
	if len(command) > 0 {
		if cmd.Path, err = find(command[0], loginPath); err != nil {
			return err
		}
		cmd.Args = command
	}
	return runApart(cmd, request.UID)
}

// asScript is the command of a file without "#!", which the kernel does not execute.
func asScript(cmd *exec.Cmd) *exec.Cmd {
	return &exec.Cmd{
		Path: run.Shell, Args: run.AsScript(cmd.Path, cmd.Args), Env: cmd.Env, Dir: cmd.Dir,
		SysProcAttr: cmd.SysProcAttr, Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr,
	}
}

// wait runs a command, which has a session of its own, and returns what it ended
// with. Signals are passed on to it.
func wait(cmd *exec.Cmd) error { return waitStarted(cmd, func() {}) }

// waitStarted is wait with a function to call as soon as the command has started or
// failed to.
func waitStarted(cmd *exec.Cmd, started func()) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	err := cmd.Start()
	if errors.Is(err, syscall.ENOEXEC) {
		cmd = asScript(cmd)
		err = cmd.Start()
	}
	started()
	if err != nil {
		return notRun(cmd.Args[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s)
		case <-ended:
			return statusError(run.ExitStatus(unix.WaitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus))))
		}
	}
}

// find looks a command up in a PATH, never in the current directory.
func find(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil // execve(2) says what is wrong with it
	}
	for dir := range strings.SplitSeq(path, ":") {
		file := filepath.Join(dir, name)
		info, err := os.Stat(file)
		if filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", &failure{err: fmt.Errorf("cannot run %s: there is no such program in PATH", printable(name)), status: exitNotFound}
}

func notRun(name string, err error) error {
	status := exitNotRun
	if errors.Is(err, fs.ErrNotExist) {
		status = exitNotFound
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return &failure{err: fmt.Errorf("cannot run %s: %w", printable(name), err), status: status}
}

// loginPath is Debian's for users, and has no directory of theirs.
const loginPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"

// loginEnvironment is what login(1) hands to a shell.
func loginEnvironment(u *user.User, shell string) []string {
	environment := []string{
		"HOME=" + u.HomeDir, "SHELL=" + shell, "USER=" + u.Username, "LOGNAME=" + u.Username, "PATH=" + loginPath,
	}
	for _, name := range []string{"TERM", "LANG"} {
		if value, ok := os.LookupEnv(name); ok {
			environment = append(environment, name+"="+value)
		}
	}
	return environment
}

// homeOf is where a session begins: / for one without a home, as with login(1).
func homeOf(u *user.User) string {
	if info, err := os.Stat(u.HomeDir); err != nil || !info.IsDir() {
		return "/"
	}
	return u.HomeDir
}

func groupsOf(u *user.User) ([]uint32, error) {
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("cannot find the groups of %s: %w", printable(u.Username), err)
	}
	groups := make([]uint32, 0, len(ids))
	for _, id := range ids {
		gid, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("cannot use the gid %q: %w", id, err)
		}
		groups = append(groups, uint32(gid))
	}
	return groups, nil
}

// shellOf returns the login shell, which os/user leaves out; empty: unknown.
func shellOf(name string) string {
	const path = "/usr/bin:/bin"
	getent, err := find("getent", path)
	if err != nil {
		return ""
	}
	cmd := &exec.Cmd{Path: getent, Args: []string{"getent", "passwd", "--", name}, Env: []string{"PATH=" + path}}
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if fields := strings.Split(line, ":"); len(fields) == 7 {
		return fields[6]
	}
	return ""
}
