package login

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const cleanedUp = "[[private]]\ntarget = \"/tmp\"\ncleanup = \"logout\"\n"

// CASES 14, 16 and 21: emptied with the last session and its processes, not before.
func TestCleanupAtLogout(t *testing.T) {
	beginBroker(t)
	configure(t, cleanedUp)
	fill := `umask 077; mkdir -p /tmp/a/b; echo x > /tmp/a/b/c; ln -s / /tmp/root; ln -s /etc /tmp/a/etc; mkfifo /tmp/fifo; echo y > "$(printf '/tmp/\377')"; chmod 000 /tmp/a`
	first := startSession(t, "alice")
	runSu(t, "alice", fill)
	clean(t)
	want(t, runSu(t, "alice", "ls /tmp; test -p /tmp/fifo && echo there"), "there")
	// A process that stays, in no session of PAM's any more.
	ready := resultFIFO(t, "alice")
	go runSu(t, "alice", "setsid sh -c 'echo $$ > "+ready+"; exec sleep 1000' < /dev/null > /dev/null 2>&1 &")
	pid := strings.TrimSpace(read(t, ready))
	first.end(t)
	if booted {
		mustRun(t, "systemctl", "stop", "user@1000.service")
	}
	clean(t)
	base := one(t, "/tmp/gotmpns-*")
	if got := listing(t, base+"/1000"); !strings.Contains(got, "fifo") {
		t.Fatalf("a process of alice's lives, and her /tmp has %q", got)
	}
	mustRun(t, "kill", pid)
	runSu(t, "root", "true")
	if booted {
		runSu(t, "carol", "true")
	}
	clean(t)
	settle(t, func() error {
		if got := listing(t, base); strings.Contains(got, "1000") || strings.Contains(got, ".gone") {
			return fmt.Errorf("the base has %q", got)
		}
		return nil
	})
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Error("what a link led to is gone")
	}
	want(t, runSu(t, "alice", "ls /tmp | wc -l"), "0\n")
}

// clean asks for what is due, as an administrator who does not want to wait.
func clean(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("/usr/local/bin/gotmpns", "clean").CombinedOutput(); err != nil {
		t.Errorf("gotmpns clean: %v: %s", err, out)
	}
}

// The broker empties by itself when the last session ends, and prints nothing due
// afterwards.
func TestCleanupByTheBrokerItself(t *testing.T) {
	beginBroker(t)
	configure(t, cleanedUp)
	runSu(t, "alice", "touch /tmp/note")
	if booted {
		endSessions(t)
	}
	base := one(t, "/tmp/gotmpns-*")
	settle(t, func() error {
		if got := listing(t, base); got != "" {
			return fmt.Errorf("the base has %q", got)
		}
		return nil
	})
	out, err := exec.Command("/usr/local/bin/gotmpns", "clean", "--dry-run").CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("still due: %s %v", out, err)
	}
}

// Without the broker: the command. A worker makes and never removes: the user
// would have to wait for it.
func TestCleanupWithoutTheBroker(t *testing.T) {
	if withBroker {
		t.Skip("this is about being without")
	}
	beginAlone(t)
	configure(t, cleanedUp)
	runSu(t, "alice", "touch /tmp/note")
	base := one(t, "/tmp/gotmpns-*")
	out, err := exec.Command("/usr/local/bin/gotmpns", "clean", "--dry-run").CombinedOutput()
	if err != nil || string(out) != base+"/1000\n" {
		t.Errorf("due are %q, %v", out, err)
	}
	for range 60 {
		runSu(t, "carol", "true")
	}
	if got := listing(t, base+"/1000"); !strings.Contains(got, "note") {
		t.Errorf("a dry run and logins of others left %q", got)
	}
	clean(t)
	if got := listing(t, base); strings.Contains(got, "1000") || strings.Contains(got, ".gone") {
		t.Errorf("the base has %q", got)
	}
}

// In a PID namespace of its own, a clean-up sees no session and no process of the host.
func TestCleanupInAnotherPIDNamespace(t *testing.T) {
	beginAlone(t)
	configure(t, cleanedUp)
	session := startSession(t, "alice")
	runSu(t, "alice", "touch /tmp/note")
	base := one(t, "/tmp/gotmpns-*")
	for _, what := range []string{"", "--unused"} {
		script := strings.TrimSpace("exec gotmpns clean " + what)
		out, err := exec.Command("unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "this PID namespace is not that of the first login") {
			t.Errorf("%s: %q, %v", script, out, err)
		}
	}
	if got := listing(t, base+"/1000"); !strings.Contains(got, "note") {
		t.Errorf("alice, who has a session, has lost her files: %q", got)
	}
	if records, err := filepath.Glob("/run/gotmpns/sessions/1000/*"); err != nil || len(records) == 0 {
		t.Errorf("her session has no record any more: %v", err)
	}
	session.end(t)
	clean(t) // what the message advises
}

// CASES 44: an instance of one session goes with it, also where it stayed empty.
func TestCleanupOfSessionsOfTheirOwn(t *testing.T) {
	begin(t)
	configure(t, "[[private]]\ntarget = \"/tmp\"\nscope = \"session\"\ncleanup = \"logout\"\nshare = []\n")
	stays := startSession(t, "alice")
	runSu(t, "alice", "true")
	runSu(t, "bob", "true")
	settle(t, func() error {
		clean(t)
		if got := strings.Fields(listing(t, one(t, "/tmp/gotmpns-*"))); len(got) != 2 && !booted {
			return fmt.Errorf("one session is open, and the base has %q", got)
		}
		return nil
	})
	stays.end(t)
	if booted {
		endSessions(t)
	}
	settle(t, func() error {
		clean(t)
		if got := listing(t, one(t, "/tmp/gotmpns-*")); got != "" {
			return fmt.Errorf("no session is open, and the base has %q", got)
		}
		return nil
	})
}

// CASES 41: a process that uses the instance, and hides that by its root directory.
func TestCleanupSeesProcessesWithAnotherRoot(t *testing.T) {
	begin(t)
	configure(t, cleanedUp)
	ready := resultFIFO(t, "alice")
	hide := `open(my $f, ">", $ARGV[0]) or die; chroot "/dev/shm" or die; chdir "/" or die; print $f "$$\n"; close $f; sleep 1000`
	loggedOut := make(chan struct{})
	go func() {
		defer close(loggedOut)
		runSu(t, "alice", "echo work > /tmp/work; setsid unshare --user --map-root-user perl -e '"+hide+"' "+ready+" < /dev/null > /dev/null 2>&1 &")
	}()
	pid := strings.TrimSpace(read(t, ready))
	<-loggedOut
	if booted {
		mustRun(t, "systemctl", "stop", "user@1000.service")
	}
	base := one(t, "/tmp/gotmpns-*")
	clean(t)
	if got := listing(t, base+"/1000"); !strings.Contains(got, "work") {
		t.Fatalf("a process of alice's lives, and her /tmp has %q", got)
	}
	mustRun(t, "kill", pid)
	settle(t, func() error {
		clean(t)
		if got := listing(t, base); got != "" {
			return fmt.Errorf("no process of alice's lives, and the base has %q", got)
		}
		return nil
	})
}

// CASES 40: jobs of one user that follow each other, on a host with many services, while
// what they leave is cleaned up. Each has its /tmp until it ends.
func TestCleanupBetweenJobs(t *testing.T) {
	beginAlone(t) // a user manager would keep the instance between jobs
	configure(t, cleanedUp)
	for range 60 {
		defer startProcess(t, "unshare", "--mount", "sleep", "1000")()
	}
	end, ended := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; {
			select {
			case <-end:
				ended <- n
				return
			default:
				out, _ := exec.Command("/usr/local/bin/gotmpns", "clean").CombinedOutput()
				n += bytes.Count(out, []byte("/1000\n"))
			}
		}
	}()
	job := scriptFile(t, "sleep 0.01; echo mine > /tmp/file && sleep 0.02 && cat /tmp/file")
	for range 60 {
		if got := runSu(t, "alice", job); got != "mine\n" {
			t.Fatalf("a job has lost its /tmp: %q", got)
		}
	}
	close(end)
	if n := <-ended; n == 0 && !withBroker {
		t.Error("nothing was cleaned up in between: this shows nothing")
	}
}

// CASES 42: systemd's cleaner of old files runs while a session is open.
func TestTheAgeBasedCleanerSparesWhatIsMounted(t *testing.T) {
	beginSystem(t)
	mustRun(t, "mkdir", "-p", "/opt/lab", "/tmp/lab")
	write(t, "/opt/lab/file", "lab\n")
	write(t, "/opt/one", "one\n")
	write(t, "/tmp/one", "")
	configure(t, cleanedUp+"share = [\".shared\"]\n[[bind]]\nsource = \"/opt/lab\"\ntarget = \"/tmp/lab\"\n[[bind]]\nsource = \"/opt/one\"\ntarget = \"/tmp/one\"\n")
	// What is older than nothing is old: that needs no waiting.
	mustRun(t, "mkdir", "-p", "/etc/tmpfiles.d", "/tmp/.shared")
	write(t, "/etc/tmpfiles.d/tmp.conf", "q /tmp 1777 root root 0\nq /var/tmp 1777 root root 0\n")
	t.Cleanup(func() {
		mustRun(t, "rm", "-rf", "/etc/tmpfiles.d/tmp.conf", "/opt/lab", "/opt/one", "/var/tmp/gotmpns-mine", "/var/tmp/gotmpns-deadbeef")
	})
	session := startSession(t, "alice")
	inside := func(script string) string {
		return runIn(t, "/", "nsenter", "--mount", "--target", fmt.Sprint(session.pid), "sh", "-c", script)
	}
	before := inside("echo x > /tmp/old; grep -c ' /tmp/' /proc/self/mountinfo")
	for _, dir := range []string{"/var/tmp/gotmpns-mine", "/var/tmp/gotmpns-deadbeef"} {
		mustRun(t, "mkdir", "-p", dir+"/d")
		write(t, dir+"/d/file", "x")
		mustRun(t, "chown", "-R", "bob", dir)
	}
	mustRun(t, "systemd-tmpfiles", "--clean", "--prefix=/tmp", "--prefix=/var/tmp")
	want(t, inside("cat /tmp/lab/file /tmp/one"), "lab\none\n")
	if after := inside("grep -c ' /tmp/' /proc/self/mountinfo"); after != before || before < "3" {
		t.Errorf("the session had %s mounts, and has %s", before, after)
	}
	if got := inside("test -e /tmp/old || echo cleaned"); got != "cleaned\n" {
		t.Error("the cleaner has not been here: this shows nothing")
	}
	want(t, runSu(t, "alice", "cat /tmp/lab/file /tmp/one"), "lab\none\n")
	// The names of our bases keep nobody's files.
	for _, dir := range []string{"/var/tmp/gotmpns-mine", "/var/tmp/gotmpns-deadbeef"} {
		if got := runIn(t, "/", "sh", "-c", "find "+dir+" -type f 2>&1 || true"); strings.Contains(got, "/d/file") {
			t.Errorf("the cleaner has spared %s", got)
		}
	}
}

// CASES 43: a mount point that a shared name needed does not stay in the user's way.
func TestASharedNameThatIsGone(t *testing.T) {
	beginAlone(t)
	configure(t, "[[private]]\ntarget = \"/tmp\"\nshare = [\".shared\"]\n")
	mustRun(t, "mkdir", "/tmp/.shared")
	t.Cleanup(func() { mustRun(t, "rm", "-rf", "/tmp/.shared", "/tmp/lab") })
	want(t, runSu(t, "alice", "grep -c ' /tmp/.shared ' /proc/self/mountinfo"), "1")
	// It becomes a file on the host, and a directory again.
	mustRun(t, "rmdir", "/tmp/.shared")
	write(t, "/tmp/.shared", "a file\n")
	want(t, runSu(t, "alice", "cat /tmp/.shared"), "a file")
	mustRun(t, "rm", "/tmp/.shared")
	mustRun(t, "mkdir", "/tmp/.shared")
	want(t, runSu(t, "alice", "test -d /tmp/.shared && grep -c ' /tmp/.shared ' /proc/self/mountinfo"), "1")
	// It is gone; while a session has it, its mount point stays.
	session := startSession(t, "alice")
	mustRun(t, "rmdir", "/tmp/.shared")
	runSu(t, "alice", "true")
	want(t, session.mounts(t), " /tmp/.shared ")
	session.end(t)
	settle(t, func() error { // a login joins the namespace of one before, as long as the broker holds it
		got := runSu(t, "alice", "mkdir /tmp/.shared 2>&1 && echo mine > /tmp/.shared/file; cat /tmp/.shared/file 2>&1 || true")
		if got != "mine\n" {
			return fmt.Errorf("alice gets %q", got)
		}
		return nil
	})
	// It comes back: the user's own stays, and that refuses no login.
	mustRun(t, "mkdir", "/tmp/.shared")
	want(t, runSu(t, "alice", "test ! -e /tmp/host-file && cat /tmp/.shared/file"), "mine")
	// It is a mount point for something else, and then is not shared any more.
	mustRun(t, "mkdir", "/tmp/lab")
	configure(t, "[[private]]\ntarget = \"/tmp\"\nshare = []\n[[bind]]\nsource = \"/opt\"\ntarget = \"/tmp/lab\"\n")
	want(t, runSu(t, "alice", "grep -c ' /tmp/lab ' /proc/self/mountinfo"), "1")
	configure(t, "[[private]]\ntarget = \"/tmp\"\nshare = []\n")
	settle(t, func() error {
		if got := runSu(t, "alice", "ls -A /tmp"); got != ".shared\n" {
			return fmt.Errorf("alice's /tmp has %q", got)
		}
		return nil
	})
}

// purge runs what the package manager runs after the removal of the package, as root.
func purge(t *testing.T, command ...string) string {
	t.Helper()
	script := os.Getenv("GOTMPNS_PROJECT") + "/debian/libpam-gotmpns.postrm"
	return runIn(t, "/", command[0], append(command[1:], "sh", script, "purge")...)
}

// The package is purged by sudo, in a session with a private /tmp: it is about the
// host's /tmp, and not that one.
func TestPurgeFromAPrivateSession(t *testing.T) {
	if withBroker {
		t.Skip("a purge takes the broker's socket with it")
	}
	beginAlone(t)
	configure(t, "")
	session := startSession(t, "bob")
	got := purge(t, "su", "alice", "-c", `sudo "$0" "$@"`)
	base := one(t, "/tmp/gotmpns-*")
	want(t, got, "kept for processes that still use them: "+base+"\n")
	if len(listing(t, "/run/gotmpns/bases")) == 0 {
		t.Error("the records of open sessions are gone")
	}
	want(t, runSu(t, "bob", "ls -d /tmp && test ! -e /tmp/host-file && echo private"), "private")
	session.end(t)
	// A process that hides what it uses keeps it, too.
	hidden := startProcess(t, "unshare", "--mount", "sh", "-c", "mount --bind "+base+"/1000 /mnt && exec unshare --root=/usr /bin/sleep 1000")
	settle(t, func() error {
		if got := runIn(t, "/", "sh", "-c", "pgrep -f '^/bin/sleep 1000' || true"); got == "" {
			return errors.New("it has not come up")
		}
		return nil
	})
	want(t, purge(t, "env"), "kept for processes")
	hidden()
	if got := purge(t, "env"); got != "" {
		t.Errorf("got %q", got)
	}
	mustNotExist(t, base)
	mustNotExist(t, "/run/gotmpns")
}

// In a chroot, pid 1 is of another system: its files stay.
func TestPurgeInAChroot(t *testing.T) {
	beginAlone(t)
	configure(t, "")
	runSu(t, "alice", "true")
	base := one(t, "/tmp/gotmpns-*")
	other := `mount -t tmpfs tmpfs /mnt; mkdir -p /mnt/usr /mnt/etc /mnt/proc /mnt/run /mnt/dev /mnt/tmp/gotmpns-12345678
		chmod 700 /mnt/tmp/gotmpns-12345678; for l in bin lib lib64 sbin; do ln -s usr/$l /mnt/$l; done
		mount --rbind /usr /mnt/usr; mount --bind /etc /mnt/etc; mount -t proc proc /mnt/proc; : > /mnt/dev/null
		cp "$0" /mnt/script; chroot /mnt sh /script purge; ls /mnt/tmp`
	got := runIn(t, "/", "unshare", "--mount", "sh", "-c", other, os.Getenv("GOTMPNS_PROJECT")+"/debian/libpam-gotmpns.postrm")
	if got != "" {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(base); err != nil {
		t.Errorf("the host's base is gone: %v", err)
	}
}
