package login

import (
	"errors"
	"strings"
	"testing"

	"gotmpns/test/await"
)

// CASES 35: the numbers by which the kernel names a tmpfs are reused when it
// has gone. Bob comes and goes, alice gets a tmpfs with the numbers that his had, and
// bob comes again: none of what he sees is alice's.
func TestATmpfsIsOneUsersThoughItsNumbersAreUsedAgain(t *testing.T) {
	for _, target := range []string{"/tmp", "/dev/shm"} {
		for _, scope := range []string{"user", "session"} {
			t.Run(strings.TrimPrefix(target, "/")+", "+scope, func(t *testing.T) {
				begin(t)
				withoutManagers(t)
				configure(t, "[[private]]\ntarget = \""+target+"\"\nkind = \"tmpfs\"\nscope = \""+scope+"\"\n")
				number := "stat -c %d:%i " + target
				alice := startShellWithNumbersOf(t, target, func() string { return runSu(t, "bob", number) })
				alice.run(t, "echo hers > "+target+"/note; chmod 644 "+target+"/note")
				look := "cat " + target + "/note 2>&1; ls -A -I.X11-unix -I.ICE-unix " + target + " | wc -l"
				for name, got := range map[string]string{
					"from the host":           runSu(t, "bob", look),
					"from her session":        alice.run(t, "sudo -u bob sh -c '"+look+"'"),
					"from another of his own": runSu(t, "carol", "sudo -u bob sh -c 'sudo -n -u bob true 2>/dev/null; "+look+"'"),
				} {
					if strings.Contains(got, "hers") || !strings.Contains(got, "No such file") || !strings.HasSuffix(got, "\n0\n") {
						t.Errorf("%s bob sees %q", name, got)
					}
				}
				want(t, alice.run(t, "cat "+target+"/note"), "hers")
			})
		}
	}
}

// startShellWithNumbersOf opens a session of alice's whose tmpfs has the device number
// and inode of one that was another's a moment before. The kernel gives out the lowest
// number that is free: others may take it first, and the broker has the first one for a
// moment longer than the last process.
func startShellWithNumbersOf(t *testing.T, target string, another func() string) *shell {
	t.Helper()
	seen := map[string]bool{}
	var s *shell
	err := await.Until(func() error {
		seen[another()] = true
		s = startShell(t, "alice")
		if seen[s.run(t, "stat -c %d:%i "+target)] {
			return nil
		}
		s.end()
		return errors.New("no number was used again: this shows nothing")
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The same with a tmpfs that was a root service's own.
func TestSystemATmpfsOfAServiceBecomesNobodysTmp(t *testing.T) {
	beginSystem(t)
	withoutManagers(t)
	configure(t, "[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\n")
	runSu(t, "bob", "true")
	number := []string{"--quiet", "--wait", "--pipe", "-p", "TemporaryFileSystem=/opt", "stat", "-c", "%d:%i", "/opt"}
	alice := startShellWithNumbersOf(t, "/tmp", func() string {
		runSu(t, "bob", "true")
		return runIn(t, "/", "systemd-run", number...)
	})
	alice.run(t, "echo hers > /tmp/note")
	want(t, runSu(t, "bob", looks), "No such file or directory\n"+seesNone)
	service := startShellBy(t, "systemd-run", "--quiet", "--wait", "--pipe", "-p", "TemporaryFileSystem=/opt", "sh", "-c", "exec sh")
	service.run(t, "echo of the service > /opt/note")
	for _, user := range []string{"alice", "bob", "carol"} {
		if got := runSu(t, user, "cat /tmp/note 2>&1"); strings.Contains(got, "service") {
			t.Errorf("%s sees %q", user, got)
		}
	}
}
