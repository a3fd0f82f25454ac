package shim

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gotmpns/test/await"
)

// libexec is a directory with the real launcher and a session library of the tests'.
func (b *bench) libexec(library string) string {
	b.t.Helper()
	files := map[string]string{"gotmpns-worker": b.build + "/gotmpns-worker"}
	if library != "" {
		files["gotmpns-session.so"] = library
	}
	for name, from := range files {
		text, err := os.ReadFile(from)
		must(b.t, err)
		must(b.t, os.WriteFile(b.conf+"/"+name, text, 0o755))
	}
	return b.conf + "/gotmpns-worker"
}

// What the launcher cannot do, it says to the login process itself.
func TestTheLauncherRefusesWithAReason(t *testing.T) {
	for name, test := range map[string]struct {
		library, why string
		words        []string
	}{
		"no library":      {"", "cannot load the session library: /opt/", []string{"open"}},
		"another library": {"/shim/libnss_test.so.2", "undefined symbol: gotmpns_session_serve", []string{"open"}},
		"not a library":   {"/place", "cannot load the session library: /opt/", []string{"open"}},
		"no setresuid":    {"/shim/joins/gotmpns-session.so", "the worker cannot become root", []string{"start", "deny", strconv.Itoa(unix.SYS_SETRESUID), "1", "open"}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(_ *testing.T, b *bench) {
				library := test.library
				if library != "" {
					library = b.build + library
				}
				b.service("worker=" + b.libexec(library))
				b.refused(test.why, test.words...)
			})
		})
	}
}

// CASES 77: where the C library is older than the one that the worker was built with, or the worker
// cannot be loaded for another reason, there is no launcher yet that could say so.
func TestTheLoadersErrorIsLogged(t *testing.T) {
	for name, test := range map[string]struct{ old, new, why string }{
		"an old C library":  {"GLIBC_2.34", "GLIBC_9.34", "the worker cannot start: /lib/.*: version `GLIBC_9.34' not found .*; the C library of this system is too old for this build"},
		"a missing library": {"libc.so.6", "libc.so.9", "the worker cannot start: error while loading shared libraries: libc.so.9: cannot open .*; is the installation complete"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				worker := b.libexec("")
				text, err := os.ReadFile(worker)
				must(t, err)
				if !bytes.Contains(text, []byte(test.old)) {
					t.Skipf("the worker does not need %s on this system", test.old)
				}
				must(t, os.WriteFile(worker, bytes.ReplaceAll(text, []byte(test.old), []byte(test.new)), 0o755))
				b.service("worker=" + worker)
				got := b.run("alice", "open")
				want(t, got, systemErr)
				lines := b.journal.Lines()
				if len(lines) != 1 || !regexp.MustCompile(test.why).MatchString(lines[0]) {
					t.Errorf("the log has %q", lines)
				}
			})
		})
	}
}

func TestTheLauncherLoadsTheLibrary(t *testing.T) {
	each(t, func(_ *testing.T, b *bench) {
		b.service("worker=" + b.libexec(b.build+"/shim/joins/gotmpns-session.so"))
		b.private("alice", "open")
	})
}

// A worker that is busy with whatever ends when the login process closes its end of
// the socket, or dies: the worker is no child of anybody who would end it.
func TestTheWorkerEndsWithItsCaller(t *testing.T) {
	for _, end := range []string{"timeout", "SIGKILL"} {
		t.Run(end, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				worker := b.libexec(b.build + "/shim/silent/gotmpns-session.so")
				b.service("timeout=5 worker=" + worker)
				cmd := exec.Command(b.host, b.conf, "test", "alice", "open")
				cmd.Dir, cmd.Env = "/", append(os.Environ(), "ASAN_OPTIONS=use_sigaltstack=0")
				must(t, cmd.Start())
				var pid int
				mustHappen(t, "the worker has loaded the library", func() bool {
					for _, pid = range b.workers() {
						maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
						return strings.Contains(string(maps), "/gotmpns-session.so")
					}
					return false
				})
				// As the kernel does for a message, and perhaps late.
				must(t, syscall.Kill(pid, syscall.SIGIO))
				mustHappen(t, "SIGIO has been delivered", func() bool {
					status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
					return !strings.Contains(string(status), "ShdPnd:\t0000000010000000")
				})
				if !slices.Contains(b.workers(), pid) {
					t.Error("a message ends the worker")
				}
				if end == "SIGKILL" {
					must(t, cmd.Process.Signal(syscall.SIGKILL))
				}
				_ = cmd.Wait()
				mustHappen(t, "the worker has ended", func() bool { return !exists("/proc/" + strconv.Itoa(pid)) })
				b.journal.Lines()
			})
		})
	}
}

// Nice and scheduling class of the caller are not the worker's.
func TestTheWorkerHasAnOrdinaryPriority(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.service("timeout=60 worker=" + b.libexec(b.build+"/shim/silent/gotmpns-session.so"))
		cmd := exec.Command("nice", "-n", "19", "chrt", "--idle", "0", "ionice", "-c", "3", b.host, b.conf, "test", "alice", "open")
		cmd.Dir, cmd.Env = "/", append(os.Environ(), "ASAN_OPTIONS=use_sigaltstack=0")
		must(t, cmd.Start())
		want := "TS  0"
		var got string
		mustHappen(t, "the worker has priority "+want, func() bool {
			out, _ := exec.Command("sh", "-c", "ps -o cls=,ni= -p $(pgrep -f -x gotmpns-worker)").Output()
			got = strings.Join(strings.Fields(string(out)), "  ")
			return got == want
		})
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		b.journal.Lines()
	})
}

// mustHappen waits for what has to happen soon.
func mustHappen(t *testing.T, what string, happened func() bool) {
	t.Helper()
	must(t, await.Until(func() error {
		if !happened() {
			return fmt.Errorf("never: %s", what)
		}
		return nil
	}))
}
