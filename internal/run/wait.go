package run

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// passed are the signals that others send to a command by the pid that they
// know, which is ours. Those that stop and continue work on us as on every
// process, and the command is stopped and continued by [waitFor] or by its terminal.
func passed() []unix.Signal {
	signals := []unix.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM,
		unix.SIGTERM, unix.SIGWINCH, unix.SIGIO, unix.SIGPWR, unix.SIGVTALRM,
	}
	const firstRealTime, lastRealTime = 35, 64 // those before are the C library's
	for s := unix.Signal(firstRealTime); s <= lastRealTime; s++ {
		signals = append(signals, s)
	}
	return signals
}

// catch begins to collect signals. What is ignored stays so, for the command
// inherits it (nohup); what is caught is at its default again in the command.
func catch() chan os.Signal {
	caught := make(chan os.Signal, 64)
	for _, s := range passed() {
		if !signal.Ignored(s) {
			signal.Notify(caught, s)
		}
	}
	return caught
}

func pass(signals chan os.Signal, send func(unix.Signal)) {
	for s := range signals {
		if !byTerminal(s) {
			send(s.(unix.Signal))
		}
	}
}

// byTerminal says whether the terminal sent a signal, as far as can be known
// without siginfo: then the command, in the same process group, has it already.
func byTerminal(s os.Signal) bool {
	switch s {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGWINCH:
	default:
		return false
	}
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(tty)
	foreground, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}

// waitFor waits for the end of a child; where that stops itself, as a shell's
// "suspend" does, we stop with it, for the shell that watches us.
func waitFor(pid, pidfd int) (int, error) {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("cannot wait for the command: %w", err)
		case status.Stopped():
			_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
			_ = unix.PidfdSendSignal(pidfd, unix.SIGCONT, nil, 0)
		default:
			return ExitStatus(status), nil
		}
	}
}

// ExitStatus returns what a shell makes of the end of a command.
func ExitStatus(s unix.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// beInit is pid 1: its end is that of everything in the namespace, so it ends
// with the command.
func beInit(command []string) (int, error) {
	if len(command) == 0 || os.Getpid() != 1 {
		return 0, fmt.Errorf("cannot continue: %s is started by gotmpns run only", initStage)
	}
	signals := catch()
	pid, err := start(command)
	if err != nil {
		return 0, err
	}
	go pass(signals, func(s unix.Signal) { _ = unix.Kill(pid, s) })
	for {
		var status unix.WaitStatus
		reaped, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("cannot wait for the command: %w", err)
		case reaped == pid:
			return ExitStatus(status), nil
		}
	}
}

func start(command []string) (pid int, err error) {
	err = tryToExecute(command, func(path string, args []string) error {
		pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
		return err
	})
	return pid, err
}
