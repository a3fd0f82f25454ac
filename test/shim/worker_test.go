package shim

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// CASES 12 and 28: a worker that is broken in every way there is.
func TestBrokenWorkers(t *testing.T) {
	const malformed = "the worker's reply is malformed"
	for mode, why := range map[string]string{
		"exits": "exit status 3", "crashes": "ended by signal 6", "silent": "did not answer in time", "closes": "without an answer",
		"empty": "without an answer", "short": "too short", "magic": "another version", "version": "another version", "kind": "another version",
		"status": malformed, "unknown": malformed, "request-entry": malformed, "no-nul": malformed, "two-nuls": malformed,
		"beyond": malformed, "half-entry": malformed, "oversized": "cut short", "many-entries": malformed, "record-path": malformed,
		"environment": malformed, "attach-without-namespace": malformed, "detach-without-namespace": malformed, "twice-unshare": malformed,
		"refuses-and-acts": "refuses and acts", "relative-path": malformed, "no-descriptor": malformed, "too-many": "cut short",
		"a-file": "cannot attach", "a-directory": "cannot attach", "not-there": "cannot open /nowhere",
	} {
		t.Run(mode, func(t *testing.T) {
			each(t, func(_ *testing.T, b *bench) {
				b.fake(mode)
				b.refused(why, "open")
			})
		})
	}
}

// These are odd, and harmless.
func TestOddWorkers(t *testing.T) {
	for mode, says := range map[string]string{
		"twice": "gives no reason", "leaves-a-child": "gives no reason", "lingers": "gives no reason", "control-characters": "a?b?[31m",
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

// fake makes the module use a broken worker, and wait for it one second.
func (b *bench) fake(mode string) {
	b.t.Helper()
	text, err := os.ReadFile(b.build + "/shim/fakeworker")
	if err != nil {
		b.t.Fatal(err)
	}
	path := b.conf + "/" + mode
	if err := os.WriteFile(path, text, 0o755); err != nil {
		b.t.Fatal(err)
	}
	b.service("timeout=1 worker=" + path)
}

// CASES 24: the kernel, or a filter, refuses one call. Where the worker is
// refused, it says so; where the login process is, it goes back.
func TestRefusedSystemCalls(t *testing.T) {
	calls := map[string]int{
		"unshare": unix.SYS_UNSHARE, "setns": unix.SYS_SETNS, "chroot": unix.SYS_CHROOT, "open_tree": unix.SYS_OPEN_TREE,
		"move_mount": unix.SYS_MOVE_MOUNT, "mount_setattr": unix.SYS_MOUNT_SETATTR, "openat2": unix.SYS_OPENAT2,
		"socketpair": unix.SYS_SOCKETPAIR, "clone": unix.SYS_CLONE, "execve": unix.SYS_EXECVE, "fchdir": unix.SYS_FCHDIR, "statx": unix.SYS_STATX,
	}
	for name, number := range calls {
		for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSYS} {
			t.Run(name+" "+unix.ErrnoName(errno), func(t *testing.T) {
				each(t, func(t *testing.T, b *bench) {
					b.blind = name == "clone"
					for user, status := range map[string]string{"alice": sessionErr, "root": success} {
						got := b.run(user, "start", "deny", strconv.Itoa(number), strconv.Itoa(int(errno)), "open")
						want(t, got, status)
						if strings.Contains(got, "changed: namespace") {
							t.Errorf("%s: %s", user, got)
						}
						// Root is exempt, so much of this does not concern him.
						if lines := b.journal.Lines(); len(lines) != 1 || (user == "alice" && !strings.Contains(lines[0], "cannot")) {
							t.Errorf("%s: the log has %q", user, lines)
						}
					}
				})
			})
		}
	}
}

// A second name for uid 0 with no exemption goes all the way to the commit, is
// refused there, and gets in.
func TestRootIsTakenBackAndLetInWhenTheCommitFails(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		config := b.conf + "/gotmpns.toml"
		if err := os.WriteFile(config, []byte("exempt = []\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		b.service("worker=" + b.build + "/gotmpns-worker config=" + config)
		got := b.run("root", "start", "deny", strconv.Itoa(unix.SYS_MOVE_MOUNT), strconv.Itoa(int(unix.EPERM)), "open")
		want(t, got, success)
		if strings.Contains(got, "changed: ") {
			t.Error(got)
		}
		b.journal.Says(t, "root (uid 0): going on without a private /tmp: cannot attach")
	})
}
