package login

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const cleanedUp = "[[private]]\ntarget = \"/tmp\"\ncleanup = \"logout\"\n"

// CASES 14, 16 and 21: emptied with the last session and its processes, not before.
func TestCleanupAtLogout(t *testing.T) {
	beginBroker(t)
	configure(t, cleanedUp)
	fill := `umask 077; mkdir -p /tmp/a/b; echo x > /tmp/a/b/c; ln -s / /tmp/root; ln -s /etc /tmp/a/etc; mkfifo /tmp/fifo; echo y > "$(printf '/tmp/\377')"; chmod 000 /tmp/a`
	first := startSession(t, "alice")
	runSu(t, "alice", fill)
	time.Sleep(500 * time.Millisecond) // long enough for a mistake to show
	want(t, runSu(t, "alice", "ls /tmp; test -p /tmp/fifo && echo there"), "there")
	// A process that stays, in no session of PAM's any more.
	ready := resultFIFO(t, "alice")
	go runSu(t, "alice", "setsid sh -c 'echo $$ > "+ready+"; exec sleep 1000' < /dev/null > /dev/null 2>&1 &")
	pid := strings.TrimSpace(read(t, ready))
	first.end(t)
	if booted {
		mustRun(t, "systemctl", "stop", "user@1000.service")
	}
	time.Sleep(500 * time.Millisecond)
	base := one(t, "/tmp/gotmpns-*")
	if got := listing(t, base+"/1000"); !strings.Contains(got, "fifo") {
		t.Fatalf("a process of alice's lives, and her /tmp has %q", got)
	}
	mustRun(t, "kill", pid)
	runSu(t, "root", "true")
	if booted {
		runSu(t, "carol", "true")
	}
	clean(t)
	settle(t, func() error {
		if got := listing(t, base); strings.Contains(got, "1000") || strings.Contains(got, ".gone") {
			return fmt.Errorf("the base has %q", got)
		}
		return nil
	})
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Error("what a link led to is gone")
	}
	want(t, runSu(t, "alice", "ls /tmp | wc -l"), "0\n")
}

// clean asks for what is due, as an administrator who does not want to wait.
func clean(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("/usr/local/bin/gotmpns", "clean").CombinedOutput(); err != nil {
		t.Errorf("gotmpns clean: %v: %s", err, out)
	}
}

// The broker empties by itself when the last session ends, and prints nothing due
// afterwards.
func TestCleanupByTheBrokerItself(t *testing.T) {
	beginBroker(t)
	configure(t, cleanedUp)
	runSu(t, "alice", "touch /tmp/note")
	if booted {
		endSessions(t)
	}
	base := one(t, "/tmp/gotmpns-*")
	settle(t, func() error {
		if got := listing(t, base); got != "" {
			return fmt.Errorf("the base has %q", got)
		}
		return nil
	})
	out, err := exec.Command("/usr/local/bin/gotmpns", "clean", "--dry-run").CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("still due: %s %v", out, err)
	}
}

// Without the broker: a worker as it passes, and the command on demand.
func TestCleanupWithoutTheBroker(t *testing.T) {
	if withBroker {
		t.Skip("this is about being without")
	}
	beginAlone(t)
	configure(t, cleanedUp)
	runSu(t, "alice", "touch /tmp/note")
	base := one(t, "/tmp/gotmpns-*")
	out, err := exec.Command("/usr/local/bin/gotmpns", "clean", "--dry-run").CombinedOutput()
	if err != nil || string(out) != base+"/1000\n" {
		t.Errorf("due are %q, %v", out, err)
	}
	if got := listing(t, base+"/1000"); got != "note" {
		t.Errorf("a dry run left %q", got)
	}
	clean(t)
	if got := listing(t, base); got != "" {
		t.Errorf("the base has %q", got)
	}
	runSu(t, "bob", "touch /tmp/note")
	// A login makes and never removes.
	for range 50 {
		runSu(t, "carol", "true")
	}
	if got := listing(t, base+"/1001"); got != "note" {
		t.Errorf("logins of others have left bob's directory with %q", got)
	}
	clean(t)
	if got := listing(t, base); strings.Contains(got, "1001") {
		t.Errorf("the base has %q", got)
	}
}
