package login

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"gotmpns/test/journal"
)

const plainLine = "This session cannot get a private /tmp. Ask your administrator; the system log has the reason."

// broken is a configuration by which nobody gets a private /tmp.
const broken = "[[private]]\ntargte = \"/tmp\"\n"

// program starts a shell command as a user, in a session.
type program struct {
	name string
	run  func(t *testing.T, user, command string) string
	// shows: the user sees what PAM says.
	shows bool
	// waits: it has ended when run returns.
	waits bool
}

var programs = []program{
	{"su", runSu, true, true},
	{"su -", runSuLogin, true, true},
	{"sudo", runSudo, false, true}, // it asks PAM to be silent
	{"sudo -i", runSudoLogin, true, true},
	{"login", typeCommandAtLogin, true, true},
	{"ssh", runSSHAsAnybody, false, true},
	{"PAMName=", runPAMName, false, true},
	{"cron", startCron, false, false},
	{"at", startAt, false, false},
}

func typeCommandAtLogin(t *testing.T, user, command string) string {
	t.Helper()
	return typeAtLogin(t, user, scriptFile(t, command)+"; exit")
}

// runSSHAsAnybody shows what sshd says of a refusal, too.
func runSSHAsAnybody(t *testing.T, user, command string) string {
	t.Helper()
	startSSHD(t)
	return runIn(t, "/", "ssh", append(sshOptions[1:], "-n", user+"@127.0.0.1", command)...)
}

func startCron(t *testing.T, user, command string) string {
	t.Helper()
	write(t, "/etc/cron.d/gotmpns-test", "@reboot "+user+" "+scriptFile(t, command)+"\n")
	restartCron(t)
	return ""
}

// restartCron has it run what it runs once after a boot.
func restartCron(t *testing.T) {
	t.Helper()
	runIn(t, "/", "rm", "-f", "/run/crond.reboot")
	if booted {
		mustRun(t, "systemctl", "reset-failed", "cron.service") // many starts in a moment
		mustRun(t, "systemctl", "restart", "cron.service")
		return
	}
	t.Cleanup(startProcess(t, "/usr/sbin/cron", "-f"))
}

func startAt(t *testing.T, user, command string) string {
	t.Helper()
	startDaemon(t, "/usr/sbin/atd", "-f")
	job := exec.Command("setpriv", "--reuid="+user, "--regid="+user, "--init-groups", "at", "now")
	job.Dir = "/"
	job.Stdin = strings.NewReader(scriptFile(t, command) + "\n")
	return output(t, job)
}

// CASES 51: in every program, required refuses everybody but root, and the user sees one
// plain line; with optional the command runs.
func TestRequiredRefusesInEveryProgram(t *testing.T) {
	for _, p := range programs {
		if p.name == "PAMName=" && !booted {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			refusesOnPurpose(t)
			begin(t)
			configure(t, broken)
			log := logOfRefusals(t)
			if booted {
				endSessions(t) // of user managers, which come and go as well
				withoutManagers(t)
			}
			t.Run("required", func(t *testing.T) {
				marker := outFile(t, "alice")
				before := log("alice")
				got := p.run(t, "alice", "echo ran > "+marker)
				settle(t, func() error {
					if log("alice") == before {
						return fmt.Errorf("no refusal is in the log: %q", got)
					}
					return nil
				})
				if strings.Contains(read(t, marker), "ran") {
					t.Errorf("alice's command has run: %q", got)
				}
				if p.shows && strings.Count(got, plainLine) != 1 || strings.Contains(got, "targte") {
					t.Errorf("alice sees %q", got)
				}
			})
			for _, control := range []string{"required", "optional"} {
				user := map[string]string{"required": "root", "optional": "alice"}[control]
				t.Run(user+" gets in with "+control, func(t *testing.T) {
					useControl(t, control)
					marker := outFile(t, user)
					got := p.run(t, user, "echo ran > "+marker)
					settle(t, func() error {
						if !strings.Contains(read(t, marker), "ran") {
							return fmt.Errorf("the command does not run: %q", got)
						}
						return nil
					})
				})
			}
		})
	}
}

// useControl changes the control of the module in each stack for one test.
func useControl(t *testing.T, control string) {
	t.Helper()
	for _, name := range []string{"common-session", "common-session-noninteractive"} {
		replace(t, "/etc/pam.d/"+name, func(before string) string {
			var lines []string
			for line := range strings.Lines(before) {
				if strings.Contains(line, "pam_gotmpns.so") {
					line = "session " + control + " pam_gotmpns.so\n"
				}
				lines = append(lines, line)
			}
			return strings.Join(lines, "")
		})
	}
}

// logOfRefusals counts the lines in the log about the broken configuration, by user.
func logOfRefusals(t *testing.T) func(user string) int {
	t.Helper()
	if booted {
		return func(user string) int {
			lines := runIn(t, "/", "journalctl", "-b", "--no-pager", "-o", "cat", "-g", "pam_gotmpns[(].*"+user+" .*unknown key")
			return strings.Count(lines, "unknown key")
		}
	}
	j := journal.Start(t)
	var all []string
	return func(user string) int {
		all = append(all, j.Lines()...)
		count := 0
		for _, line := range all {
			if strings.HasPrefix(line, user+" ") && strings.Contains(line, "unknown key") {
				count++
			}
		}
		return count
	}
}
