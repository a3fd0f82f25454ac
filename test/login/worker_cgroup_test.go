package login

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// CASES 46: a worker is not where its caller could stop it, or it would delay others.
// One that a system service has started stays there.
func TestSystemAWorkerLeavesItsCallersCgroup(t *testing.T) {
	beginSystem(t)
	const dir = "/opt/gotmpns-test"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, from := range map[string]string{"gotmpns-worker": "gotmpns-worker", "gotmpns-session.so": "shim/silent/gotmpns-session.so"} {
		text, err := os.ReadFile(filepath.Join("../../build", from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, "/etc/pam.d/gotmpns-test", "auth required pam_permit.so\naccount required pam_permit.so\n"+
		"session required pam_gotmpns.so socket=none timeout=60 worker="+dir+"/gotmpns-worker\n")
	for slice, want := range map[string]string{"user-1000.slice": "0::/\n", "system.slice": "0::/system.slice/"} {
		t.Run(slice, func(t *testing.T) {
			cmd := exec.Command("systemd-run", "--quiet", "--scope", "--slice="+slice, "pamtester", "gotmpns-test", "alice", "open_session")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var process string // its directory in /proc
			settle(t, func() error {
				maps, _ := filepath.Glob("/proc/[0-9]*/maps")
				for _, path := range maps {
					if text, _ := os.ReadFile(path); strings.Contains(string(text), dir+"/gotmpns-session.so") {
						process = filepath.Dir(path)
						return nil
					}
				}
				return fmt.Errorf("no worker has loaded the library")
			})
			if cgroup := read(t, process+"/cgroup"); !strings.Contains(cgroup, want) {
				t.Errorf("the worker is in %s", cgroup)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			settle(t, func() error {
				if _, err := os.Stat(process); err == nil {
					return fmt.Errorf("the worker outlives its caller")
				}
				return nil
			})
		})
	}
}
