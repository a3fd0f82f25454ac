package login

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gotmpns/test/journal"
)

// Nobody waits for another user: what a user can stop, lengthen or repeat delays that
// user's own logins, and these by no more than the time that a lock is waited for.

// othersTimeout is for a login that waits for nobody; a lock of another user, or a
// broker without a free thread, would cost it more. The machine may be busy.
const othersTimeout = time.Second

// beginStopped is for logins that are stopped on their way.
func beginStopped(t *testing.T) *journal.Journal {
	t.Helper()
	beginAlone(t)
	j := journal.Start(t)
	write(t, "/etc/pam.d/gotmpns-stopped", "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_gotmpns.so socket=none timeout=300\n")
	return j
}

// stopLoginAt starts a login of alice's whose process, or worker, stops itself at a
// system call, as a user can stop them. reached says that it came so far.
func stopLoginAt(t *testing.T, call string, nth int) (reached bool, kill func()) {
	t.Helper()
	trace := "/opt/stopped.trace"
	cmd := exec.Command("strace", "-f", "-o", trace, "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:signal=STOP:when=%d", call, nth),
		"pamtester", "gotmpns-stopped", "alice", "open_session", "close_session")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_ = os.Remove(trace)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	kill = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		for _, pid := range workers() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-ended
		_ = os.Remove(trace)
	}
	for {
		select {
		case <-ended:
			return false, kill
		case <-time.After(2 * time.Millisecond):
		}
		if text, _ := os.ReadFile(trace); strings.Contains(string(text), "stopped by SIGSTOP") {
			return true, kill
		}
	}
}

// workers are the processes that answer logins.
func workers() (pids []int) {
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil && string(text) == "gotmpns-worker\n" {
			var pid int
			_, _ = fmt.Sscanf(name, "/proc/%d/", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// timed says how long a login of a user takes, which has a private /tmp.
func timed(t *testing.T, user string) time.Duration {
	t.Helper()
	began := time.Now()
	got := runSu(t, user, "cat /tmp/host-file 2>/dev/null || echo "+seesNone)
	took := time.Since(began)
	if got != seesNone+"\n" {
		t.Errorf("%s has %q", user, got)
	}
	return took
}

// CASES 46: a login that is stopped, wherever it is, delays nobody else.
func TestALoginThatStopsHoldsUpNobodyElse(t *testing.T) {
	calls := []string{
		"unshare", "setns", "openat2", "flock", "mkdirat", "fchown", "fchmod", "symlinkat", "renameat2", "fsetxattr",
		"write", "open_tree", "mount_setattr", "fsopen", "fsmount", "sendmsg", "recvmsg", "move_mount", "execve",
	}
	for name, text := range map[string]string{
		"directory":         "",
		"tmpfs":             "kind = \"tmpfs\"\n",
		"of a session":      "scope = \"session\"\n",
		"emptied at logout": "cleanup = \"logout\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			j := beginStopped(t)
			configure(t, "[[private]]\ntarget = \"/tmp\"\n"+text)
			baseline := timed(t, "bob")
			limit := othersTimeout + 10*baseline
			stopped := 0
			times := 1
			if text == "" {
				times = 2
			}
			for _, call := range calls {
				for nth := 1; nth <= times; nth++ {
					forgetInstances(t)
					reached, kill := stopLoginAt(t, call, nth)
					if reached {
						stopped++
						if took := timed(t, "bob"); took > limit {
							t.Errorf("alice's login is stopped at %s, number %d; bob's takes %v: %q", call, nth, took, j.Lines())
						}
						// Her own other login waits for a lock, and for no longer than that.
						if took := timed(t, "alice"); took > limit+time.Second {
							t.Errorf("alice's login is stopped at %s, number %d; her other one takes %v: %q", call, nth, took, j.Lines())
						}
					}
					kill()
				}
			}
			if stopped < 12*times {
				t.Errorf("only %d logins were stopped: this shows little", stopped)
			}
		})
	}
}

// CASES 48: eighty logins of one user, while one of hers is stopped where it makes what
// the others wait for: the broker answers the others' at once.
func TestManyLoginsOfOneUserHoldUpNobodyElse(t *testing.T) {
	if !withBroker {
		t.Skip("needs the broker: GOTMPNS_BROKER=yes")
	}
	j := beginStopped(t)
	configure(t, "[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\n")
	timed(t, "bob")
	reached, kill := stopLoginAt(t, "fsopen", 1)
	if !reached {
		kill()
		t.Fatal("no login was stopped: this shows nothing")
	}
	j.Lines()
	var wg sync.WaitGroup
	for range 80 {
		wg.Add(1)
		go func() { defer wg.Done(); runSu(t, "alice", "true") }()
	}
	for range 5 {
		timed(t, "bob")
	}
	wg.Wait()
	for _, line := range j.Lines() {
		if strings.HasPrefix(line, "bob") && !strings.Contains(line, "private /tmp") || strings.Contains(line, "did not answer") {
			t.Errorf("the log has %q", line)
		}
	}
	kill()
	// When they have gone, it answers hers again.
	settle(t, func() error {
		if out, ok := openWith(t, "worker=/nowhere"); !ok {
			return fmt.Errorf("the broker does not answer alice: %s; the log has %q", out, j.Lines())
		}
		return nil
	})
}

// CASES 12: a hundred clients that send nothing delay nobody.
func TestSilentClientsHoldUpNobody(t *testing.T) {
	beginBroker(t)
	if booted {
		t.Skip("in test/root/enter only: this reads the log line by line")
	}
	j := journal.Start(t)
	var silent []*net.UnixConn
	defer func() {
		for _, conn := range silent {
			_ = conn.Close()
		}
	}()
	for range 100 {
		conn, err := dialBroker()
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	for range 3 {
		timed(t, "bob")
	}
	for _, line := range j.Lines() {
		if !strings.Contains(line, "private /tmp") {
			t.Errorf("the log has %q", line)
		}
	}
}

// CASES 39: a shared name at which a user answers is neither believed, whatever owner it
// names, nor waited for.
func TestASharedNameOnFUSEIsNeitherBelievedNorWaitedFor(t *testing.T) {
	for _, options := range []string{"-o allow_other --force-user=root --force-group=root", "--no-allow-other"} {
		t.Run(options, func(t *testing.T) {
			begin(t)
			replace(t, "/etc/fuse.conf", func(before string) string { return before + "\nuser_allow_other\n" })
			configure(t, "[[private]]\ntarget = \"/tmp\"\nshare = [\"ipc\"]\n")
			t.Cleanup(func() {
				_ = exec.Command("pkill", "-KILL", "-u", "alice", "-x", "bindfs").Run()
				_ = syscall.Unmount("/tmp/ipc", syscall.MNT_DETACH)
				_ = os.Remove("/tmp/ipc")
				_ = os.RemoveAll("/home/alice/mine")
			})
			limit := othersTimeout + 10*timed(t, "bob")
			// Outside of every session, where she has the host's /tmp.
			mustRun(t, "setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "sh", "-ec",
				"mkdir -p /tmp/ipc /home/alice/mine; echo trap > /home/alice/mine/sock; "+
					"cd /; bindfs "+options+" /home/alice/mine /tmp/ipc")
			for _, signal := range []string{"CONT", "STOP"} {
				mustRun(t, "pkill", "-"+signal, "-u", "alice", "-x", "bindfs")
				for _, user := range []string{"bob", "alice"} {
					if took := timed(t, user); took > limit {
						t.Errorf("after SIG%s, the login of %s takes %v", signal, user, took)
					}
					if got := runSu(t, user, "cat /tmp/ipc/sock 2>&1"); strings.Contains(got, "trap") {
						t.Errorf("%s sees %q", user, got)
					}
				}
			}
		})
	}
}

// CASES 39: a process whose root directory is a file system that does not answer delays
// no login, of its user's or of others'.
func TestAProcessOnAFileSystemThatDoesNotAnswerHoldsUpNobody(t *testing.T) {
	for _, kind := range []string{"directory", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			begin(t)
			withoutManagers(t)
			configure(t, "[[private]]\ntarget = \"/tmp\"\nkind = \""+kind+"\"\n")
			limit := othersTimeout + 10*timed(t, "bob")
			ready := resultFIFO(t, "alice")
			t.Cleanup(func() {
				_ = exec.Command("pkill", "-KILL", "-u", "alice", "-x", "perl").Run()
				_ = exec.Command("pkill", "-KILL", "-u", "alice", "-x", "bindfs").Run()
				_ = os.RemoveAll("/home/alice/src")
				_ = os.RemoveAll("/home/alice/m")
			})
			alice := startShell(t, "alice")
			alice.run(t, "mkdir -p ~/src/tmp ~/m; bindfs --no-allow-other ~/src ~/m")
			if _, err := fmt.Fprintf(alice.in, "setsid unshare -Ur perl -e 'open F, \">%s\"; chroot $ARGV[0] or exec \"echo\"; print F \"there\\n\"; close F; sleep 1000' ~/m > /dev/null 2>&1 &\n", ready); err != nil {
				t.Fatal(err)
			}
			want(t, read(t, ready), "there")
			mustRun(t, "pkill", "-STOP", "-u", "alice", "-x", "bindfs")
			alice.end()
			for _, user := range []string{"bob", "alice", "bob"} {
				if took := timed(t, user); took > limit {
					t.Errorf("the login of %s takes %v", user, took)
				}
			}
			mustRun(t, "pkill", "-KILL", "-u", "alice", "-x", "bindfs")
			_ = exec.Command("umount", "-l", "/home/alice/m").Run() // where the host has it, too
		})
	}
}

// Root's way into a user's view does not wait there for a file system of the user's that
// covers root's working directory.
func TestEnterDoesNotWaitForAUsersFileSystem(t *testing.T) {
	begin(t)
	replace(t, "/etc/fuse.conf", func(before string) string { return before + "\nuser_allow_other\n" })
	alice := startShell(t, "alice")
	t.Cleanup(func() {
		_ = exec.Command("pkill", "-KILL", "-u", "alice", "-x", "bindfs").Run()
		_ = exec.Command("umount", "-l", "/home/alice/m").Run() // where the host has it, too
		_ = os.RemoveAll("/home/alice/src")
		_ = os.RemoveAll("/home/alice/m")
	})
	alice.run(t, "mkdir -p ~/src ~/m")
	root := startShellBy(t, "sh")
	root.run(t, "cd /home/alice/m")
	alice.run(t, "bindfs -o allow_other ~/src ~/m")
	mustRun(t, "pkill", "-STOP", "-u", "alice", "-x", "bindfs")
	if got := root.run(t, "timeout --signal=KILL 10 /usr/local/bin/gotmpns enter alice -- pwd"); got != "/\n" {
		t.Errorf("the command starts in %q", got)
	}
}

// Where cgroup.kill was used once, the kernel kills a process that is cloned from there into
// another cgroup. The worker stays then.
func TestSystemALoginFromACgroupThatWasKilled(t *testing.T) {
	beginSystem(t)
	const cgroup = "/sys/fs/cgroup/user.slice/killed"
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { settle(t, func() error { return os.Remove(cgroup) }) })
	script := "echo 1 > " + cgroup + "/cgroup.kill; echo $$ > " + cgroup + "/cgroup.procs; sudo -u alice " + printNamespace
	if got := runIn(t, "/", "sh", "-c", script); got == namespaceOf(t, 1) || !strings.HasPrefix(got, "mnt:") {
		t.Errorf("the login is in %q", got)
	}
}
