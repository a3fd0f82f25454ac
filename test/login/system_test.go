package login

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// beginSystem is for stories that need systemd, logind and user managers.
func beginSystem(t *testing.T) {
	t.Helper()
	if !booted {
		t.Skip("needs a whole system: run make test-system")
	}
	begin(t)
}

// asUser runs a script over ssh: in a session that logind knows of.
func asUser(t *testing.T, user, script string) string {
	t.Helper()
	return runSSH(t, user, script)
}

const seesNone = "nothing of the host"

// looks prints what a place to look from sees: the note, and whether the host's
// file is in sight.
const looks = "cat /tmp/note 2>&1; cat /tmp/host-file 2>/dev/null || echo " + seesNone

// A user's services are started by a manager that logs in by itself, before or
// beside the session: one user, one /tmp.
func TestSystemUserServicesShareTheSessionsTmp(t *testing.T) {
	for name, run := range map[string]string{
		"service": "systemd-run --user --quiet --wait --pipe sh -c '" + looks + "'",
		"scope":   "systemd-run --user --quiet --scope sh -c '" + looks + "'",
	} {
		t.Run(name, func(t *testing.T) {
			beginSystem(t)
			got := asUser(t, "alice", "echo hers > /tmp/note; "+run)
			want(t, got, "hers\n"+seesNone)
		})
	}
}

func TestSystemAFileOfAUserServiceIsInTheSession(t *testing.T) {
	beginSystem(t)
	asUser(t, "alice", `mkdir -p ~/.config/systemd/user
printf '[Service]\nType=oneshot\nExecStart=/bin/sh -c "echo by the service > /tmp/note"\n' > ~/.config/systemd/user/noter.service
systemctl --user daemon-reload && systemctl --user start noter.service; rm -r ~/.config`)
	want(t, asUser(t, "alice", looks), "by the service\n"+seesNone)
	want(t, asUser(t, "bob", looks), "No such file or directory\n"+seesNone)
	mustNotExist(t, "/tmp/note")
}

// A lingering user has a manager and services, and no session at all.
func TestSystemALingeringUser(t *testing.T) {
	beginSystem(t)
	mustRun(t, "loginctl", "enable-linger", "bob")
	t.Cleanup(func() { mustRun(t, "loginctl", "disable-linger", "bob") })
	mustRun(t, "systemctl", "start", "user@1001.service")
	bus := "systemd-run --user --machine=bob@.host --quiet --wait --pipe "
	got := runIn(t, "/", "sh", "-c", bus+"sh -c 'echo lingering > /tmp/note; "+looks+"'")
	want(t, got, "lingering\n"+seesNone)
	want(t, asUser(t, "bob", looks), "lingering\n"+seesNone)
	want(t, asUser(t, "alice", looks), "No such file or directory\n"+seesNone)
	mustNotExist(t, "/tmp/note")
}

func TestSystemAServiceWithPAMName(t *testing.T) {
	beginSystem(t)
	asUser(t, "alice", "echo hers > /tmp/note")
	for _, stack := range []string{"login", "su", "cron"} {
		got := runIn(t, "/", "systemd-run", "--quiet", "--wait", "--pipe", "-p", "User=alice", "-p", "PAMName="+stack, "sh", "-c", looks)
		want(t, got, "hers\n"+seesNone)
	}
	got := runIn(t, "/", "systemd-run", "--quiet", "--wait", "--pipe", "-p", "User=alice", "cat", "/tmp/host-file")
	want(t, got, "the host's") // no PAM, no session
}

func TestSystemRun0(t *testing.T) {
	if _, err := exec.LookPath("run0"); err != nil {
		t.Skip("run0 came with systemd 256")
	}
	beginSystem(t)
	asUser(t, "alice", "echo hers > /tmp/note")
	want(t, runIn(t, "/", "run0", "--user=alice", "--pipe", "sh", "-c", looks), "hers\n"+seesNone)
}

func TestSystemScpReadsAndWritesThePrivateTmp(t *testing.T) {
	beginSystem(t)
	write(t, "/opt/upload", "by scp\n")
	mustRun(t, "scp", append(sshOptions, "/opt/upload", "alice@127.0.0.1:/tmp/note")...)
	mustNotExist(t, "/tmp/note")
	want(t, asUser(t, "alice", looks), "by scp\n"+seesNone)
	mustRun(t, "scp", append(sshOptions, "alice@127.0.0.1:/tmp/note", "/opt/download")...)
	t.Cleanup(func() { _ = os.Remove("/opt/download") })
	want(t, read(t, "/opt/download"), "by scp")
}

// One connection, several sessions in it: PAM is asked once.
func TestSystemSessionsOfOneConnectionShareItsNamespace(t *testing.T) {
	beginSystem(t)
	control := []string{"-o", "ControlPath=/opt/control", "-o", "ControlPersist=yes", "-o", "ControlMaster=auto"}
	ssh := func(script string) string {
		return runIn(t, "/", "sh", append([]string{"-c", `exec ssh "$@" 2>/dev/null`, "sh", "-n"}, append(append(sshOptions, control...), "alice@127.0.0.1", script)...)...)
	}
	first := ssh("readlink /proc/self/ns/mnt; echo hers > /tmp/note")
	second := ssh("readlink /proc/self/ns/mnt; " + looks)
	runIn(t, "/", "ssh", "-q", "-o", "ControlPath=/opt/control", "-O", "exit", "alice@127.0.0.1")
	want(t, second, "hers\n"+seesNone)
	if !strings.HasPrefix(first, "mnt:") || !strings.HasPrefix(second, first) {
		t.Errorf("the first session is in %q, the second in %q", first, second)
	}
}

// From everybody to everybody by every program, three deep: each sees what is
// theirs, from whichever user they come.
func TestSystemNesting(t *testing.T) {
	beginSystem(t)
	write(t, "/etc/sudoers.d/gotmpns-test", "ALL ALL=(ALL:ALL) NOPASSWD: ALL\n")
	mustRun(t, "chmod", "440", "/etc/sudoers.d/gotmpns-test")
	write(t, "/opt/look", "#!/bin/sh\necho \"$(id -un): $(ls /tmp | tr '\\n' ' ')\"\n[ $# = 0 ] || exec \"$@\"\n")
	mustRun(t, "chmod", "755", "/opt/look")
	for _, user := range []string{"alice", "bob", "carol"} {
		runSu(t, user, "touch /tmp/of-"+user)
	}
	programs := map[string]string{
		"su":      "sudo su %s -c '%s'",
		"su -":    "sudo su - %s -c '%s'",
		"sudo":    "sudo -u %s %s",
		"sudo -i": "sudo -i -u %s %s",
	}
	// Scripts, so that nothing has to be quoted three deep.
	step := 0
	inside := func(program, user, script string) string {
		step++
		name := fmt.Sprintf("/opt/step%d", step)
		write(t, name, fmt.Sprintf("#!/bin/sh\n/opt/look\nexec "+programs[program]+"\n", user, script))
		mustRun(t, "chmod", "755", name)
		return name
	}
	for first := range programs {
		for second := range programs {
			for third := range programs {
				script := inside(first, "bob", inside(second, "carol", inside(third, "alice", "/opt/look")))
				got := runSu(t, "alice", script)
				if got != "alice: of-alice \nbob: of-bob \ncarol: of-carol \nalice: of-alice \n" {
					t.Errorf("%s to bob, %s to carol, %s to alice: %q", first, second, third, got)
				}
			}
		}
	}
}

// CASES 21: what was left running keeps its /tmp, and is found again in it.
func TestSystemADetachedTmuxOutlivesItsSession(t *testing.T) {
	beginSystem(t)
	got := asUser(t, "alice", "tmux new-session -d -s work 'echo inside > /tmp/note; exec sleep 1000' && echo detached")
	want(t, got, "detached")
	waitForNoSSH(t)
	got = asUser(t, "alice", "tmux list-sessions; ls -d /tmp/tmux-1000; "+looks)
	want(t, got, "work: 1 windows")
	want(t, got, "/tmp/tmux-1000\ninside\n"+seesNone)
	mustNotExist(t, "/tmp/tmux-1000")
	want(t, asUser(t, "bob", "ls /tmp/tmux-1000 2>&1"), "No such file")
	asUser(t, "alice", "tmux kill-server")
}

// waitForNoSSH returns when logind knows no session of ssh any more.
func waitForNoSSH(t *testing.T) {
	t.Helper()
	settle(t, func() error {
		if left := runIn(t, "/", "pgrep", "-la", "sshd"); strings.Contains(left, "alice") {
			return fmt.Errorf("the session does not end: %s", left)
		}
		return nil
	})
}

// CASES 33: the clear text of an encrypted directory, which all sessions of its user see.
// Where /tmp is a mount point, what a session mounts outside of it is seen by the host,
// too, though not read: FUSE lets its own user in only.
func TestSystemEncryptedDirectories(t *testing.T) {
	for name, fs := range map[string]struct{ clear, mount string }{
		"gocryptfs, in /tmp": {"/tmp/clear", "gocryptfs -q -init -extpass 'echo x' %[1]s && gocryptfs -q -extpass 'echo x' %[1]s %[2]s"},
		"gocryptfs, at home": {"/home/alice/clear", "gocryptfs -q -init -extpass 'echo x' %[1]s && gocryptfs -q -extpass 'echo x' %[1]s %[2]s"},
		"encfs, in /tmp":     {"/tmp/clear", "encfs --standard --extpass='echo x' %[1]s %[2]s > /dev/null"},
		"encfs, at home":     {"/home/alice/clear", "encfs --standard --extpass='echo x' %[1]s %[2]s > /dev/null"},
	} {
		t.Run(name, func(t *testing.T) {
			beginSystem(t)
			t.Cleanup(func() { _ = os.RemoveAll("/home/alice/raw"); _ = os.RemoveAll("/home/alice/clear") })
			ready, done := resultFIFO(t, "alice"), "/opt/done.fifo"
			mustRun(t, "mkfifo", "-m", "666", done)
			t.Cleanup(func() { _ = os.Remove(done) })
			ended := make(chan string)
			go func() {
				ended <- asUser(t, "alice", "mkdir -p ~/raw "+fs.clear+"; "+fmt.Sprintf(fs.mount, "/home/alice/raw", fs.clear)+
					" && echo secret > "+fs.clear+"/file; cat "+fs.clear+"/file > "+ready+"; cat "+done+
					"; fusermount -u "+fs.clear+" || fusermount3 -u "+fs.clear)
			}()
			want(t, read(t, ready), "secret")
			host := strings.Contains(hostMounts(t), " "+fs.clear+" ")
			mine := asUser(t, "alice", "grep -c ' "+fs.clear+" ' /proc/self/mounts; cat "+fs.clear+"/file 2>&1")
			his := asUser(t, "bob", "cat "+fs.clear+"/file 2>&1")
			if err := os.WriteFile(done, []byte("\n"), 0); err != nil {
				t.Fatal(err)
			}
			<-ended
			shared := rootIsShared(t) && tmpIsMountPoint(t) && fs.clear != "/tmp/clear"
			joined := rootIsShared(t) // where it is not, each session has its own namespace
			if host != shared {
				t.Errorf("the mount is seen on the host: %v, want %v", host, shared)
			}
			if second := strings.Contains(mine, "secret"); second != joined {
				t.Errorf("the mount is seen in alice's second session: %v, want %v: %q", second, joined, mine)
			}
			if strings.Contains(his, "secret") {
				t.Errorf("bob reads it: %q", his)
			}
		})
	}
}

func rootIsShared(t *testing.T) bool {
	t.Helper()
	return strings.Contains(runIn(t, "/", "findmnt", "-no", "PROPAGATION", "/"), "shared")
}

func tmpIsMountPoint(t *testing.T) bool {
	t.Helper()
	return strings.Contains(read(t, "/proc/1/mounts"), " /tmp ")
}

// An X server's socket is under /tmp. It is shared, so clients find it from a
// private session; what else lies in /tmp is not.
func TestSystemXClientsFindTheirServer(t *testing.T) {
	for server, clients := range map[string][]string{"host": {"alice", "bob"}, "alice": {"alice", "bob"}} {
		t.Run("server of "+server, func(t *testing.T) {
			beginSystem(t)
			mustRun(t, "systemd-tmpfiles", "--create", "--boot", "--prefix=/tmp/.X11-unix") // others may have removed it
			// -nolisten local: no abstract socket, which would need no /tmp. -noreset: it does not
			// start again, and answer nobody for that time, when a client leaves.
			start := "Xvfb :7 -ac -noreset -nolisten tcp -nolisten local -displayfd 1 2>/dev/null"
			cmd := exec.Command("sh", "-c", "exec "+start)
			if server != "host" {
				cmd = exec.Command("su", server, "-c", "exec "+start)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = runIn(t, "/", "pkill", "-x", "Xvfb"); _ = cmd.Wait() }()
			number := make([]byte, 8)
			if n, err := out.Read(number); err != nil || strings.TrimSpace(string(number[:n])) != "7" {
				t.Fatalf("Xvfb does not start: %q, %v", number, err)
			}
			for _, client := range clients {
				want(t, asUser(t, client, "DISPLAY=:7 xdpyinfo 2>&1 | head -n 1; "+looks), "name of display:    :7")
			}
			want(t, runIn(t, "/", "sh", "-c", "DISPLAY=:7 xdpyinfo"), "name of display:    :7")
		})
	}
}

// CASES 34: beside the other modules of a login, before and after them.
func TestSystemBesideOtherModules(t *testing.T) {
	const ours = "session required pam_gotmpns.so\n"
	others := map[string]string{
		"pam_tmpdir":    "session optional pam_tmpdir.so\n",
		"pam_mkhomedir": "session required pam_mkhomedir.so\n",
		"pam_limits":    "session required pam_limits.so\n",
		"pam_systemd":   "session optional pam_systemd.so\n",
		"pam_namespace": "session required pam_namespace.so\n",
	}
	for name, line := range others {
		for order, stack := range map[string]string{"before": line + ours, "after": ours + line} {
			t.Run(name+" "+order, func(t *testing.T) {
				beginSystem(t)
				write(t, "/etc/security/limits.d/gotmpns-test.conf", "alice hard nproc 500\nalice soft nofile 100\nalice hard as 4194304\n")
				replace(t, "/etc/security/namespace.conf", func(string) string { return "/var/tmp /var/tmp/private-inst/ user root\n" })
				mustRun(t, "mkdir", "-p", "-m", "000", "/var/tmp/private-inst")
				t.Cleanup(func() { mustRun(t, "rm", "-rf", "/var/tmp/private-inst", "/tmp/user") })
				write(t, "/etc/pam.d/gotmpns-other", "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_unix.so\n"+stack)
				replace(t, "/etc/pam.d/su", func(string) string { return read(t, "/etc/pam.d/gotmpns-other") })
				got := runSu(t, "alice", "echo hers > /tmp/note; "+looks+"; mktemp >/dev/null && echo made; ls /var/tmp")
				want(t, got, "hers\n"+seesNone+"\nmade")
				want(t, runSu(t, "alice", looks), "hers\n"+seesNone)
				want(t, runSu(t, "bob", looks), "No such file or directory\n"+seesNone)
				mustNotExist(t, "/tmp/note")
				if name == "pam_namespace" && strings.Contains(got, "private-inst") {
					t.Errorf("pam_namespace's own /var/tmp is not private: %q", got)
				}
			})
		}
	}
}

// Whatever has been going on, no unit has failed and no login was refused.
func TestSystemNothingHasFailed(t *testing.T) {
	if !booted {
		t.Skip("needs a whole system: run make test-system")
	}
	if failed := failedUnits(t); failed != "" {
		t.Errorf("units have failed:\n%s", failed)
	}
	journal := func(priority string) string {
		return runIn(t, "/", "journalctl", "-b", "--no-pager", "-o", "short-unix", "-p", priority, "-g", "pam_gotmpns[(]")
	}
	want(t, journal("info"), "private /tmp") // it is the right journal
	for line := range strings.Lines(journal("warning")) {
		expected := strings.Contains(line, "(gotmpns-test:") || // a stack that some tests have broken on purpose
			strings.Contains(line, "did not answer within") // TestBrokerThatHangsIsGivenUp has stopped it
		if strings.Contains(line, "pam_gotmpns(") && !expected && !isOnPurpose(t, line) {
			t.Errorf("a login was refused: %s", line)
		}
	}
}

// onPurpose are the times at which stories have caused refusals.
var onPurpose []struct{ begin, end float64 }

// refusesOnPurpose says that logins are refused from now on until the end of the test.
func refusesOnPurpose(t *testing.T) {
	t.Helper()
	now := func() float64 { return float64(time.Now().UnixMicro()) / 1e6 }
	begin := now()
	t.Cleanup(func() { onPurpose = append(onPurpose, struct{ begin, end float64 }{begin, now()}) })
}

// isOnPurpose takes a line of the journal with its time in front.
func isOnPurpose(t *testing.T, line string) bool {
	t.Helper()
	var at float64
	if _, err := fmt.Sscan(line, &at); err != nil {
		t.Fatalf("a line without a time: %q: %v", line, err)
	}
	for _, interval := range onPurpose {
		if interval.begin <= at && at <= interval.end {
			return true
		}
	}
	return false
}

func failedUnits(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(runIn(t, "/", "systemctl", "--failed", "--no-legend", "--plain"))
}
