package login

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"gotmpns/test/journal"
)

// CASES 17: the login program or its worker is killed at a system call, at each
// of those by which something is made. The next login works, finds one instance
// and leaves no record of the dead.
func TestKilledAtEveryStep(t *testing.T) {
	if withBroker {
		t.Skip("it is the worker's steps that are counted here")
	}
	calls := []string{
		"unshare", "setns", "openat2", "flock", "mkdirat", "fchown", "fchmod", "symlinkat", "renameat2", "renameat",
		"write", "open_tree", "mount_setattr", "fsopen", "fsmount", "sendmsg", "recvmsg", "move_mount", "execve", "clone",
	}
	for _, kind := range []string{"directory", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			beginAlone(t)
			configure(t, "[[private]]\ntarget = \"/tmp\"\nkind = \""+kind+"\"\n")
			j := journal.Start(t)
			write(t, "/etc/pam.d/gotmpns-test", "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_gotmpns.so\n")
			killed := 0
			for _, call := range calls {
				for nth := 1; nth <= 3; nth++ {
					forgetInstances(t)
					runIn(t, "/", "strace", "-f", "-o", "/opt/trace", "-e", "trace="+call,
						"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, nth),
						"pamtester", "gotmpns-test", "alice", "open_session", "close_session")
					if strings.Contains(read(t, "/opt/trace"), "killed by SIGKILL") {
						killed++
					}
					got := runSu(t, "alice", "echo fine > /tmp/note; cat /tmp/note; ls -A /tmp")
					if got != "fine\nnote\n" {
						t.Errorf("after a kill at %s, number %d: %q, the log has %q", call, nth, got, j.Lines())
					}
					if kind == "directory" {
						if got := instances(t); got != "1000 1000.user" {
							t.Errorf("after a kill at %s, number %d, there are %q", call, nth, got)
						}
					}
				}
			}
			_ = os.Remove("/opt/trace")
			if killed < len(calls) {
				t.Errorf("only %d processes were killed: this shows little", killed)
			}
		})
	}
}

// instances are what the bases have in them. A base that was made and not
// recorded is empty, root's, and goes at boot.
func instances(t *testing.T) string {
	t.Helper()
	bases, err := filepath.Glob("/tmp/gotmpns-*")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, base := range bases {
		all = append(all, strings.Fields(without(listing(t, base), ".new-"))...)
	}
	return strings.Join(all, " ")
}

// The cleaner of temporary files empties instances as it does /tmp, and leaves
// the directories that sessions have mounted; at boot, all of it goes.
func TestTheCleanerOfTemporaryFiles(t *testing.T) {
	if _, err := exec.LookPath("systemd-tmpfiles"); err != nil {
		t.Skip("systemd-tmpfiles is not installed")
	}
	if withBroker && !booted {
		beginBrokerAnew(t)
	} else {
		beginAlone(t)
	}
	runSu(t, "alice", "echo old > /tmp/old; echo young > /tmp/young; touch -d '30 days ago' /tmp/old")
	write(t, "/opt/tmpfiles/tmp.conf", "d /tmp 1777 root root m:10d\n")
	t.Cleanup(func() { _ = os.RemoveAll("/opt/tmpfiles") })
	for _, path := range []string{"/tmp/gotmpns-*", "/tmp/gotmpns-*/1000"} {
		mustRun(t, "touch", "-d", "30 days ago", one(t, path))
	}
	// By the time of modification alone: that of the last change cannot be set.
	installed := read(t, "/usr/local/lib/tmpfiles.d/gotmpns.conf")
	write(t, "/opt/tmpfiles/gotmpns.conf", regexp.MustCompile(`(?m)^X .*`).ReplaceAllString(installed, "$0 - - - m:10d"))
	files := []string{"/opt/tmpfiles/gotmpns.conf", "/opt/tmpfiles/tmp.conf"}
	mustRun(t, "systemd-tmpfiles", append([]string{"--clean"}, files...)...)
	want(t, runSu(t, "alice", "cat /tmp/old 2>&1; cat /tmp/young"), "No such file or directory\nyoung")
	mustRun(t, "systemd-tmpfiles", append([]string{"--remove", "--boot"}, files...)...)
	if left := listing(t, "/tmp"); strings.Contains(left, "gotmpns") {
		t.Errorf("after boot there is %q", left)
	}
	if withBroker {
		stopBroker(t, syscall.SIGTERM)
	}
	_ = os.RemoveAll("/run/gotmpns")
	if withBroker {
		restartBroker(t)
	}
	want(t, runSu(t, "alice", "ls -A /tmp | wc -l"), "0\n")
}

// Where libpam-tmpdir points TMPDIR into a directory that is not to be found in
// the private /tmp, programs would fail.
func TestBesideLibpamTmpdir(t *testing.T) {
	// The directory is named after the architecture.
	if found, err := filepath.Glob("/lib/*/security/pam_tmpdir.so"); err != nil || len(found) == 0 {
		t.Skip("libpam-tmpdir is not installed")
	}
	for _, order := range []string{"session optional pam_tmpdir.so\nsession required pam_gotmpns.so\n", "session required pam_gotmpns.so\nsession optional pam_tmpdir.so\n"} {
		t.Run(strings.Fields(order)[2], func(t *testing.T) {
			beginAlone(t)
			replace(t, "/etc/pam.d/common-session", func(before string) string {
				return strings.ReplaceAll(before, "session required pam_gotmpns.so\n", order)
			})
			got := runSuLogin(t, "alice", "mktemp > /dev/null && echo made; echo TMPDIR=$TMPDIR")
			want(t, got, "made")
			t.Log(got)
			_ = os.RemoveAll("/tmp/user")
		})
	}
}
