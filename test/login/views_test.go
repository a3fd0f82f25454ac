package login

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gotmpns/test/process"
)

// What a long-lived namespace sees of the host, what is seen of it, and which namespaces
// are nobody's to join.

// A namespace that is joined shows the host's mounts as a new one would.
func TestTheHostsMountsComeAndGoInAJoinedNamespace(t *testing.T) {
	beginJoining(t)
	mustRun(t, "mkdir", "-p", "/opt/late")
	t.Cleanup(func() { _ = os.Remove("/opt/late") })
	first := startShell(t, "alice")
	see := func(want string) {
		t.Helper()
		const look = "grep -c ' /opt/late ' /proc/self/mounts; cat /opt/late/note 2>&1; (: > /opt/late/made) 2>&1"
		second := runSu(t, "alice", printNamespace+"; "+look)
		if namespaceIn(t, second) != first.namespace(t) {
			t.Errorf("the second session has not joined: %q", second)
		}
		for session, got := range map[string]string{"first": first.run(t, look), "second": second} {
			if !strings.Contains(got, want) {
				t.Errorf("the %s session sees %q, want %q", session, got, want)
			}
		}
	}
	see("0\ncat: /opt/late/note: No such file")
	mustRun(t, "mount", "-t", "tmpfs", "-o", "mode=1777", "late", "/opt/late")
	defer func() { _ = exec.Command("umount", "-l", "/opt/late").Run() }()
	write(t, "/opt/late/note", "mounted later\n")
	see("1\nmounted later")
	mustRun(t, "mount", "-o", "remount,ro", "/opt/late") // of the file system
	see("Read-only file system")
	mustRun(t, "mount", "-o", "remount,rw", "/opt/late")
	mustRun(t, "umount", "/opt/late")
	see("0\ncat: /opt/late/note: No such file")
}

func TestSystemAutomountsWorkInAJoinedNamespace(t *testing.T) {
	beginSystem(t)
	if _, err := os.Stat("/dev/autofs"); err != nil {
		t.Skip("there is no /dev/autofs here")
	}
	if !rootIsShared(t) {
		t.Skip("nothing is joined here: / is not shared")
	}
	first := startShell(t, "alice")
	// Its kind is not asked of the kernel before somebody comes.
	mustRun(t, "systemd-mount", "--quiet", "--automount=yes", "--timeout-idle-sec=300", "-t", "tmpfs", "-o", "mode=1777", "late", "/mnt/auto")
	t.Cleanup(func() { mustRun(t, "systemd-umount", "/mnt/auto"); _ = os.Remove("/mnt/auto") })
	want(t, first.run(t, "timeout 20 touch /mnt/auto/note && stat -fc %T /mnt/auto"), "tmpfs")
	want(t, read(t, "/proc/1/mounts"), "late /mnt/auto tmpfs")
	want(t, runSu(t, "alice", printNamespace+"; ls /mnt/auto"), first.namespace(t)+"\nnote")
}

// A session that joins stays in the directory that its caller is in.
func TestTheWorkingDirectoryStaysWhereTheUsersNamespaceHasIt(t *testing.T) {
	beginJoining(t)
	first := startShell(t, "alice")
	made := first.namespace(t)
	for _, dir := range []string{"/usr/share", "/home/alice", "/proc/self"} {
		got := runIn(t, dir, "su", "alice", "-c", "pwd -P; "+printNamespace)
		if dir != "/proc/self" {
			want(t, got, dir+"\n")
		}
		want(t, got, made)
	}
	carol := startShell(t, "carol")
	want(t, carol.run(t, "cd /usr/share; sudo -u alice sh -c 'pwd -P; "+printNamespace+"'"), "/usr/share\n"+made)
	// Below a target it is moved to the target.
	mustRun(t, "mkdir", "-p", "/tmp/dir/inner")
	t.Cleanup(func() { _ = os.RemoveAll("/tmp/dir") })
	want(t, runIn(t, "/tmp/dir/inner", "su", "alice", "-c", "pwd -P; "+printNamespace), "/tmp\n"+made)
	want(t, carol.run(t, "mkdir -p /tmp/hers; cd /tmp/hers; sudo -u alice sh -c 'pwd -P; "+printNamespace+"'"), "/tmp\n"+made)
	// Another directory at that path is not the same.
	mustRun(t, "mkdir", "-p", "/opt/over/hosts")
	t.Cleanup(func() { _ = os.RemoveAll("/opt/over") })
	if !tmpIsMountPoint(t) { // otherwise the host sees it, too
		first.run(t, "sudo mount -t tmpfs over /opt/over; sudo mkdir /opt/over/hers")
		got := runIn(t, "/opt/over", "su", "alice", "-c", "ls; "+printNamespace+"; "+looks)
		want(t, got, "hosts\n")
		want(t, got, seesNone)
		if strings.Contains(got, made) {
			t.Errorf("it has joined: %q", got)
		}
	}
	// Elsewhere the session gets a namespace of its own, and stays.
	script := "mount -t tmpfs own /mnt; mkdir /mnt/dir; cd /mnt/dir; su alice -c 'pwd -P; " + printNamespace + "; " + looks + "'"
	got := runIn(t, "/", "unshare", "--mount", "--propagation", "private", "sh", "-c", script)
	want(t, got, "/mnt/dir\n")
	want(t, got, seesNone)
	if strings.Contains(got, made) {
		t.Errorf("it has joined: %q", got)
	}
}

// A service that opens a session keeps its sandbox, also while the user has sessions.
func TestSystemASandboxOfAServiceStays(t *testing.T) {
	beginSystem(t)
	asUser(t, "alice", "echo hers > /tmp/note")
	first := startShell(t, "alice")
	for setting, c := range map[string]struct{ script, want string }{
		"ProtectSystem=strict":           {"touch /usr/new 2>&1; touch /opt/new 2>&1", "touch: cannot touch '/opt/new': Read-only file system"},
		"ProtectSystem=full":             {"grep ' /etc ' /proc/self/mountinfo | grep -c ' ro,'", "1"},
		"ProtectHome=yes":                {"ls -A /home/alice 2>&1; ls -A /home | wc -l", "0\n"},
		"ProtectHome=tmpfs":              {"ls -A /home | wc -l", "0\n"},
		"PrivateDevices=yes":             {"ls -d /dev/fuse 2>&1", "No such file"},
		"ReadOnlyPaths=/opt":             {"grep ' /opt ' /proc/self/mountinfo | grep -c ' ro,'", "1"},
		"InaccessiblePaths=/usr/share":   {"ls /usr/share 2>&1", "ermission denied"},
		"TemporaryFileSystem=/usr/share": {"ls -A /usr/share | wc -l", "0\n"},
		"ProtectKernelTunables=yes":      {"grep ' /proc/sys ' /proc/self/mountinfo | grep -c ' ro,'", "1"},
	} {
		t.Run(setting, func(t *testing.T) {
			got := runIn(t, "/", "systemd-run", "--quiet", "--wait", "--pipe", "-p", "User=alice", "-p", "PAMName=login",
				"-p", setting, scriptFile(t, c.script+"; "+looks+"; "+printNamespace))
			want(t, got, c.want)
			want(t, got, "hers\n"+seesNone)
			if strings.Contains(got, first.namespace(t)) {
				t.Errorf("it has joined the sessions: %q", got)
			}
		})
	}
	if rootIsShared(t) { // without a sandbox it joins
		want(t, runPAMName(t, "alice", printNamespace), first.namespace(t))
	}
}

// A FUSE mount that a service of the user manager makes, as portal and gvfs do, is in
// each of the user's sessions, and in nobody else's.
func TestSystemAMountOfAUserServiceIsInEachSession(t *testing.T) {
	beginSystem(t)
	if !rootIsShared(t) {
		t.Skip("nothing is joined here: / is not shared")
	}
	awaitManager(t, "alice")
	before := startShell(t, "alice")
	t.Cleanup(func() { _ = os.RemoveAll("/home/alice/src"); _ = os.RemoveAll("/home/alice/doc") })
	for _, dir := range []string{"/home/alice/doc", "/run/user/1000/doc", "/tmp/doc"} {
		t.Run(dir, func(t *testing.T) {
			look := "cat " + dir + "/file 2>&1"
			got := asUser(t, "alice", "mkdir -p ~/src "+dir+"; echo of the service > ~/src/file; "+
				"systemd-run --user --quiet --wait -p Type=forking -p RemainAfterExit=no true; "+
				"systemd-run --user --quiet --unit=doc-test -p Type=forking bindfs --no-allow-other ~/src "+dir+
				"; for i in $(seq 100); do test -e "+dir+"/file && break; sleep .1; done; "+look)
			want(t, got, "of the service")
			want(t, before.run(t, look), "of the service")
			want(t, runSu(t, "alice", look), "of the service")
			want(t, asUser(t, "alice", "systemd-run --user --quiet --wait --pipe sh -c '"+look+"'"), "of the service")
			if got := runSu(t, "bob", look); strings.Contains(got, "of the service") {
				t.Errorf("bob sees %q", got)
			}
			asUser(t, "alice", "systemctl --user stop doc-test; fusermount3 -u -z "+dir+" 2>/dev/null || fusermount -u -z "+dir+" 2>/dev/null; true")
		})
	}
}

// awaitManager waits for a session that has a runtime directory. logind gives none to one
// that begins while it is busy with the end of the user's sessions of the test before.
func awaitManager(t *testing.T, user string) {
	t.Helper()
	settle(t, func() error {
		if got := asUser(t, user, "echo ${XDG_RUNTIME_DIR:-none}; test -S $XDG_RUNTIME_DIR/bus && echo bus"); !strings.Contains(got, "bus") {
			return fmt.Errorf("a session of %s has the runtime directory %s", user, got)
		}
		return nil
	})
}

// A sandbox or container that was started in a session sees what the session mounts later.
func TestASandboxInASessionSeesLaterMounts(t *testing.T) {
	beginJoining(t)
	t.Cleanup(func() { _ = os.RemoveAll("/home/alice/src"); _ = os.RemoveAll("/home/alice/late") })
	// What a container engine asks for, which warns where it is not so.
	for _, dir := range []string{"/", "/tmp"} {
		want(t, runSu(t, "alice", "findmnt -no PROPAGATION "+dir+" | tail -n 1"), "shared")
	}
	for name, sandbox := range map[string]string{
		"unshare":            "unshare -Urm --propagation slave",
		"unshare, unchanged": "unshare -Urm --propagation unchanged",
		"bwrap":              "bwrap --dev-bind / /",
	} {
		if _, err := exec.LookPath("bwrap"); err != nil && name == "bwrap" {
			continue
		}
		for _, dir := range []string{"/home/alice/late", "/tmp/late"} {
			t.Run(name+" "+dir, func(t *testing.T) {
				alice := startShell(t, "alice")
				alice.run(t, "mkdir -p ~/src "+dir+"; echo later > ~/src/file; rm -f ~/src/go ~/src/seen; mkfifo ~/src/go")
				alice.run(t, "("+sandbox+" sh -c 'read line < ~/src/go; cat "+dir+"/file > ~/src/seen 2>&1; echo end > ~/src/go') > ~/src/said 2>&1 &")
				alice.run(t, "bindfs --no-allow-other ~/src "+dir+"; echo go > ~/src/go; read line < ~/src/go")
				want(t, alice.run(t, "cat ~/src/seen ~/src/said"), "later")
				alice.run(t, "fusermount3 -u -z "+dir+" || fusermount -u -z "+dir)
			})
		}
	}
}

// A login process that was killed, and another process with its pid in a namespace that
// somebody has prepared: nobody joins that.
func TestNobodyJoinsByAPidThatWasGivenOutAgain(t *testing.T) {
	for name, trap := range map[string]string{
		"another /tmp":            "mount -t tmpfs -o mode=1777 trap /tmp; echo trap > /tmp/note",
		"the same /tmp, and more": "mount --bind /tmp/gotmpns-*/1000 /tmp; mount -t tmpfs trap /mnt",
	} {
		t.Run(name, func(t *testing.T) {
			beginAlone(t)
			if !rootIsShared(t) {
				t.Skip("nothing is joined here: / is not shared")
			}
			alice := startShell(t, "alice")
			pid := alice.cmd.Process.Pid
			alice.kill()
			another := process.Again(t, pid)
			mustRun(t, "nsenter", "-t", fmt.Sprint(another.PID), "-m", "sh", "-ec", trap)
			got := runSu(t, "alice", printNamespace+"; "+looks)
			if namespaceIn(t, got) == namespaceOf(t, another.PID) {
				t.Errorf("alice is in the namespace of another process: %q", got)
			}
			want(t, got, "No such file or directory\n"+seesNone)
		})
	}
}

// What a user prepares in user namespaces, by FUSE or by signals does not come into
// another session, not even of the same user.
func TestWhatAUserPreparesIsJoinedByNobody(t *testing.T) {
	const (
		another   = "setsid unshare -Urm sh -c 'mount -t tmpfs trap /tmp; echo trap > /tmp/note; sleep 1000' > /dev/null 2>&1 &"
		isThere   = "pgrep -u alice -x -f 'sleep 1000'" // the last that it does
		isMounted = "mountpoint -q /tmp/.X11-unix"
	)
	for name, c := range map[string]struct{ prepare, ready string }{
		"another /tmp in a user namespace": {another, isThere},
		"FUSE over a directory in /tmp":    {"mkdir -p /tmp/.X11-unix ~/src; echo trap > ~/src/X0; bindfs --no-allow-other ~/src /tmp/.X11-unix", isMounted},
		"her shell killed":                 {another + " until " + isThere + "; do sleep .01; done; kill -KILL $$", isThere},
	} {
		t.Run(name, func(t *testing.T) {
			beginJoining(t)
			t.Cleanup(func() { _ = os.RemoveAll("/home/alice/src") })
			alice := startShell(t, "alice")
			t.Cleanup(func() {
				_ = exec.Command("pkill", "-KILL", "-u", "alice", "-x", "sleep").Run()
				_ = exec.Command("pkill", "-KILL", "-u", "alice", "-x", "bindfs").Run()
			})
			other := startShell(t, "alice")
			t.Cleanup(func() {
				other.run(t, "fusermount3 -u -z /tmp/.X11-unix || fusermount -u -z /tmp/.X11-unix")
				other.end()
			})
			if _, err := fmt.Fprintln(alice.in, c.prepare); err != nil {
				t.Fatal(err)
			}
			settle(t, func() error {
				if !strings.HasSuffix(other.run(t, c.ready+" > /dev/null && echo ready"), "ready\n") {
					return errors.New("the trap is not there")
				}
				return nil
			})
			if strings.Contains(c.prepare, "kill -KILL $$") {
				_, _ = io.Copy(io.Discard, alice.out) // until it has ended
			}
			for user, got := range map[string]string{
				"alice": runSu(t, "alice", looks),
				"bob":   runSu(t, "bob", looks+"; cat /tmp/.X11-unix/X0 2>&1"),
			} {
				if strings.Contains(got, "trap") || !strings.Contains(got, "No such file or directory\n"+seesNone) {
					t.Errorf("%s sees %q", user, got)
				}
			}
		})
	}
}

// A service's own namespace, a chroot and a container are no session: what logs in there
// has their view, also while the user has sessions on the host.
func TestALoginInAnotherViewDoesNotJoin(t *testing.T) {
	beginJoining(t)
	first := startShell(t, "alice")
	made := first.namespace(t)
	t.Cleanup(func() { _ = os.RemoveAll("/opt/root") })
	for name, script := range map[string]string{
		"a mount namespace of its own": "mount -t tmpfs own /mnt; echo own > /mnt/own; su alice -c 'cat /mnt/own; " + printNamespace + "; " + looks + "'",
		"a chroot": "mkdir -p /opt/root; mount -t tmpfs root /opt/root; " + populate("/opt/root") +
			"echo own > /opt/root/tmp/../own; chroot /opt/root su alice -c 'cat /own; " + printNamespace + "; " + looks + "'",
	} {
		got := runIn(t, "/", "unshare", "--mount", "sh", "-c", script)
		want(t, got, "own\n")
		want(t, got, seesNone)
		if strings.Contains(got, made) {
			t.Errorf("%s: it has joined a session on the host: %q", name, got)
		}
	}
}
