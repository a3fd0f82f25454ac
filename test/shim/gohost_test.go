//go:build cgo

package shim

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/msteinert/pam/v2"

	"gotmpns/test/journal"
	"gotmpns/test/leftover"
)

// CASES 29: a host with a Go runtime of its own. It is a process of its own: a
// namespace belongs to a thread, and this one is given up afterwards.
func TestAGoHost(t *testing.T) {
	leftover.Require(t)
	if conf := os.Getenv("GOHOST_CONF"); conf != "" {
		goHost(t, conf)
		return
	}
	b := &bench{t: t, host: "", journal: journal.Start(t)}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	b.build = wd + "/../../build"
	b.conf = t.TempDir()
	b.service("worker=" + b.build + "/gotmpns-worker")
	leftover.Snapshot(t, leftover.Ignore("/tmp/*", "/run/gotmpns"))
	cmd := exec.Command(os.Args[0], "-test.run=^TestAGoHost$", "-test.v")
	cmd.Env = append(os.Environ(), "GOHOST_CONF="+b.conf)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	b.journal.Says(t, "alice", "private /tmp")
}

func goHost(t *testing.T, conf string) {
	runtime.LockOSThread()
	silent := pam.ConversationFunc(func(pam.Style, string) (string, error) { return "", nil })
	tx, err := pam.StartConfDir("test", "alice", silent, conf)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := os.Readlink("/proc/thread-self/ns/mnt")
	if err := tx.OpenSession(0); err != nil {
		t.Fatal(err)
	}
	after, _ := os.Readlink("/proc/thread-self/ns/mnt")
	if before == after {
		t.Error("the session is in the old namespace")
	}
	if err := tx.CloseSession(0); err != nil {
		t.Error(err)
	}
	if err := tx.End(); err != nil {
		t.Error(err)
	}
}
