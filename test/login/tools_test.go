package login

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// finding is one of "gotmpns check --json".
type finding struct{ ID, Level, Subject, Text, Advice, File string }

func findings(t *testing.T) []finding {
	t.Helper()
	out, err := exec.Command("/usr/local/bin/gotmpns", "check", "--json").Output()
	if exit := (*exec.ExitError)(nil); err != nil && !asExit(err, &exit) {
		t.Fatal(err)
	}
	var report struct{ Findings []finding }
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return report.Findings
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*exit = e
	return ok && e.ExitCode() == 3
}

// found returns the finding of an id that contains a text, and whether there is one.
func found(t *testing.T, id, text string) (finding, bool) {
	t.Helper()
	all := findings(t)
	at := slices.IndexFunc(all, func(f finding) bool { return f.ID == id && strings.Contains(f.Text, text) })
	if at < 0 {
		return finding{}, false
	}
	return all[at], true
}

func mustFind(t *testing.T, id, text string) finding {
	t.Helper()
	f, ok := found(t, id, text)
	if !ok {
		t.Errorf("check does not say %q: %+v", id, findings(t))
	}
	return f
}

func mustNotFind(t *testing.T, id, text string) {
	t.Helper()
	if f, ok := found(t, id, text); ok {
		t.Errorf("check says %+v", f)
	}
}

// advised is for a finding whose advice is to be followed: all of it matches the pattern. The
// function that it returns is called afterwards, when the finding must have gone.
func advised(t *testing.T, id, pattern string) (gone func()) {
	t.Helper()
	advice := regexp.MustCompile("^(?:" + pattern + ")$")
	at := func() int {
		return slices.IndexFunc(findings(t), func(f finding) bool { return f.ID == id && f.Level != "ok" && advice.MatchString(f.Advice) })
	}
	if at() < 0 {
		t.Fatalf("check does not advise %q for %s: %+v", pattern, id, findings(t))
	}
	return func() {
		t.Helper()
		settle(t, func() error {
			if at() >= 0 {
				return fmt.Errorf("the advice %q was followed, and %s is still there", pattern, id)
			}
			return nil
		})
	}
}

// A user manager that lingers from before the module was enabled, or a tmux, starts
// programs that see the host's /tmp: check names them, and its advice ends them.
func TestSystemCheckSeesAManagerFromBefore(t *testing.T) {
	beginSystem(t)
	mustNotFind(t, "session-outside", "")
	const off = "s/^session.*pam_gotmpns/#&/"
	stacks := []string{"/etc/pam.d/common-session", "/etc/pam.d/common-session-noninteractive"}
	mustRun(t, "sed", append([]string{"-i", off}, stacks...)...)
	on := func() { mustRun(t, "sed", append([]string{"-i", "s/^#\\(session.*pam_gotmpns\\)/\\1/"}, stacks...)...) }
	t.Cleanup(on)
	mustRun(t, "loginctl", "enable-linger", "bob")
	t.Cleanup(func() { mustRun(t, "loginctl", "disable-linger", "bob") })
	mustRun(t, "systemctl", "start", "user@1001.service")
	asUser(t, "bob", "tmux -f /dev/null new -d cat")
	on()
	f := mustFind(t, "session-outside", "processes of bob see the host's directories")
	if !strings.Contains(f.Text, "systemd (pid ") || !strings.Contains(f.Text, "tmux: server (pid ") {
		t.Errorf("%+v", f)
	}
	gone := advised(t, "session-outside", "end them, for example by \"loginctl terminate-user \\w+\" or, .*")
	mustRun(t, "loginctl", "terminate-user", "bob")
	if _, ok := found(t, "session-outside", "bob"); ok { // a tmux, in Debian 12
		_ = exec.Command("pkill", "-u", "bob").Run() // which may have ended since
	}
	gone()
}

// PAM opens a session of its own for try, and finds all files that it asks for.
func TestSystemTryLeavesNoErrorInTheJournal(t *testing.T) {
	beginSystem(t)
	errorsOf := func() string {
		return runIn(t, "/", "journalctl", "-b", "--no-pager", "-o", "cat", "-p", "err", "_COMM=gotmpns-full")
	}
	before := errorsOf()
	mustRun(t, "gotmpns", "try", "alice", "--", "true")
	mustRun(t, "journalctl", "--sync")
	if after := errorsOf(); after != before {
		t.Errorf("the journal has new errors:\n%s", strings.TrimPrefix(after, before))
	}
}

// What is changed or removed under an open session is seen, by its user as well.
func TestSystemToolsSeeWhatChangesUnderASession(t *testing.T) {
	beginSystem(t)
	alice := startSession(t, "alice")
	defer alice.end(t)
	mustNotFind(t, "session-older", "alice")
	configure(t, "propagation = \"slave\"\n")
	mustFind(t, "session-older", "alice (su, pid ")
	second := startSession(t, "alice")
	defer second.end(t)
	status := runIn(t, "/", "gotmpns", "status", "alice")
	if !strings.Contains(status, "own namespace: ") {
		t.Errorf("status does not say why there are two namespaces:\n%s", status)
	}
	mustRun(t, "rm", "-r", one(t, "/tmp/gotmpns-*"))
	mustFind(t, "session-removed", "alice (su, pid ")
	if status := runIn(t, "/", "gotmpns", "status"); !strings.Contains(status, "/tmp  its directory has been removed on the host") {
		t.Errorf("status does not say that /tmp has been removed:\n%s", status)
	}
	out, err := exec.Command("gotmpns", "path", "alice").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "has been removed on the host") || strings.Contains(string(out), "deleted") {
		t.Errorf("path says %q, %v", out, err)
	}
}

// The broker: its socket, its end, and a version of its own.
func TestSystemCheckSeesTheBroker(t *testing.T) {
	beginSystem(t)
	if withBroker {
		t.Skip("this stops the broker")
	}
	gone := advised(t, "broker-off", "run \"systemctl enable --now gotmpns.socket\"")
	mustRun(t, "systemctl", "enable", "--now", "gotmpns.socket")
	t.Cleanup(func() {
		mustRun(t, "systemctl", "disable", "gotmpns.socket")
		mustRun(t, "systemctl", "stop", "gotmpns.socket", "gotmpns.service")
	})
	gone()
	mustFind(t, "broker", "next login starts it")
	asUser(t, "alice", "true")
	mustFind(t, "broker", "running")
	program := "/usr/local/libexec/gotmpns/gotmpns-full"
	mustRun(t, "cp", program, program+".new")
	mustRun(t, "mv", program+".new", program)
	mustRun(t, "cp", "/usr/local/bin/gotmpns", "/usr/local/bin/gotmpns.new")
	mustRun(t, "mv", "/usr/local/bin/gotmpns.new", "/usr/local/bin/gotmpns")
	gone = advised(t, "broker-old", "run \"systemctl restart gotmpns.service\"")
	before := logins(t)
	mustRun(t, "systemctl", "restart", "gotmpns.service")
	gone()
	mustFind(t, "broker", "running")
	if after := logins(t); after <= before || after == 0 {
		t.Errorf("the broker has counted %d logins, and before its end %d", after, before)
	}
	mustRun(t, "systemctl", "kill", "--signal=KILL", "gotmpns.service")
	settle(t, func() error {
		asUser(t, "alice", "true")
		if _, ok := found(t, "broker-restarts", "times: 1"); !ok {
			return fmt.Errorf("check does not see that the broker was restarted")
		}
		return nil
	})
	gone = advised(t, "broker-restarts", "\"journalctl -u gotmpns.service\" says why; \"systemctl restart gotmpns.service\" resets the count")
	if why := runIn(t, "/", "journalctl", "-u", "gotmpns.service"); !strings.Contains(why, "status=9/KILL") {
		t.Errorf("the journal does not say why the broker ended: %s", why)
	}
	mustRun(t, "systemctl", "restart", "gotmpns.service")
	gone()
}

// A broker that fails at each start stays down, socket and all, until what is wrong is
// found and removed.
func TestSystemABrokerThatFailed(t *testing.T) {
	beginSystem(t)
	if withBroker {
		t.Skip("this stops the broker")
	}
	const dropIn = "/run/systemd/system/gotmpns.service.d/fail.conf"
	write(t, dropIn, "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=0\n")
	mustRun(t, "systemctl", "daemon-reload")
	mustRun(t, "systemctl", "start", "gotmpns.socket")
	t.Cleanup(func() { mustRun(t, "systemctl", "stop", "gotmpns.socket", "gotmpns.service") })
	settle(t, func() error {
		asUser(t, "alice", "true")
		if _, ok := found(t, "broker-failed", "it has failed"); !ok {
			return fmt.Errorf("check does not see that the broker has failed")
		}
		return nil
	})
	gone := advised(t, "broker-failed", "\"journalctl -u gotmpns.service\" says why; then run \"systemctl reset-failed gotmpns.service gotmpns.socket\" and \"systemctl restart gotmpns.socket\"")
	if why := runIn(t, "/", "journalctl", "-u", "gotmpns.service"); !strings.Contains(why, "status=1/FAILURE") {
		t.Errorf("the journal does not say why the broker failed: %s", why)
	}
	mustRun(t, "rm", dropIn)
	mustRun(t, "systemctl", "daemon-reload")
	mustRun(t, "systemctl", "reset-failed", "gotmpns.service", "gotmpns.socket")
	mustRun(t, "systemctl", "restart", "gotmpns.socket")
	gone()
	asUser(t, "alice", "true")
	mustFind(t, "broker", "running")
}

// logins is what "gotmpns status --metrics" says of the broker.
func logins(t *testing.T) (n int) {
	t.Helper()
	for line := range strings.Lines(runIn(t, "/", "gotmpns", "status", "--metrics")) {
		if _, err := fmt.Sscanf(line, "gotmpns_logins_total %d", &n); err == nil {
			return n
		}
	}
	t.Error("status --metrics says nothing of logins")
	return 0
}

// A unit that opens a session and has a sandbox below /tmp fails to start, as check says;
// after its advice it starts.
func TestSystemAUnitWithASandboxBelowATarget(t *testing.T) {
	beginSystem(t)
	unit := func(settings string) {
		t.Helper()
		write(t, "/etc/systemd/system/job.service", "[Service]\nType=oneshot\nUser=alice\nPAMName=login\nExecStart=/bin/true\n"+settings)
		mustRun(t, "systemctl", "daemon-reload")
	}
	start := func() error { return exec.Command("systemctl", "start", "job.service").Run() }
	mustRun(t, "mkdir", "-p", "/tmp/shared")
	t.Cleanup(func() { mustRun(t, "rmdir", "/tmp/shared") })
	for bad, good := range map[string]string{
		"PrivateTmp=yes\n": "PrivateTmp=no\n", "BindPaths=/tmp/shared\n": "BindPaths=-/tmp/shared\n",
		"ReadWritePaths=/tmp/shared\n": "ReadWritePaths=-/tmp/shared /tmp\n",
	} {
		unit(bad)
		mustFind(t, "unit-sandbox", strings.TrimSpace(bad))
		if start() == nil {
			t.Errorf("a unit with %s starts, and check calls it a problem", bad)
		}
		unit(good)
		mustNotFind(t, "unit-sandbox", "")
		if err := start(); err != nil {
			t.Errorf("a unit with %s does not start: %v", good, err)
		}
		unit(bad)
		configure(t, "exempt = [\"uid<1000\", \"uid=65534\", \"service:login\"]\n")
		mustNotFind(t, "unit-sandbox", "")
		if err := start(); err != nil {
			t.Errorf("an exempt unit with %s does not start: %v", bad, err)
		}
		configure(t, "")
	}
}
