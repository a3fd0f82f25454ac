package login

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"gotmpns/test/journal"
)

// opens says whether a session of alice can be opened after prepare, in a mount
// namespace of its own; before and after, the shell sees the same namespace.
func opens(t *testing.T, c refusal, user string) (opened bool, output string) {
	t.Helper()
	// What a worker needs a broker elsewhere may have.
	write(t, "/etc/pam.d/gotmpns-test", "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_gotmpns.so socket=none\n")
	output = runIn(t, "/", "sh", "-c", c.wrapper+" sh -c '{ "+c.prepare+"; } && pamtester gotmpns-test "+user+" open_session close_session 2>&1; "+c.undo+"'")
	return strings.Contains(output, "successfully opened"), output
}

type refusal struct{ wrapper, prepare, says, undo string }

// Each is an environment in which no private directory can be made. The login is
// refused with a line that says what to do, and root gets in.
func TestRefusalsSayWhatToDo(t *testing.T) {
	cases := map[string]refusal{
		"/proc is not mounted":           {"unshare -m", "umount -l /proc", "/proc", ""},
		"/proc of another pid namespace": {"unshare -mpf", "true", "/proc", ""},
		"/run is read-only":              {"", "mount -o remount,ro /run", "read-only file system", "mount -o remount,rw /run"},
		"/tmp is missing":                {"unshare -m", "umount -l /tmp 2>/dev/null; mv /tmp /tmp.away", "there is no /tmp", ""},
		"/tmp is a symbolic link":        {"unshare -m", "umount -l /tmp 2>/dev/null; mv /tmp /tmp.away; ln -s /var/tmp /tmp", "symbolic link", ""},
		"/tmp has no sticky bit":         {"unshare -m", "chmod 0777 /tmp", "sticky bit", ""},
		"/tmp is a user's":               {"unshare -m", "chown 1234 /tmp", "it belongs to uid 1234", ""},
		"/tmp is read-only":              {"", "mount --bind /tmp /tmp; mount -o remount,bind,ro /tmp", "read-only file system", "umount /tmp"},
		"no CAP_SYS_ADMIN":               {"setpriv --bounding-set=-sys_admin", "true", "CAP_SYS_ADMIN", ""},
		"no CAP_SYS_CHROOT":              {"setpriv --bounding-set=-sys_chroot", "true", "CAP_SYS_CHROOT", ""},
		"no worker":                      {"unshare -m", "mount -t tmpfs none /usr/local/libexec", "cannot execute the worker", ""},
		"a worker that is not a program": {"unshare -m", "mount --bind /etc/hosts /usr/local/libexec/gotmpns/gotmpns-worker", "cannot execute the worker", ""},
		"no session library":             {"unshare -m", "mount --bind /etc/hosts /usr/local/libexec/gotmpns/gotmpns-session.so", "cannot load the session library", ""},
		"an unknown user":                {"unshare -m", "sed -i /^alice:/d /etc/passwd", "cannot find the user", ""},
		"a full file system":             {"", "mount -t tmpfs -o nr_inodes=1,mode=1777 none /tmp", "no space left", "umount /tmp"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(c.prepare, "mv /tmp") && strings.Contains(read(t, "/proc/self/mounts"), " /tmp ") {
				t.Skip("a directory that is a mount point elsewhere cannot be moved without harm")
			}
			beginAlone(t)
			restore(t, "/etc/passwd")
			t.Cleanup(func() { mendTmp(t) })
			j := journal.Start(t)
			if opened, out := opens(t, c, "alice"); opened {
				t.Errorf("alice's session opens: %q", out)
			}
			j.Says(t, c.says)
			mendTmp(t)
			// A program that cannot so much as tell who root is is another matter.
			if opened, out := opens(t, c, "root"); !opened {
				t.Errorf("root is refused: %q", out)
			}
		})
	}
}

// restore puts a file back when the test ends.
func restore(t *testing.T, path string) {
	t.Helper()
	replace(t, path, func(before string) string { return before })
}

func mendTmp(t *testing.T) {
	t.Helper()
	if _, err := os.Lstat("/tmp.away"); err == nil {
		_ = os.Remove("/tmp") // the link
		mustRun(t, "mv", "/tmp.away", "/tmp")
	}
	mustRun(t, "chown", "root:root", "/tmp")
	mustRun(t, "chmod", "1777", "/tmp")
}

func TestTheHostsMountFlagsHoldInside(t *testing.T) {
	beginAlone(t)
	j := journal.Start(t)
	// The namespace of pid 1 is the one that counts, so the flags are set there.
	mustRun(t, "mount", "--bind", "/tmp", "/tmp")
	defer mustRun(t, "umount", "/tmp")
	mustRun(t, "mount", "-o", "remount,bind,nosuid,nodev,noexec", "/tmp")
	got := runSu(t, "alice", "grep ' /tmp ' /proc/self/mounts | tail -n 1; cp /bin/true /tmp/true; /tmp/true 2>&1")
	for _, flag := range []string{"nosuid", "nodev", "noexec", "Permission denied"} {
		want(t, got, flag)
	}
	configure(t, "[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\n")
	got = runSu(t, "alice", "grep ' /tmp ' /proc/self/mounts | tail -n 1")
	want(t, got, "nosuid,nodev,noexec")
	_ = j
}

func TestOddNames(t *testing.T) {
	beginAlone(t)
	j := journal.Start(t)
	restore(t, "/etc/passwd")
	restore(t, "/etc/shadow")
	passwd := read(t, "/etc/passwd")
	long := strings.Repeat("x", 255)
	names := []string{"..", ".hidden", `DOMAIN\user`, "a b", long, "ünï"}
	for i, name := range names {
		passwd += name + ":x:" + strconv.Itoa(200+i) + ":100::/:/bin/sh\n"
	}
	passwd += "toor:x:0:0::/root:/bin/sh\nalias:x:1234:100::/:/bin/sh\nother:x:1234:100::/:/bin/sh\n"
	if err := os.WriteFile("/etc/passwd", []byte(passwd), 0o644); err != nil {
		t.Fatal(err)
	}
	configure(t, "exempt = []\n")
	for _, name := range append(names, "toor", "alias", "other") {
		write(t, "/opt/name", name)
		out := runIn(t, "/", "sh", "-c", `printf 'auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_gotmpns.so\n' > /etc/pam.d/gotmpns-test; pamtester gotmpns-test "$(cat /opt/name)" open_session close_session 2>&1`)
		if !strings.Contains(out, "successfully opened") {
			t.Errorf("%q: %s %q", name, out, j.Lines())
			continue
		}
		j.Says(t, name[:min(len(name), 64)], "private /tmp")
	}
	_ = os.Remove("/etc/pam.d/gotmpns-test")
	// Two names with one uid are one account: there is one instance.
	if instances := listing(t, one(t, "/tmp/gotmpns-*")); strings.Count(instances, "1234") != 2 || strings.Contains(instances, "old") {
		t.Errorf("instances are %q", instances)
	}
}

func TestAUserNamespaceOfItsOwnHasItsOwnPrivateTmp(t *testing.T) {
	beginAlone(t)
	j := journal.Start(t)
	// Root of a container without privileges: uid 0 and the users' range mapped.
	got := runIn(t, "/", "unshare", "-Um", "--map-users=0,0,65536", "--map-groups=0,0,65536", "--setuid=0", "sh", "-c",
		`mount -t tmpfs -o mode=755 run /run; mount -t tmpfs -o mode=1777 tmp /tmp; su alice -c "echo in > /tmp/note; ls /tmp; cat /tmp/host-file; sudo -u bob sh -c \"ls -A /tmp | wc -l; grep -c \\\" /tmp \\\" /proc/self/mounts\"; sudo -u alice cat /tmp/note"; ls /tmp; ls /tmp/gotmpns-*`)
	// Bob comes from alice's session: only her view is available, and still he
	// gets an instance beside hers, over the same /tmp.
	onTop := strings.Count(read(t, "/proc/self/mounts"), " /tmp ") + 2 // the container's, and bob's
	for _, part := range []string{"note\n", fmt.Sprintf("\n0\n%d\nin\n", onTop), "gotmpns-"} {
		want(t, got, part)
	}
	if strings.Count(got, ".user") != 2 {
		t.Errorf("there is not one instance each: %q, the log has %q", got, j.Lines())
	}
	mustNotExist(t, "/tmp/note")
}

func TestAChangedRootKeepsItsOwnView(t *testing.T) {
	beginAlone(t)
	j := journal.Start(t)
	// A root directory of its own that is a mount point, as schroot makes it.
	script := `mkdir -p /opt/root && mount -t tmpfs root /opt/root && ` + populate("/opt/root") + `echo inner > /opt/root/tmp/inner; ` +
		`chroot /opt/root su alice -c "cat /tmp/inner /tmp/host-file 2>&1; echo hers > /tmp/note"; ls /opt/root/tmp`
	got := runIn(t, "/", "unshare", "-m", "sh", "-c", script)
	_ = os.Remove("/opt/root")
	if strings.Contains(got, "inner\ninner") || !strings.Contains(got, "gotmpns-") || strings.Contains(got, "note") {
		t.Errorf("got %q, the log has %q", got, j.Lines())
	}
	mustNotExist(t, "/tmp/note")
}

func TestAPlainChangedRootIsRefusedAndNotHalfDone(t *testing.T) {
	beginAlone(t)
	j := journal.Start(t)
	// Not a mount point: propagation cannot be set from inside.
	script := "mkdir -p /opt/jail; " + populate("/opt/jail") +
		`chroot /opt/jail su alice -c "echo IN" 2>&1; chroot /opt/jail su root -c "echo ROOT IN"`
	got := runIn(t, "/", "unshare", "-m", "--propagation", "private", "sh", "-c", script)
	_ = os.RemoveAll("/opt/jail")
	if strings.Contains(got, "\nIN") || !strings.Contains(got, "ROOT IN") {
		t.Errorf("got %q", got)
	}
	want(t, strings.Join(j.Lines(), "\n"), "chroot")
}

// populate is a shell script that makes a root directory of parts of this one.
func populate(root string) string {
	return strings.ReplaceAll(`for d in usr etc dev proc run home var root opt; do mkdir -p ROOT/$d && mount --rbind /$d ROOT/$d || exit 1; done; `+
		`for l in bin lib lib64 sbin; do ln -sfn usr/$l ROOT/$l; done; mkdir -pm 1777 ROOT/tmp; `, "ROOT", root)
}
