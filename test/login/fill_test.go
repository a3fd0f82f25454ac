package login

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotmpns/test/journal"
)

// onCreate makes a program of root's, and returns the lines of a table for it.
func onCreate(t *testing.T, script string) string {
	t.Helper()
	write(t, "/usr/local/sbin/prepare", "#!/bin/sh\n"+script+"\n")
	mustRun(t, "chmod", "755", "/usr/local/sbin/prepare")
	return "on_create = \"/usr/local/sbin/prepare\"\n"
}

var kinds = []string{"directory", "tmpfs"}

func tableOf(kind string) string {
	return "[[private]]\ntarget = \"/tmp\"\nkind = \"" + kind + "\"\n"
}

func TestASkeletonIsCopiedIntoANewInstance(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			begin(t)
			mustRun(t, "sh", "-ec", `mkdir -m 755 /opt/skel; cd /opt/skel; mkdir -m 750 dir; echo text > dir/file; chmod 640 dir/file
				ln -s dir/file link; echo s > setuid; chmod 4755 setuid; echo b > bobs; chown bob:bob bobs`)
			t.Cleanup(func() { _ = os.RemoveAll("/opt/skel") })
			configure(t, tableOf(kind)+"skeleton = \"/opt/skel\"\n")
			hold := startSession(t, "alice") // a tmpfs lives as long
			const list = `cd /tmp && find . -mindepth 1 ! -name '.*unix' -printf '%p %M %u:%g %l\n' | sort; cat link`
			want(t, runSu(t, "alice", list), "./bobs -rw-r--r-- bob:bob \n./dir drwxr-x--- alice:alice \n"+
				"./dir/file -rw-r----- alice:alice \n./link lrwxrwxrwx alice:alice dir/file\n./setuid -rwxr-xr-x alice:alice \ntext\n")
			runSu(t, "alice", "echo mine > /tmp/dir/file; rm /tmp/link")
			want(t, runSu(t, "alice", "cat /tmp/dir/file; ls /tmp/link 2>&1"), "mine\nls: cannot access '/tmp/link'")
			hold.end(t)
		})
	}
}

func TestAProgramRunsForANewInstanceAndNoOther(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			begin(t)
			// What it says about itself is in the instance, by three ways to reach it.
			key := onCreate(t, `echo "$@" > "$GOTMPNS_TARGET/arguments"; env | sort > "$2/environment"
				id -u > /proc/self/fd/4/uid; ls /proc/self/fd/3/host-file > $1/target; umask > $1/umask
				ls -l /proc/$$/fd 2> /dev/null | wc -l > $1/descriptors; echo >> /opt/runs; chown alice $1/*; mount -t tmpfs none /mnt; : > /mnt/here`)
			t.Cleanup(func() { _ = os.Remove("/opt/runs") })
			configure(t, tableOf(kind)+key)
			hold := startSession(t, "alice")
			got := runSu(t, "alice", "cd /tmp; cat arguments environment uid target umask")
			want(t, got, "/tmp /proc/self/fd/4 1 alice\n")
			want(t, got, "GOTMPNS_GID=1000\nGOTMPNS_INSTANCE=/proc/self/fd/4\nGOTMPNS_TARGET=/tmp\nGOTMPNS_UID=1000\nGOTMPNS_USER=alice\n")
			want(t, got, "\n0\n/proc/self/fd/3/host-file\n0022\n")
			mustNotExist(t, "/mnt/here") // what it mounts is its own
			runSu(t, "alice", "rm /tmp/*")
			want(t, runSu(t, "alice", "ls /tmp | wc -l"), "0\n")
			if runs := read(t, "/opt/runs"); runs != "\n" {
				t.Errorf("it has run %d times", len(runs))
			}
			hold.end(t)
		})
	}
}

// A program that fails, in whatever way, refuses the login and nothing else: what it
// started is gone, the host is as it was, and the next login is the first again.
func TestAProgramThatMisbehaves(t *testing.T) {
	for name, c := range map[string]struct{ script, says string }{
		"it fails":                     {"echo why it failed >&2; exit 3", "prepare failed: exit status 3: why it failed"},
		"it is killed":                 {"kill -9 $$", "prepare failed: exit status 127: killed by signal 9"},
		"it kills all that it can":     {"kill -9 -1; exit 1", "exit status 1"},
		"it hangs":                     {"trap '' TERM HUP INT; while :; do sleep 1; done", "did not end within 4s and was killed"},
		"it leaves a process":          {"setsid sh -c 'trap \"\" TERM HUP; echo $$ > /opt/left; exec sleep 1000' & while ! [ -s /opt/left ]; do :; done; exit 1", "exit status 1"},
		"it forks until it is killed":  {"f() { setsid sleep 1000 & }; for i in $(seq 200); do f; done; sleep 1000", "did not end within 4s"},
		"it writes to each descriptor": {"for fd in 0 1 2 3 4 5 6 7 8 9; do eval \"echo x >&$fd\" 2>/dev/null; done; yes >&2 & yes", "did not end within 4s"},
		"it changes the mode":          {"chmod 700 /tmp", "mode"},
		"it removes the instance":      {"cd /; rm -rf /tmp; rmdir /proc/self/fd/4/. ; exit 1", "exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			beginAlone(t)
			t.Cleanup(func() { _ = os.Remove("/opt/left") })
			j := journal.Start(t)
			configure(t, tableOf("directory")+onCreate(t, c.script))
			if got := runSu(t, "alice", "echo opened"); strings.Contains(got, "opened") {
				t.Errorf("the login is not refused: %q", got)
			}
			j.Says(t, c.says)
			if out, err := exec.Command("pgrep", "-x", "sleep|yes").Output(); err == nil {
				t.Errorf("its processes live on: %s", out)
			}
			want(t, read(t, "/tmp/host-file"), "the host's")
			if found, _ := filepath.Glob("/tmp/gotmpns-*/1000*"); len(found) > 0 {
				t.Errorf("the instance is in place: %v", found)
			}
			want(t, runSu(t, "root", "echo opened"), "opened")
			configure(t, tableOf("directory")+onCreate(t, ": > /tmp/prepared"))
			want(t, runSu(t, "alice", "ls /tmp"), "prepared")
		})
	}
}

// While it runs, another login of the user waits a second and is refused; other users
// do not wait.
func TestAProgramThatRunsKeepsNobodyElse(t *testing.T) {
	beginAlone(t)
	mustRun(t, "mkfifo", "/opt/begun", "/opt/go-on")
	t.Cleanup(func() { _ = os.Remove("/opt/begun"); _ = os.Remove("/opt/go-on") })
	j := journal.Start(t)
	configure(t, tableOf("directory")+onCreate(t, `[ "$4" = alice ] || exit 0; echo > /opt/begun; read x < /opt/go-on`))
	first := make(chan string)
	go func() { first <- runSu(t, "alice", "echo opened") }()
	read(t, "/opt/begun")
	want(t, runSu(t, "bob", "echo opened"), "opened")
	j.Says(t, "bob (uid 1001): private /tmp")
	if got := runSu(t, "alice", "echo opened"); strings.Contains(got, "opened") {
		t.Errorf("the second login is not refused: %q", got)
	}
	j.Says(t, "another login of this user has not finished")
	mustRun(t, "sh", "-c", "echo > /opt/go-on")
	want(t, <-first, "opened")
}

// With a timeout that is shorter than the program's, the login ends first, and the program
// with it.
func TestAProgramEndsWithItsLogin(t *testing.T) {
	beginAlone(t)
	configure(t, tableOf("directory")+onCreate(t, "setsid sleep 1000 & sleep 1000"))
	write(t, "/etc/pam.d/gotmpns-test", "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_gotmpns.so timeout=1\n")
	began := time.Now()
	got := runIn(t, "/", "pamtester", "gotmpns-test", "alice", "open_session", "close_session")
	if strings.Contains(got, "successfully opened") {
		t.Errorf("got %q after %v", got, time.Since(began))
	}
	settle(t, func() error {
		if out, err := exec.Command("pgrep", "-x", "sleep").Output(); err == nil {
			return fmt.Errorf("its processes live on: %s", out)
		}
		return nil
	})
}

// Nothing is run or copied that others than root can change.
func TestWhatOthersCanChangeIsNotUsed(t *testing.T) {
	for name, prepare := range map[string]string{
		"a program of a user's":              "chown alice /usr/local/sbin/prepare",
		"a program that others can write to": "chmod 777 /usr/local/sbin/prepare",
		"a link":                             "mv /usr/local/sbin/prepare /opt/prepare; ln -s /opt/prepare /usr/local/sbin/prepare",
		"a program that is not executable":   "chmod 644 /usr/local/sbin/prepare",
		"in a directory of a user's":         "chown alice /usr/local/sbin",
	} {
		t.Run(name, func(t *testing.T) {
			beginAlone(t)
			key := onCreate(t, ": > /opt/has-run")
			t.Cleanup(func() {
				mustRun(t, "chown", "root", "/usr/local/sbin")
				_ = os.Remove("/opt/prepare")
				_ = os.Remove("/opt/has-run")
			})
			mustRun(t, "sh", "-ec", prepare)
			configure(t, tableOf("directory")+key)
			if got := runSu(t, "alice", "echo opened"); strings.Contains(got, "opened") {
				t.Errorf("the login is not refused: %q", got)
			}
			mustNotExist(t, "/opt/has-run")
		})
	}
	t.Run("a skeleton of a user's", func(t *testing.T) {
		beginAlone(t)
		mustRun(t, "install", "-d", "-o", "alice", "/opt/skel")
		t.Cleanup(func() { _ = os.RemoveAll("/opt/skel") })
		configure(t, tableOf("directory")+"skeleton = \"/opt/skel\"\n")
		if got := runSu(t, "alice", "echo opened"); strings.Contains(got, "opened") {
			t.Errorf("the login is not refused: %q", got)
		}
	})
}
