// Package login has the tests with real login programs: Debian's own sshd, su,
// login, sudo, cron, at and pamtester, with the module in their stacks.
//
// Each program is a way to run a script as a user. The story is the same for
// all of them, and is run twice where it matters: what has to be so (one's own
// /tmp, shared by one's sessions) and what must not be (the host's files seen,
// another user's reached, anything left behind).
//
// With GOTMPNS_BROKER=yes the broker runs beside all of them, and has to have
// answered; without, a worker answers each login.
//
// The stories run in test/root/enter, where a test starts each program by itself,
// and in test/host/boot, where a whole system runs them. Those that begin with
// TestSystem need the whole system.
package login

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotmpns/test/leftover"
)

// way is how a login program runs a script as a user.
type way struct {
	name string
	// run returns what the script printed; /bin/sh runs it.
	run func(t *testing.T, user, script string) string
}

var ways = []way{
	{"pamtester", runPamtester},
	{"su", runSu},
	{"su -", runSuLogin},
	{"su inside su", runSuInsideSu},
	{"login on a pty", runLogin},
	{"ssh command", runSSH},
	{"ssh shell", runSSHShell},
	{"sudo", runSudo},
	{"sudo -i", runSudoLogin},
	{"cron", runCron},
	{"at", runAt},
}

func TestMain(m *testing.M) {
	if !leftover.Disposable() {
		os.Exit(m.Run()) // every test says what it needs
	}
	if err := install(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot install the module into the disposable root:", err)
		os.Exit(1)
	}
	if withBroker {
		if err := startBroker(); err != nil {
			fmt.Fprintln(os.Stderr, "cannot start the broker:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// begin makes sure of the disposable root, and of nothing left behind in it.
func begin(t *testing.T) {
	t.Helper()
	leftover.Require(t)
	write(t, "/tmp/host-file", "the host's\n")
	if booted {
		beginBooted(t)
		return
	}
	brokerListens(t)
	snapshot(t)
	// Registered last, so run first: the instances of one test are not another's.
	t.Cleanup(func() { forgetInstances(t) })
}

func snapshot(t *testing.T) {
	t.Helper()
	leftover.Snapshot(t, leftover.Ignore("/tmp/gotmpns-*", "/run/gotmpns", "/run/sshd*", "/run/crond*", "/run/sudo*", "/run/motd.dynamic", "/run/mount"))
}

// beginAlone is for tests that read the log line by line or break things on which
// a whole system stands: nobody but the test logs in.
func beginAlone(t *testing.T) {
	t.Helper()
	if booted {
		t.Skip("in test/root/enter only: in a whole system others log in as well")
	}
	begin(t)
}

// forgetInstances makes the next login the first again.
func forgetInstances(t *testing.T) {
	t.Helper()
	forgetBases(t, "/tmp")
	for _, name := range []string{"bases", "sessions", "tmpfs", "processes"} { // not the broker's socket
		if err := os.RemoveAll("/run/gotmpns/" + name); err != nil {
			t.Error(err)
		}
	}
}

func TestEachSeesATmpOfItsOwn(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			begin(t)
			before := listing(t, "/tmp")
			got := w.run(t, "alice", `echo secret of $(id -un) > /tmp/note; cat /tmp/note; ls -A -I.X11-unix -I.ICE-unix /tmp | sort | tr '\n' ' '`)
			want(t, got, "secret of alice\nnote")
			mustNotExist(t, "/tmp/note")
			if after := listing(t, "/tmp"); without(after, "gotmpns-") != without(before, "gotmpns-") {
				t.Errorf("the host's /tmp was %q and is %q", before, after)
			}
		})
	}
}

func TestTwoSessionsOfAUserShareIt(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			begin(t)
			runSu(t, "alice", "echo by the first > /tmp/note")
			want(t, w.run(t, "alice", "cat /tmp/note"), "by the first")
		})
	}
}

func TestAnotherUserDoesNot(t *testing.T) {
	for _, w := range ways {
		if w.name == "sudo" || w.name == "sudo -i" || w.name == "su inside su" {
			continue // these begin in alice's session: see the tests of nesting
		}
		t.Run(w.name, func(t *testing.T) {
			begin(t)
			w.run(t, "alice", "echo hers > /tmp/note")
			got := w.run(t, "bob", "cat /tmp/note 2>&1; ls -A -I.X11-unix -I.ICE-unix /tmp | wc -l; ls /tmp/.. >/dev/null && echo done")
			want(t, got, "No such file or directory")
			want(t, got, "\n0\ndone")
		})
	}
}

func TestRootStaysOnTheHost(t *testing.T) {
	begin(t)
	want(t, runSSH(t, "root", "cat /tmp/host-file"), "the host's")
}

func TestSftpPutsFilesIntoThePrivateTmp(t *testing.T) {
	begin(t)
	startSSHD(t)
	source := filepath.Join(t.TempDir(), "upload")
	write(t, source, "by sftp\n")
	cmd := exec.Command("sftp", append(sshOptions, "-b", "-", "alice@127.0.0.1")...)
	cmd.Stdin = strings.NewReader("put " + source + " /tmp/upload\nls -1 /tmp\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("sftp: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "host-file") {
		t.Errorf("sftp shows the host's /tmp:\n%s", out)
	}
	mustNotExist(t, "/tmp/upload")
	want(t, runSu(t, "alice", "cat /tmp/upload"), "by sftp")
}

func TestInsideASessionNobodyGetsTheHostsTmpBack(t *testing.T) {
	begin(t)
	for _, attempt := range []string{
		"umount /tmp",
		"umount -l /tmp",
		"unshare -Urm umount /tmp",
		"unshare -Urm umount -l /tmp",
		"unshare -Urm mount --bind / /mnt && cat /mnt/tmp/host-file",
		"cat /proc/1/root/tmp/host-file",
		"cat /tmp/../tmp/host-file",
	} {
		got := runSu(t, "alice", attempt+" 2>&1 && echo BROKEN OUT; cat /tmp/host-file 2>&1")
		if strings.Contains(got, "BROKEN OUT") || strings.Contains(got, "the host's") {
			t.Errorf("%q worked: %q", attempt, got)
		}
	}
}

func TestAnotherUsersInstanceIsOutOfReach(t *testing.T) {
	begin(t)
	runSu(t, "alice", "echo hers > /tmp/note")
	base := one(t, "/tmp/gotmpns-*")
	asBob := exec.Command("setpriv", "--reuid=bob", "--regid=bob", "--clear-groups", "/bin/sh", "-c",
		fmt.Sprintf("cat %s/*/note; ls %s; cd %s", base, base, base))
	out, err := asBob.CombinedOutput()
	if err == nil || strings.Contains(string(out), "hers") {
		t.Errorf("bob reaches alice's instance by its path: %s", out)
	}
	// By a process of hers: /proc/PID/root wants the right to trace it.
	hold := startSession(t, "alice")
	out, err = exec.Command("setpriv", "--reuid=bob", "--regid=bob", "--clear-groups",
		"cat", fmt.Sprintf("/proc/%d/root/tmp/note", hold.pid)).CombinedOutput()
	if err == nil {
		t.Errorf("bob reaches alice's instance through /proc: %s", out)
	}
}
