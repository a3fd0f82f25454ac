package login

import (
	"os"
	"strings"
	"testing"
)

func TestSuToAnotherUserTakesHerTmpAway(t *testing.T) {
	begin(t)
	got := runSu(t, "alice", `echo hers > /tmp/note; sudo -u bob sh -c 'ls -A -I.X11-unix -I.ICE-unix /tmp | wc -l; grep -c " /tmp " /proc/self/mounts'; cat /tmp/note`)
	want(t, got, "0\n")
	want(t, got, "hers")
	// Mounts do not stack: on a directory one, on a tmpfs of its own one more.
	inBob := lineAfter(got, "0")
	alone := strings.TrimSpace(runSu(t, "bob", `grep -c " /tmp " /proc/self/mounts`))
	if inBob != alone {
		t.Errorf("bob has %s mounts on /tmp inside alice's session, and %s in his own", inBob, alone)
	}
}

func TestSuToTheSameUserKeepsTheSession(t *testing.T) {
	begin(t)
	got := runSu(t, "alice", `readlink /proc/self/ns/mnt; sudo -u alice readlink /proc/self/ns/mnt`)
	lines := strings.Fields(got)
	if len(lines) != 2 || lines[0] != lines[1] {
		t.Errorf("a session inside the session: %q", got)
	}
}

func TestSudoToRootStaysInTheCallersTmp(t *testing.T) {
	begin(t)
	got := runSu(t, "alice", `echo hers > /tmp/note; sudo cat /tmp/note; sudo ls /tmp`)
	want(t, got, "hers\nnote")
}

func TestAWorkingDirectoryBelowTmpDoesNotLeadBackToTheHost(t *testing.T) {
	begin(t)
	t.Cleanup(func() { _ = os.RemoveAll("/tmp/dir") })
	write(t, "/tmp/dir/inner", "the host's\n")
	got := runIn(t, "/tmp/dir", "su", "alice", "-c", "pwd -P; cat ./inner ../host-file ./host-file 2>&1; ls -A . ..")
	if strings.Contains(got, "the host's") || !strings.HasPrefix(got, "/tmp\n") {
		t.Errorf("from /tmp/dir, alice sees: %q", got)
	}
}

func TestAnotherWorkingDirectoryStays(t *testing.T) {
	begin(t)
	want(t, runIn(t, "/usr/share", "su", "alice", "-c", "pwd -P"), "/usr/share")
}
