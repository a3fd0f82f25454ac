package login

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// deadline is for a program that hangs; nothing waits for it to pass.
const deadline = 30 * time.Second

var sshOptions = []string{
	"-q", "-i", "/root/.ssh/id_test", "-o", "StrictHostKeyChecking=no",
	"-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
}

// output runs a program to its end; with a script that fails on purpose, the
// exit status says nothing.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	timer := time.AfterFunc(deadline, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("%s: %v", cmd.Args[0], err)
	}
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

func runIn(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	return output(t, cmd)
}

func runSu(t *testing.T, user, script string) string {
	t.Helper()
	return runIn(t, "/", "su", user, "-c", script)
}

func runSuLogin(t *testing.T, user, script string) string {
	t.Helper()
	return runIn(t, "/", "su", "-", user, "-c", script)
}

// runSuInsideSu comes from another user's session.
func runSuInsideSu(t *testing.T, user, script string) string {
	t.Helper()
	file := scriptFile(t, script)
	return runIn(t, "/", "su", "carol", "-c", "sudo su "+user+" -c "+file)
}

func runSudo(t *testing.T, user, script string) string {
	t.Helper()
	return runIn(t, "/", "sudo", "-u", user, "/bin/sh", "-c", script)
}

func runSudoLogin(t *testing.T, user, script string) string {
	t.Helper()
	return runIn(t, "/", "sudo", "-i", "-u", user, scriptFile(t, script))
}

// runPamtester has no command to run: pam_exec runs the script in the session
// that the module has opened, in pamtester's own namespace.
func runPamtester(t *testing.T, user, script string) string {
	t.Helper()
	out := outFile(t, "root") // not below /tmp: the session would write it into its own
	write(t, "/etc/pam.d/gotmpns-test", "auth required pam_permit.so\naccount required pam_permit.so\n"+
		"session required pam_gotmpns.so\n"+
		"session required pam_exec.so type=open_session log="+out+" /usr/bin/setpriv --reuid="+user+" --regid="+user+
		" --init-groups "+scriptFile(t, script)+"\n")
	runIn(t, "/", "pamtester", "gotmpns-test", user, "open_session", "close_session")
	return strings.SplitN(read(t, out)+"\n", "\n", 2)[1] // behind the line of date and time
}

func runLogin(t *testing.T, user, script string) string {
	t.Helper()
	out := outFile(t, user)
	typeAtLogin(t, user, scriptFile(t, script)+" > "+out+" 2>&1; exit")
	return read(t, out)
}

// typeAtLogin types a line at the shell that login starts on a terminal, and returns what
// the terminal showed.
func typeAtLogin(t *testing.T, user, line string) (shown string) {
	t.Helper()
	master, slave := openPTY(t)
	defer master.Close()
	cmd := exec.Command("login", "-f", user)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	timer := time.AfterFunc(deadline, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	typed := false
	for chunk := range screen(master, ended) {
		// The shell asks for a command: now it reads, and nothing is flushed.
		if !typed && (strings.Contains(chunk, "$ ") || strings.Contains(chunk, "# ")) {
			typed = true
			fmt.Fprintln(master, line)
		}
		shown += chunk
	}
	return shown
}

// openPTY opens a pseudo terminal (pty(7)).
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "/dev/ptmx"), slave
}

// screen is what the terminal shows, until the program has ended. login hangs its
// terminal up and opens it again (vhangup(2)): in between there is an error, and
// it is not the end.
func screen(master *os.File, ended <-chan struct{}) func(func(string) bool) {
	return func(yield func(string) bool) {
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			if n > 0 && !yield(string(buffer[:n])) {
				return
			}
			if err == nil {
				continue
			}
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

func runSSH(t *testing.T, user, script string) string {
	t.Helper()
	startSSHD(t)
	return runIn(t, "/", "ssh", append(sshOptions, "-n", user+"@127.0.0.1", script)...)
}

// runSSHShell has a terminal and a login shell.
func runSSHShell(t *testing.T, user, script string) string {
	t.Helper()
	startSSHD(t)
	file, out := scriptFile(t, script), outFile(t, user)
	cmd := exec.Command("ssh", append(sshOptions, "-tt", user+"@127.0.0.1")...)
	cmd.Stdin = strings.NewReader(file + " > " + out + " 2>&1\nexit\n")
	output(t, cmd)
	return read(t, out)
}

// startSSHD starts the server for one test, and waits for it to listen.
func startSSHD(t *testing.T) {
	t.Helper()
	startDaemon(t, "/usr/sbin/sshd", "-D", "-e")
	for {
		conn, err := net.Dial("tcp", "127.0.0.1:22")
		if err == nil {
			_ = conn.Close()
			return
		}
	}
}

var daemons sync.Map // of one test: a test that asks twice gets one

func startDaemon(t *testing.T, name string, args ...string) {
	t.Helper()
	if booted {
		return // the system has it running
	}
	if _, running := daemons.LoadOrStore(t.Name()+name, true); running {
		return
	}
	stop := startProcess(t, name, args...)
	t.Cleanup(func() {
		stop()
		daemons.Delete(t.Name() + name)
	})
}

func startProcess(t *testing.T, name string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(name, args...)
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		// Again and again: atd misses a signal that comes just before it goes to sleep.
		for range 50 {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-ended:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
		_ = cmd.Process.Kill()
		<-ended
	}
}

// runCron uses @reboot, which fires when cron starts on an empty /run.
func runCron(t *testing.T, user, script string) string {
	t.Helper()
	fifo := resultFIFO(t, user)
	write(t, "/etc/cron.d/gotmpns-test", "@reboot "+user+" "+scriptFile(t, script)+" > "+fifo+" 2>&1\n")
	if booted {
		restartCron(t)
	} else {
		_ = os.Remove("/run/crond.reboot")
		stop := startProcess(t, "/usr/sbin/cron", "-f")
		defer stop() // the next run is another boot
	}
	text := read(t, fifo)
	_ = os.Remove("/etc/cron.d/gotmpns-test")
	return text
}

func runAt(t *testing.T, user, script string) string {
	t.Helper()
	fifo := resultFIFO(t, user)
	startDaemon(t, "/usr/sbin/atd", "-f")
	job := exec.Command("setpriv", "--reuid="+user, "--regid="+user, "--init-groups", "at", "now")
	job.Dir = "/"
	job.Stdin = strings.NewReader(scriptFile(t, script) + " > " + fifo + " 2>&1\n")
	if out, err := job.CombinedOutput(); err != nil {
		t.Fatalf("at: %v: %s", err, out)
	}
	return read(t, fifo)
}
