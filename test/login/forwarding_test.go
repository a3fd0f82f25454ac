package login

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestAgentForwardingWorksAndItsSocketIsPrivate(t *testing.T) {
	begin(t)
	startSSHD(t)
	// An agent outside of /tmp, so that what is there is the forwarded one's.
	stop := startProcess(t, "ssh-agent", "-D", "-a", "/opt/agent")
	defer stop()
	defer os.Remove("/opt/agent")
	for {
		if _, err := os.Stat("/opt/agent"); err == nil {
			break
		}
	}
	got := runIn(t, "/", "sh", append([]string{"-c", `export SSH_AUTH_SOCK=/opt/agent; ssh-add -q /root/.ssh/id_test; exec ssh "$@"`, "sh"},
		append(sshOptions, "-n", "-A", "alice@127.0.0.1", "ssh-add -l; ls -d $SSH_AUTH_SOCK; ls -d /tmp/ssh-*")...)...)
	want(t, got, "ED25519")
	want(t, got, "/tmp/ssh-")
	if left := listing(t, "/tmp"); strings.Contains(left, "ssh-") {
		t.Errorf("the host's /tmp has %q", left)
	}
}

func TestX11ForwardingSetsADisplay(t *testing.T) {
	if _, err := exec.LookPath("xauth"); err != nil {
		t.Skip("xauth is not installed")
	}
	begin(t)
	startSSHD(t)
	t.Cleanup(func() { _ = os.Remove("/home/alice/.Xauthority") })
	cmd := exec.Command("ssh", append(sshOptions, "-n", "-Y", "alice@127.0.0.1", "echo DISPLAY=$DISPLAY; xauth list")...)
	cmd.Env = append(os.Environ(), "DISPLAY=:0")
	got := output(t, cmd)
	want(t, got, "DISPLAY=localhost:10.0")
	want(t, got, "MIT-MAGIC-COOKIE-1")
}

// runuser has a stack of its own, which does not include common-session: with the
// line in it, it is like all the others.
func TestRunuserWithTheLineInItsStack(t *testing.T) {
	begin(t)
	want(t, runIn(t, "/", "runuser", "-u", "alice", "--", "cat", "/tmp/host-file"), "the host's")
	replace(t, "/etc/pam.d/runuser", func(before string) string { return before + "session required pam_gotmpns.so\n" })
	got := runIn(t, "/", "runuser", "-u", "alice", "--", "sh", "-c", "ls -A -I.X11-unix -I.ICE-unix /tmp | wc -l; cat /tmp/host-file 2>&1")
	want(t, got, "0\n")
	want(t, got, "No such file")
}
