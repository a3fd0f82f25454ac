// Package process starts processes for tests of what looks at other processes: some that
// stay until they are ended, some that have ended and wait for their parent, and some
// that have the pid of an earlier one.
package process

import (
	"bufio"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Process stays until it is ended; it is ended with the test at the latest.
type Process struct {
	PID     int
	command *exec.Cmd
}

// Stay starts a process that stays, by way of a command such as unshare(1), which has to
// exec what follows in its arguments. It returns when the process has run the script and
// has nothing left to do.
func Stay(t testing.TB, script string, by ...string) *Process {
	t.Helper()
	return start(t, append(by, "sh", "-ec", script+"\necho $$\nexec sleep infinity")...)
}

// Again starts a process that stays and has the pid of another one that has ended and
// was waited for. It is in a mount namespace of its own. Needs the disposable root.
func Again(t testing.TB, pid int) *Process {
	t.Helper()
	const tries = 100 // others start processes as well
	for range tries {
		// /proc/sys is read-only there. What the shell starts next has the next pid.
		p := start(t, "unshare", "--mount", "sh", "-ec",
			"mount -o remount,bind,rw /proc/sys; echo "+strconv.Itoa(pid-1)+" > /proc/sys/kernel/ns_last_pid; sleep infinity & echo $!; wait")
		if p.PID == pid {
			return p
		}
		p.End()
	}
	t.Fatalf("process: no process gets the pid %d again", pid)
	return nil
}

func start(t testing.TB, arguments ...string) *Process {
	t.Helper()
	command := exec.Command(arguments[0], arguments[1:]...)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Process{command: command}
	t.Cleanup(p.End)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		p.PID, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		t.Fatalf("process: %q says %q: %v", arguments, line, err)
	}
	return p
}

// Namespace returns the number of the mount namespace that the process is in, as a record has
// it.
func (p *Process) Namespace(t testing.TB) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(p.PID)+"/ns/mnt", &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// End ends the process and what it has started, and waits for it.
func (p *Process) End() {
	if p.command.ProcessState == nil {
		p.Kill()
		_ = p.command.Wait() // killed
	}
}

// Kill ends the process without waiting for it: when this returns, it is a zombie.
func (p *Process) Kill() {
	_ = unix.Kill(-p.command.Process.Pid, unix.SIGKILL)
	var info unix.Siginfo
	_ = unix.Waitid(unix.P_PID, p.command.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
}
