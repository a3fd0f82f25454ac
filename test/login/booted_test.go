package login

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// booted says that systemd is pid 1 here (sd_booted(3)): see test/host/boot.
var booted = func() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}()

// beginBooted does for a whole system what leftover.Snapshot does for the
// disposable root: no session is open before the test, none after it, and the
// host's mounts are the same.
func beginBooted(t *testing.T) {
	t.Helper()
	before := hostMounts(t)
	t.Cleanup(func() {
		if after := hostMounts(t); after != before {
			t.Errorf("the host's mounts were\n%s\nand are\n%s", before, after)
		}
	})
	t.Cleanup(func() { forgetInstances(t) })
	t.Cleanup(func() { endSessions(t) })
}

// endSessions logs everybody out, user managers too, and waits for it.
func endSessions(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("systemctl", "stop", "user-*.slice").CombinedOutput(); err != nil {
		t.Errorf("cannot end the sessions: %v: %s", err, out)
	}
}

var mountIDs = regexp.MustCompile(`^\d+ \d+ `)

// hostMounts is what pid 1 sees, without the numbers that differ each time, and
// without what services and logind mount for themselves.
func hostMounts(t *testing.T) string {
	t.Helper()
	var kept []string
	for line := range strings.Lines(read(t, "/proc/1/mountinfo")) {
		point := strings.Fields(line)[4]
		if strings.HasPrefix(point, "/run/credentials/") || strings.HasPrefix(point, "/run/user/") {
			continue
		}
		kept = append(kept, mountIDs.ReplaceAllString(line, ""))
	}
	return strings.Join(kept, "")
}

// withoutManagers has no user manager started: a logout is complete at once then, and
// not ten seconds later.
func withoutManagers(t *testing.T) {
	t.Helper()
	if !booted {
		return
	}
	replace(t, "/etc/pam.d/common-session", func(before string) string {
		var kept []string
		for line := range strings.Lines(before) {
			if !strings.Contains(line, "pam_systemd.so") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	})
}
