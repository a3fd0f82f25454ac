package login

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// What a user can set before a setuid program starts decides nothing: the session of
// another user is in that user's own /tmp, or there is none.

// beginNested has a file of each user's in the /tmp of that user.
func beginNested(t *testing.T) {
	t.Helper()
	begin(t)
	for _, user := range []string{"alice", "bob"} {
		runSu(t, user, "touch /tmp/of-"+user)
	}
}

// programsToBob are how alice comes to be bob; each takes a command.
var programsToBob = []string{"sudo -n -u bob", "sudo -n -i -u bob", "sudo -n su bob -c", "sudo -n su - bob -c"}

// isBobs wants what "ls /tmp" prints to be of bob's own /tmp.
func isBobs(t *testing.T, what, got string) {
	t.Helper()
	if !strings.Contains(got, "of-bob") || strings.Contains(got, "of-alice") || strings.Contains(got, "host-file") {
		t.Errorf("%s: bob's /tmp has %q", what, got)
	}
}

// CASES 36: with few descriptors. A program that cannot do its own work says so; one
// that starts the command has a private /tmp for it.
func TestFewDescriptorsLeadIntoNobodyElsesTmp(t *testing.T) {
	for _, first := range []bool{true, false} {
		t.Run(map[bool]string{true: "bob's first session", false: "one that he joins"}[first], func(t *testing.T) {
			refusesOnPurpose(t)
			beginNested(t)
			if !first {
				startShell(t, "bob")
			}
			fewDescriptors(t, startShell(t, "alice"))
		})
	}
}

func fewDescriptors(t *testing.T, alice *shell) {
	t.Helper()
	for _, limit := range []string{"-Sn", "-n"} {
		for _, n := range []int{4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 20} {
			for _, program := range programsToBob {
				command := "'ls /tmp; echo started'"
				if !strings.HasSuffix(program, "-c") {
					command = "sh -c " + command
				}
				what := fmt.Sprintf("ulimit %s %d; %s", limit, n, program)
				got := alice.run(t, "(ulimit "+limit+" "+fmt.Sprint(n)+"; "+program+" "+command+")")
				if strings.Contains(got, "started") {
					isBobs(t, what, got)
				} else if limit == "-Sn" && n >= 16 {
					t.Errorf("%s: %q", what, got)
				}
				if strings.Contains(got, "of-alice") || strings.Contains(got, "host-file") {
					t.Errorf("%s: %q", what, got)
				}
			}
		}
	}
}

// CASES 36: from a working directory that root cannot enter, that does not answer, or
// that is gone.
func TestNoWorkingDirectoryLeadsIntoSomebodyElsesTmp(t *testing.T) {
	for name, prepare := range map[string]string{
		"on the user's FUSE":             "mkdir -p ~/src ~/m; bindfs --no-allow-other ~/src ~/m; cd ~/m",
		"on FUSE that others may enter":  "mkdir -p ~/src ~/m; bindfs -o allow_other ~/src ~/m; cd ~/m",
		"on FUSE that has been stopped":  "mkdir -p ~/src ~/m; bindfs --no-allow-other ~/src ~/m; cd ~/m; pkill -STOP -u alice -x bindfs",
		"on FUSE for all, stopped":       "mkdir -p ~/src ~/m; bindfs -o allow_other ~/src ~/m; cd ~/m; pkill -STOP -u alice -x bindfs",
		"on FUSE whose server has ended": "mkdir -p ~/src ~/m; bindfs --no-allow-other ~/src ~/m; cd ~/m; pkill -KILL -u alice -x bindfs",
		"deleted":                        "mkdir -p ~/gone; cd ~/gone; rmdir ~/gone",
		"of mode 000":                    "mkdir -p ~/closed; cd ~/closed; chmod 000 .",
		"below /tmp":                     "mkdir -p /tmp/in/side; cd /tmp/in/side",
		"below /tmp and deleted":         "mkdir -p /tmp/in/side; cd /tmp/in/side; rm -r /tmp/in",
		"on a mount that was detached":   "mkdir -p ~/m; sudo mount -t tmpfs none ~/m; cd ~/m; sudo umount -l ~/m",
		"in a directory with a long name": "mkdir -p ~/deep; cd ~/deep; i=0; while [ $i -lt 30 ]; do " +
			"d=$(printf %0200d $i); mkdir -p $d; cd $d; i=$((i+1)); done",
	} {
		t.Run(name, func(t *testing.T) {
			beginNested(t)
			replace(t, "/etc/fuse.conf", func(before string) string { return before + "\nuser_allow_other\n" })
			alice := startShell(t, "alice")
			t.Cleanup(func() { forgetDirectories(t, alice) })
			if got := alice.run(t, prepare+" && echo prepared"); !strings.Contains(got, "prepared") {
				t.Fatalf("cannot prepare: %q", got)
			}
			for _, program := range programsToBob {
				command := "'ls /tmp'"
				if !strings.HasSuffix(program, "-c") {
					command = "sh -c " + command
				}
				isBobs(t, program, alice.run(t, "timeout 20 "+program+" "+command))
			}
		})
	}
}

// What a user has in a session is nobody else's who logs in from there, also where the
// configuration does not name it any more, or the user has mounted something over it.
func TestNothingOfASessionComesAlongToAnotherUser(t *testing.T) {
	const alone = "[[private]]\ntarget = \"/tmp\"\n"
	for name, c := range map[string]struct{ before, after, prepare, path string }{
		"a target that has left the configuration": {alone + "[[private]]\ntarget = \"/var/tmp\"\n", alone,
			"touch /var/tmp/hers; mkdir -p ~/gone; cd ~/gone; rmdir ~/gone", "/var/tmp"},
		"a file system of hers over a target": {alone + "for = [\"alice\"]\nkind = \"tmpfs\"\nmode = \"0700\"\nshare = []\n", "",
			"mkdir -p ~/src; touch ~/src/hers; bindfs -o allow_other ~/src /tmp; cd /", "/tmp"},
	} {
		t.Run(name, func(t *testing.T) {
			beginNested(t)
			t.Cleanup(func() { mustRun(t, "sh", "-c", "rm -rf /var/tmp/gotmpns-*") })
			replace(t, "/etc/fuse.conf", func(before string) string { return before + "\nuser_allow_other\n" })
			configure(t, c.before)
			alice := startShell(t, "alice")
			t.Cleanup(func() { forgetDirectories(t, alice) })
			if got := alice.run(t, c.prepare+"; ls "+c.path); !strings.Contains(got, "hers") {
				t.Fatalf("cannot prepare: %q", got)
			}
			if c.after != "" {
				configure(t, c.after)
			}
			for _, program := range programsToBob {
				command := "'ls " + c.path + "; echo seen'"
				if !strings.HasSuffix(program, "-c") {
					command = "sh -c " + command
				}
				got := alice.run(t, "timeout 20 "+program+" "+command)
				if !strings.Contains(got, "seen") || strings.Contains(got, "hers") {
					t.Errorf("%s: %q", program, got)
				}
			}
		})
	}
}

// forgetDirectories removes what a test of working directories has prepared.
func forgetDirectories(t *testing.T, alice *shell) {
	t.Helper()
	alice.run(t, "cd /; pkill -CONT -u alice -x bindfs; fusermount3 -u -z /tmp; fusermount3 -u -z ~/m || fusermount -u -z ~/m; chmod -f 700 ~/closed; rm -rf ~/deep")
	alice.end()
	for _, name := range []string{"src", "m", "closed", "gone", "deep"} {
		if err := os.RemoveAll("/home/alice/" + name); err != nil {
			t.Error(err)
		}
	}
}

// CASES 38: "rm -rf /tmp/*" removes the directory that open sessions have. What is
// started from them gets a /tmp that works, of the user whose session it is.
func TestARemovedInstanceIsReplacedInTheNextSession(t *testing.T) {
	beginNested(t)
	alice := startShell(t, "alice")
	mustRun(t, "sh", "-c", "rm -rf /tmp/gotmpns-*")
	if got := alice.run(t, "touch /tmp/note 2>&1 && echo made"); strings.Contains(got, "made") {
		t.Fatal("the directory is not removed: this shows nothing")
	}
	for _, program := range programsToBob {
		for user, marker := range map[string]string{"alice": "by-alice", "bob": "by-bob"} {
			command := "'echo " + marker + " > /tmp/note && cat /tmp/note; ls /tmp; cat /tmp/host-file 2>/dev/null || echo " + seesNone + "'"
			if !strings.HasSuffix(program, "-c") {
				command = "sh -c " + command
			}
			got := alice.run(t, strings.Replace(program, "bob", user, 1)+" "+command)
			want(t, got, marker+"\nnote\n"+seesNone)
		}
	}
	want(t, runSu(t, "alice", "cat /tmp/note"), "by-alice")
	want(t, runSu(t, "bob", "cat /tmp/note"), "by-bob")
}
