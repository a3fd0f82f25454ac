package shim

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// malformed are the modes of c/test/fakeworker.c that no reply may have.
var malformed = []string{
	"status-7", "status-14", "unknown", "request-entry", "no-nul", "two-nuls", "beyond", "half-entry", "many-entries",
	"record-up", "record-root", "record-two", "record-flat", "record-user", "record-dots", "record-directory", "record-twice",
	"environment", "no-descriptor", "join-twice", "join-short", "root-beyond", "cwd-beyond",
}

// CASES 12 and 28: a worker that is broken in every way there is.
func TestBrokenWorkers(t *testing.T) {
	broken := map[string]string{}
	for _, mode := range malformed {
		broken[mode] = "the worker's reply is malformed"
	}
	for mode, why := range map[string]string{
		"exits": "without an answer", "crashes": "without an answer", "silent": "did not answer in time", "closes": "without an answer",
		"empty": "without an answer", "short": "too short", "magic": "different versions", "version": "different versions", "kind": "different versions",
		"oversized": "cut short", "too-many": "cut short", "one-too-many": "cut short",
		"refuses-and-acts": "a refusal with a step", "refuses-and-tells": "a refusal with a step",
		"refuses": "no room for this user",
	} {
		broken[mode] = why
	}
	for mode, why := range broken {
		t.Run(mode, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				b.fake(mode)
				b.refused(why, "open")
				mustHappen(t, "the worker has ended", func() bool { return len(b.workers()) == 0 })
			})
		})
	}
}

// These are odd, and harmless.
func TestOddWorkers(t *testing.T) {
	for mode, says := range map[string]string{
		"twice": "no reason given", "leaves-a-child": "no reason given", "lingers": "no reason given", "control-characters": "a?b?[31m",
	} {
		t.Run(mode, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				b.fake(mode)
				got := b.run("alice", "open")
				want(t, got, success)
				if strings.Contains(got, "changed: ") {
					t.Error(got)
				}
				b.journal.Says(t, says)
			})
		})
	}
}

// In the middle of an upgrade, this module is new and the worker is not: the next one may be.
func TestAWorkerOfAnotherVersionIsAskedAgain(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.fake("version")
		b.fake("joins")
		before := b.conf + "/before"
		worker := b.conf + "/upgraded"
		script := "#!/bin/sh -p\n[ ! -e " + before + " ] || exec " + b.conf + "/joins\n: >" + before + "\nexec " + b.conf + "/version\n"
		must(t, os.WriteFile(worker, []byte(script), 0o755))
		b.service("timeout=60 worker=" + worker)
		b.private("alice", "open")
		if _, err := os.Stat(before); err != nil {
			t.Error("the worker of the other version was not asked: the test shows nothing")
		}
	})
}

// A worker that has answered is not waited for: it is not a child of the login process.
func TestAWorkerThatLingersHoldsUpNobody(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.fakeFor("lingers", 600)
		want(t, b.run("alice", "open"), success)
		if len(b.workers()) != 1 {
			t.Error("the worker has ended: the test shows nothing")
		}
		b.journal.Lines()
	})
}

// workers are the numbers of the processes that execute a file of this test's.
func (b *bench) workers() (found []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		path, err := os.Readlink(link)
		if err == nil && strings.HasPrefix(path, b.conf+"/") {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			found = append(found, pid)
		}
	}
	return found
}

// fake makes the module use a broken worker, and wait for it one second.
func (b *bench) fake(mode string) { b.fakeFor(mode, 1) }

func (b *bench) fakeFor(mode string, seconds int) {
	b.t.Helper()
	text, err := os.ReadFile(b.build + "/shim/fakeworker")
	if err != nil {
		b.t.Fatal(err)
	}
	path := b.conf + "/" + mode
	if err := os.WriteFile(path, text, 0o755); err != nil {
		b.t.Fatal(err)
	}
	b.service("timeout=" + strconv.Itoa(seconds) + " worker=" + path)
}

// CASES 24: the kernel, or a filter, refuses one call. Where the worker is
// refused, it says so; where the login process is, it goes back.
func TestRefusedSystemCalls(t *testing.T) {
	calls := map[string]int{
		"unshare": unix.SYS_UNSHARE, "setns": unix.SYS_SETNS, "open_tree": unix.SYS_OPEN_TREE,
		"move_mount": unix.SYS_MOVE_MOUNT, "mount_setattr": unix.SYS_MOUNT_SETATTR, "openat2": unix.SYS_OPENAT2,
		"socketpair": unix.SYS_SOCKETPAIR, "clone": unix.SYS_CLONE, "execve": unix.SYS_EXECVE, "statx": unix.SYS_STATX,
		"close_range": unix.SYS_CLOSE_RANGE,
	}
	for name, number := range calls {
		for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSYS} {
			t.Run(name+" "+unix.ErrnoName(errno), func(t *testing.T) {
				each(t, func(t *testing.T, b *bench) {
					b.blind = name == "clone"
					for user, status := range map[string]string{"alice": systemErr, "root": success} {
						got := b.run(user, "start", "deny", strconv.Itoa(number), strconv.Itoa(int(errno)), "open")
						want(t, got, status)
						if strings.Contains(got, "changed: namespace") {
							t.Errorf("%s: %s", user, got)
						}
						// Root is exempt, so much of this does not concern him.
						lines := b.journal.Lines()
						if len(lines) != 1 || (user == "alice" && !strings.Contains(lines[0], "cannot")) {
							t.Errorf("%s: the log has %q", user, lines)
						}
						if user == "alice" && name != "execve" && !strings.Contains(lines[0], "filter of system calls (seccomp)") {
							t.Errorf("the log does not name the filter: %q", lines)
						}
					}
				})
			})
		}
	}
}

// In the login process alone, at each step of the commit: nothing has changed.
func TestTheCommitIsRefusedBySystemCalls(t *testing.T) {
	for _, test := range []struct {
		mode, name string
		number     int
		why        string
	}{
		{"joins", "setns", unix.SYS_SETNS, "cannot enter the user's mount namespace (setns)"},
		{"joins-with-root", "setns", unix.SYS_SETNS, "cannot return to the current mount namespace"},
		{"joins-with-root", "chroot", unix.SYS_CHROOT, "cannot return to the current root and working directory"},
		{"joins-with-root", "fchdir", unix.SYS_FCHDIR, "cannot return to the current root and working directory"},
	} {
		t.Run(test.mode+" "+test.name, func(t *testing.T) {
			each(t, func(_ *testing.T, b *bench) {
				b.fakeFor(test.mode, 5)
				b.refused(test.why, "start", "chdir", "/usr", "deny", strconv.Itoa(test.number), strconv.Itoa(int(unix.EPERM)), "open")
			})
		})
	}
}

// SELinux may deny the question what the descriptor is; setns(2) answers it as well.
func TestWithoutIoctlTheNamespaceIsEntered(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.fakeFor("joins", 5)
		got := b.run("alice", "start", "deny", strconv.Itoa(unix.SYS_IOCTL), strconv.Itoa(int(unix.EACCES)), "open")
		want(t, got, success)
		want(t, got, "changed: namespace")
		b.fakeFor("a-network", 5)
		b.journal.Lines()
		b.refused("cannot enter the user's mount namespace (setns): Invalid argument", "start", "deny", strconv.Itoa(unix.SYS_IOCTL), strconv.Itoa(int(unix.EACCES)), "open")
	})
}

// Where the working directory cannot be set, the session starts in the root directory.
func TestWithoutFchdirTheSessionStartsInTheRoot(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.fakeFor("joins", 5)
		got := b.run("alice", "start", "chdir", "/usr", "deny", strconv.Itoa(unix.SYS_FCHDIR), strconv.Itoa(int(unix.EPERM)), "open", "cwd")
		want(t, got, success)
		want(t, got, "cwd=/\n")
		want(t, strings.Join(b.journal.Lines(), "\n"), "the session starts in the root directory")
	})
}

// A second name for uid 0 with no exemption goes all the way to the commit, is
// refused there, and gets in.
func TestRootGetsInWhenTheCommitFails(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.fakeFor("a-file", 5)
		got := b.run("root", "start", "open")
		want(t, got, success)
		if strings.Contains(got, "changed: ") {
			t.Error(got)
		}
		b.journal.Says(t, "root (uid 0): continuing without a private /tmp: cannot enter the user's mount namespace")
	})
}
