package login

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
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
	file, out := scriptFile(t, script), outFile(t, user)
	// login waits for its terminal to be read: socat is the terminal.
	cmd := exec.Command("socat", "-t1", "-", "EXEC:login -f "+user+",pty,setsid,ctty,stderr")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	screen, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(deadline, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	waitForPrompt(screen)
	fmt.Fprintf(in, "%s > %s 2>&1; exit\n", file, out)
	_, _ = io.Copy(io.Discard, screen)
	_ = in.Close()
	_ = cmd.Wait()
	return read(t, out)
}

// waitForPrompt reads until the shell asks for a command.
func waitForPrompt(screen io.Reader) {
	r := bufio.NewReader(screen)
	for {
		b, err := r.ReadByte()
		if err != nil || b == '$' {
			return
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
		_ = cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
	}
}

// runCron uses @reboot, which fires when cron starts on an empty /run.
func runCron(t *testing.T, user, script string) string {
	t.Helper()
	fifo := resultFIFO(t, user)
	write(t, "/etc/cron.d/gotmpns-test", "@reboot "+user+" "+scriptFile(t, script)+" > "+fifo+" 2>&1\n")
	_ = os.Remove("/run/crond.reboot")
	stop := startProcess(t, "/usr/sbin/cron", "-f")
	defer stop() // the next run is another boot
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
