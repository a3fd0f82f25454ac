package login

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"gotmpns/test/journal"
)

const configFile = "/etc/security/gotmpns.toml"

// configure replaces the configuration for one test.
func configure(t *testing.T, text string) {
	t.Helper()
	replace(t, configFile, func(string) string { return text })
}

// replace changes a file for one test.
func replace(t *testing.T, path string, change func(before string) string) {
	t.Helper()
	before := read(t, path)
	put := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
	put(change(before))
	t.Cleanup(func() { put(before) })
}

// What a vendor has in /usr applies where the administrator has no file, and drop-ins add to
// it; a file of the administrator's replaces it.
func TestTheVendorsConfigurationApplies(t *testing.T) {
	begin(t)
	const vendors = "/usr/share/gotmpns"
	t.Cleanup(func() { _ = os.RemoveAll(vendors) })
	t.Cleanup(func() { forgetBases(t, "/var/tmp") })
	write(t, vendors+"/gotmpns.toml", "[[private]]\ntarget = \"/var/tmp\"\n")
	write(t, vendors+"/gotmpns.d/10-shm.toml", tmpfsTable("/dev/shm", "1M", ""))
	const seen = `for at in /tmp /var/tmp /dev/shm; do awk -v at=$at '$5 == at && / gotmpns |gotmpns-/ { print at }' /proc/self/mountinfo; done`
	sees := func(targets string) {
		t.Helper()
		if got := runSu(t, "alice", seen); got != targets {
			t.Errorf("got %q, want %q", got, targets)
		}
	}
	sees("/tmp\n/dev/shm\n")
	administrators := configFile + ".away"
	mustRun(t, "mv", configFile, administrators)
	t.Cleanup(func() { mustRun(t, "mv", administrators, configFile) })
	sees("/var/tmp\n/dev/shm\n")
	write(t, "/etc/security/gotmpns.d/10-shm.toml", "")
	sees("/var/tmp\n")
}

func TestATmpfsIsSharedByTheUsersSessionsAndGoneWithTheLast(t *testing.T) {
	beginAlone(t)
	configure(t, "[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\nsize = \"1M\"\ninodes = 64\n")
	hold := startSession(t, "alice")
	want(t, runSu(t, "alice", "echo shared > /tmp/note; stat -fc %T /tmp"), "tmpfs")
	want(t, runSu(t, "alice", "cat /tmp/note"), "shared")
	want(t, runSu(t, "bob", "cat /tmp/note 2>&1"), "No such file")
	want(t, runSu(t, "alice", "head -c 2M /dev/zero 2>&1 > /tmp/big; stat -c %s /tmp/big; rm /tmp/big"), "No space left")
	want(t, runSu(t, "alice", "for i in $(seq 100); do : > /tmp/$i || break; done 2>&1; rm -f /tmp/[0-9]*"), "No space left")
	hold.end(t)
	if withBroker { // it lets go of the namespace a moment after its last process has ended
		settle(t, func() error {
			if records, _ := os.ReadDir("/run/gotmpns/tmpfs/1000"); len(records) > 0 {
				return errors.New("the broker still holds the tmpfs")
			}
			return nil
		})
	}
	want(t, runSu(t, "alice", "cat /tmp/note 2>&1"), "No such file")
}

func TestATmpfsIsFoundInADetachedProcessAsWell(t *testing.T) {
	begin(t)
	configure(t, "[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\n")
	ready := resultFIFO(t, "alice")
	go func() {
		// The session ends at once; what it has started lives on.
		runSu(t, "alice", "echo kept > /tmp/note; setsid sh -c 'echo $$ > "+ready+"; exec sleep 1000' < /dev/null > /dev/null 2>&1 &")
	}()
	pid := strings.TrimSpace(read(t, ready))
	defer mustRun(t, "kill", pid)
	want(t, runSu(t, "alice", "cat /tmp/note"), "kept")
}

func TestManyFirstLoginsAtOnceShareOneInstance(t *testing.T) {
	for _, kind := range []string{"directory", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			beginAlone(t)
			configure(t, "[[private]]\ntarget = \"/tmp\"\nkind = \""+kind+"\"\n")
			// All hold their sessions until the last has looked.
			script := `su alice -c 'stat -c %d:%i /tmp; exec >&-; read x' < /opt/hold`
			mustRun(t, "mkfifo", "/opt/hold")
			defer os.Remove("/opt/hold")
			got := runIn(t, "/", "sh", "-c", fmt.Sprintf(
				`exec 9<>/opt/hold; for i in $(seq 50); do %s & done > /opt/ids; while [ $(wc -l < /opt/ids) -lt 50 ]; do :; done; `+
					`for i in $(seq 50); do echo >&9; done; wait; sort /opt/ids | uniq -c`, script))
			_ = os.Remove("/opt/ids")
			if words := strings.Fields(got); len(words) != 2 || words[0] != "50" {
				t.Errorf("50 logins see %q", got)
			}
		})
	}
}

func TestASessionsOwnDirectory(t *testing.T) {
	for _, kind := range []string{"directory", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			beginAlone(t)
			configure(t, "[[private]]\ntarget = \"/tmp\"\nscope = \"session\"\nkind = \""+kind+"\"\n")
			got := runSu(t, "alice", "echo mine > /tmp/note; su alice -c true; sudo -u alice cat /tmp/note")
			want(t, got, "mine") // a session inside the session is the same
			want(t, runSu(t, "alice", "cat /tmp/note 2>&1"), "No such file")
		})
	}
}

func TestSeveralTargets(t *testing.T) {
	beginAlone(t)
	configure(t, "[[private]]\ntarget = \"/tmp\"\n[[private]]\ntarget = \"/var/tmp\"\n[[private]]\ntarget = \"/dev/shm\"\nkind = \"tmpfs\"\n")
	hold := startSession(t, "alice")
	defer hold.end(t)
	runSu(t, "alice", "for d in /tmp /var/tmp /dev/shm; do echo $d > $d/note; done")
	want(t, runSu(t, "alice", "cat /tmp/note /var/tmp/note /dev/shm/note"), "/tmp\n/var/tmp\n/dev/shm")
	want(t, runSu(t, "bob", "ls -A /tmp /var/tmp /dev/shm"), "/dev/shm:\n\n/tmp:\n\n/var/tmp:\n")
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm"} {
		mustNotExist(t, dir+"/note")
		forgetBases(t, dir)
	}
}

func TestATargetInsideATarget(t *testing.T) {
	beginAlone(t)
	mustRun(t, "mkdir", "-m", "1777", "/tmp/build")
	t.Cleanup(func() { _ = os.RemoveAll("/tmp/build") })
	configure(t, "[[private]]\ntarget = \"/tmp/build\"\n[[private]]\ntarget = \"/tmp\"\n")
	got := runSu(t, "alice", "echo in > /tmp/build/note; cat /tmp/build/note; grep -c ' /tmp/build ' /proc/self/mounts")
	want(t, got, "in\n1")
	mustNotExist(t, "/tmp/build/note")
}

func TestBindsOfFilesAndDirectories(t *testing.T) {
	beginAlone(t)
	for _, path := range []string{"/opt/lab/hosts", "/opt/lab/dir/file", "/opt/empty/x"} {
		write(t, path, "the lab's\n")
	}
	t.Cleanup(func() { _ = os.RemoveAll("/opt/lab"); _ = os.RemoveAll("/opt/empty") })
	configure(t, "[[private]]\ntarget = \"/tmp\"\n"+
		"[[bind]]\nsource = \"/opt/lab/hosts\"\ntarget = \"/etc/hosts\"\nfor = [\"@students\"]\n"+
		"[[bind]]\nsource = \"/opt/lab/dir\"\ntarget = \"/opt/empty\"\nread_only = true\n"+
		"[[bind]]\nsource = \"/opt/lab/dir\"\ntarget = \"/tmp/lab\"\n")
	got := runSu(t, "carol", "cat /etc/hosts /opt/empty/file /tmp/lab/file; touch /opt/empty/new 2>&1; sudo touch /opt/empty/new 2>&1; sudo -u bob grep -c lab /etc/hosts")
	want(t, got, "the lab's\nthe lab's\nthe lab's\n")
	if strings.Count(got, "Read-only file system") < 1 {
		t.Errorf("carol writes through a read-only bind: %q", got)
	}
	want(t, got, "\n0\n") // bob is no student: hers is detached in his session
	if got := runSu(t, "bob", "cat /etc/hosts"); strings.Contains(got, "lab") {
		t.Errorf("bob is no student and sees %q", got)
	}
}

// The line of the shipped file that says where directories are kept works as it is.
func TestTheBaseOfTheShippedFile(t *testing.T) {
	begin(t)
	replace(t, configFile, func(shipped string) string {
		with := strings.Replace(shipped, "#base = ", "base = ", 1)
		if with == shipped {
			t.Fatal("it has no such line")
		}
		return with
	})
	t.Cleanup(func() { _ = os.RemoveAll("/var/lib/gotmpns-tmp") })
	want(t, runSu(t, "alice", "echo hers > /tmp/note; cat /tmp/note"), "hers")
	want(t, read(t, one(t, "/var/lib/gotmpns-tmp/*/note")), "hers")
}

func TestOnlyThoseWhomItIsFor(t *testing.T) {
	beginAlone(t)
	j := journal.Start(t)
	configure(t, "[[private]]\ntarget = \"/tmp\"\nfor = [\"@students\", \"bob\"]\n")
	for user, private := range map[string]bool{"alice": false, "bob": true, "carol": true} {
		got := runSu(t, user, "cat /tmp/host-file 2>/dev/null")
		if strings.Contains(got, "the host's") == private {
			t.Errorf("%s: %q", user, got)
		}
		if private {
			j.Says(t, user, "private /tmp", " ms")
		} else {
			j.Says(t, user, "skipped: no private directories are configured")
		}
	}
}

func TestWhoIsLeftAlone(t *testing.T) {
	for rule, line := range map[string]string{
		"alice": `exempt by "alice"`, "@alice": `exempt by "@alice"`, "uid>=1000": `exempt by "uid>=1000"`,
		"service:su": `exempt by "service:su"`, "shell:/bin/bash": `exempt by "shell:/bin/bash"`,
	} {
		t.Run(rule, func(t *testing.T) {
			beginAlone(t)
			j := journal.Start(t)
			configure(t, fmt.Sprintf("exempt = [%q]\n", rule))
			want(t, runSu(t, "alice", "cat /tmp/host-file"), "the host's")
			j.Says(t, "alice (uid ", line)
		})
	}
}

// One process of samba's serves several users: it is exempt by default.
func TestSambaIsExemptByDefault(t *testing.T) {
	beginAlone(t)
	j := journal.Start(t)
	write(t, "/etc/pam.d/samba", "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_gotmpns.so\n")
	want(t, runIn(t, "/", "pamtester", "samba", "alice", "open_session"), "successfully opened")
	j.Says(t, "alice", "skipped: exempt by \"service:samba\"")
}

func TestX11SocketsStayShared(t *testing.T) {
	beginAlone(t)
	mustRun(t, "mkdir", "-m", "1777", "/tmp/.X11-unix")
	write(t, "/tmp/.X11-unix/X0", "display")
	t.Cleanup(func() { _ = os.RemoveAll("/tmp/.X11-unix") })
	want(t, runSu(t, "alice", "cat /tmp/.X11-unix/X0; echo mine > /tmp/.X11-unix/X7; rmdir /tmp/.X11-unix 2>&1"), "display")
	if got := read(t, "/tmp/.X11-unix/X7"); got != "mine\n" {
		t.Errorf("the host sees %q", got)
	}
}

func TestASharedNameThatAUserHasPutThereIsNotShared(t *testing.T) {
	beginAlone(t)
	j := journal.Start(t)
	mustRun(t, "mkdir", "/tmp/.X11-unix")
	mustRun(t, "chown", "bob", "/tmp/.X11-unix")
	t.Cleanup(func() { _ = os.RemoveAll("/tmp/.X11-unix") })
	got := runSu(t, "alice", "ls -A /tmp")
	if strings.Contains(got, "X11") {
		t.Errorf("alice sees bob's directory: %q", got)
	}
	if lines := strings.Join(j.Lines(), "\n"); !strings.Contains(lines, "is not shared: it belongs to uid") {
		t.Errorf("the log says %q", lines)
	}
}

func TestABrokenConfigurationRefusesUsersAndLetsRootIn(t *testing.T) {
	beginAlone(t)
	j := journal.Start(t)
	configure(t, "[[private]]\ntargte = \"/tmp\"\n")
	got := runSu(t, "alice", "echo IN")
	if strings.Contains(got, "IN") {
		t.Errorf("required, and alice gets in: %q", got)
	}
	j.Says(t, "alice", configFile+":2: unknown key \"targte\"; did you mean \"target\"?")
	want(t, runSu(t, "root", "echo IN"), "IN")
	j.Says(t, "root (uid 0): continuing without a private /tmp", configFile+":2:")
}

func TestTheLogOfDebugHasThePlan(t *testing.T) {
	beginAlone(t)
	j := journal.Start(t)
	replace(t, "/etc/pam.d/common-session", func(before string) string {
		return strings.Replace(before, "pam_gotmpns.so", "pam_gotmpns.so debug timout=3", 1)
	})
	want(t, runSu(t, "alice", "echo IN"), "IN")
	lines := strings.Join(j.Lines(), "\n")
	want(t, lines, "copy the host's mount namespace")
	want(t, lines, `ignoring the module argument "timout=3"`)
}

func TestMountsOfTheHostComeIn(t *testing.T) {
	begin(t)
	hold := startSession(t, "alice")
	defer hold.end(t)
	mustRun(t, "mkdir", "-p", "/opt/late")
	mustRun(t, "mount", "-t", "tmpfs", "late", "/opt/late")
	defer os.Remove("/opt/late")
	defer mustRun(t, "umount", "/opt/late")
	got := hold.mounts(t)
	shared := strings.Contains(runIn(t, "/", "findmnt", "-no", "PROPAGATION", "/"), "shared")
	if seen := strings.Contains(got, " /opt/late "); seen != shared {
		t.Errorf("/ is shared: %v, and the session sees the host's late mount: %v", shared, seen)
	}
}

func TestMountsOfASessionReachTheHostOnlyWhereEachTargetIsAMountPoint(t *testing.T) {
	begin(t)
	mustRun(t, "mkdir", "-p", "/opt/inside")
	defer os.Remove("/opt/inside")
	runSu(t, "alice", "sudo mount -t tmpfs inside /opt/inside")
	onHost := strings.Contains(read(t, "/proc/self/mounts"), " /opt/inside ")
	if onHost {
		mustRun(t, "umount", "/opt/inside")
	}
	shared := strings.Contains(runIn(t, "/", "findmnt", "-no", "PROPAGATION", "/"), "shared")
	tmpIsMount := strings.Contains(read(t, "/proc/self/mounts"), " /tmp ")
	if onHost != (shared && tmpIsMount) {
		t.Errorf("/ shared: %v, /tmp a mount point: %v, seen on the host: %v", shared, tmpIsMount, onHost)
	}
}

func TestAUidThatChangesHandsTakesNoFilesAlong(t *testing.T) {
	beginAlone(t)
	mustRun(t, "useradd", "-m", "-u", "4242", "dave")
	runSu(t, "dave", "echo his > /tmp/note")
	mustRun(t, "useradd", "-o", "-M", "-u", "4242", "david")
	want(t, runSu(t, "david", "cat /tmp/note"), "his") // a second name of the same account
	mustRun(t, "userdel", "david")
	mustRun(t, "userdel", "-f", "dave")
	_ = os.RemoveAll("/home/dave")
	mustRun(t, "useradd", "-M", "-u", "4242", "erin")
	defer mustRun(t, "userdel", "-f", "erin")
	want(t, runSu(t, "erin", "ls -A /tmp | wc -l; cat /tmp/note 2>&1"), "0\n")
}

// su shows no messages of PAM beside a command, pamtester shows all.
func TestAUserIsNotifiedOnce(t *testing.T) {
	begin(t)
	t.Cleanup(func() { _ = os.RemoveAll("/run/gotmpns/notified") })
	t.Cleanup(func() { forgetBases(t, "/var/tmp") })
	write(t, "/etc/pam.d/gotmpns-test", "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_gotmpns.so\n")
	logIn := func(user string) string {
		return runIn(t, "/", "pamtester", "gotmpns-test", user, "open_session", "close_session")
	}
	const all, some = "Private to you on this host: /tmp, /var/tmp. ", "Private to you on this host: /tmp. "
	const tables = "[[private]]\ntarget = \"/tmp\"\n[[private]]\ntarget = \"/var/tmp\"\nfor = [\"alice\", \"bob\"]\n"
	configure(t, tables)
	if got := logIn("alice"); strings.Contains(got, "Private") {
		t.Errorf("without notify, she sees %q", got)
	}
	configure(t, "notify = true\n"+tables)
	want(t, logIn("alice"), all)
	startSession(t, "bob") // whose program shows nothing; and the next session joins
	for _, user := range []string{"alice", "bob", "root"} {
		if got := logIn(user); strings.Contains(got, "Private") {
			t.Errorf("%s sees %q", user, got)
		}
	}
	want(t, logIn("carol"), some)
}
