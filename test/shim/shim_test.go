// Package shim has the tests of the C part in hosts written for the purpose:
// hostile callers, broken workers, kernels that refuse. c/test has the host, the
// broken worker, and what they mean.
//
// Each test runs twice: with the shim as it is built, and under AddressSanitizer
// and UndefinedBehaviorSanitizer, leaks included.
package shim

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gotmpns/test/journal"
	"gotmpns/test/leftover"
)

const (
	success   = "open=0"
	systemErr = "open=4" // PAM_SYSTEM_ERR: sudo takes PAM_SESSION_ERR for success

	refusal = "error=This session cannot get a private /tmp. Ask your administrator; the system log has the reason.\n"
)

// bench is a PAM service with the module in it, and a host to drive it.
type bench struct {
	t       *testing.T
	build   string
	conf    string
	host    string
	journal *journal.Journal
	blind   bool // the leak checker cannot work either: it opens files and clones
}

// each runs a test with the plain and with the sanitized build.
func each(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	for _, suffix := range []string{"", "-sanitized"} {
		t.Run("build"+suffix, func(t *testing.T) {
			leftover.Require(t)
			build, err := filepath.Abs("../../build")
			if err != nil {
				t.Fatal(err)
			}
			b := &bench{t: t, build: build, host: build + "/shim/host" + suffix, journal: journal.Start(t)}
			if b.conf, err = os.MkdirTemp("/opt", "pam"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(b.conf) })
			b.service("worker=" + build + "/gotmpns-worker")
			leftover.Snapshot(t, leftover.Ignore("/tmp/gotmpns-*", "/run/gotmpns", "/run/mount"))
			// Workers that the test has made to stay end before the look at what is left.
			t.Cleanup(func() {
				for _, worker := range b.workers() {
					_ = syscall.Kill(worker, syscall.SIGKILL)
				}
			})
			test(t, b)
		})
	}
}

func (b *bench) module() string {
	if strings.HasSuffix(b.host, "-sanitized") {
		return b.build + "/shim/sanitized/pam_gotmpns.so"
	}
	return b.build + "/pam_gotmpns.so"
}

// service writes the stack: the module alone, with these arguments.
func (b *bench) service(args string) {
	b.t.Helper()
	stack := "auth required pam_permit.so\naccount required pam_permit.so\nsession required " + b.module() + " " + args + "\n"
	if err := os.WriteFile(b.conf+"/test", []byte(stack), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// run drives the host and returns what it reports.
func (b *bench) run(user string, words ...string) string {
	b.t.Helper()
	cmd := exec.Command(b.host, append([]string{b.conf, "test", user}, words...)...)
	cmd.Dir = "/"
	leaks := "1"
	if b.blind {
		leaks = "0"
	}
	cmd.Env = append(os.Environ(), "ASAN_OPTIONS=use_sigaltstack=0:detect_leaks="+leaks, "UBSAN_OPTIONS=halt_on_error=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Errorf("the host ended with %v: %s", err, out)
	}
	return string(out)
}

// private wants a session with a /tmp of its own, and nothing else changed. A working
// directory that has been removed is in no namespace but the old one.
func (b *bench) private(user string, words ...string) {
	b.t.Helper()
	got := b.run(user, append(words, "run", "ls -A /tmp | wc -l")...)
	want(b.t, got, success)
	want(b.t, got, "changed: namespace")
	for line := range strings.Lines(got) {
		if line == "changed: cwd\n" && slices.Contains(words, "deleted-cwd") {
			continue
		}
		if strings.HasPrefix(line, "changed: ") && line != "changed: namespace\n" {
			b.t.Errorf("with %q: %s", words, line)
		}
	}
	b.journal.Says(b.t, user, "private /tmp")
}

// refused wants a refusal that leaves everything as it was, with one line in the log
// that has the reason, and one for the user; root gets in, with the same line in the log.
func (b *bench) refused(why string, words ...string) {
	b.t.Helper()
	for user, status := range map[string]string{"alice": systemErr, "root": success} {
		got := b.run(user, words...)
		want(b.t, got, status)
		if strings.Contains(got, "changed: ") {
			b.t.Errorf("%s is refused and the login process is another: %s", user, got)
		}
		if strings.Contains(got, refusal) != (user == "alice") || strings.Contains(got, "info=") {
			b.t.Errorf("%s sees: %s", user, got)
		}
		b.journal.Says(b.t, user, why)
	}
}

func want(t *testing.T, got, part string) {
	t.Helper()
	if !strings.Contains(got, part) {
		t.Errorf("got %q, want it to have %q", got, part)
	}
}

func TestAnOrdinaryHost(t *testing.T) {
	each(t, func(_ *testing.T, b *bench) { b.private("alice", "open") })
}

// CASES 10: whatever a user does to a setuid program before it opens a session.
func TestHostileCallers(t *testing.T) {
	callers := map[string][]string{
		"GODEBUG":                 {"setenv", "GODEBUG", "gctrace=1,madvdontneed=x"},
		"GOMEMLIMIT":              {"setenv", "GOMEMLIMIT", "bad"},
		"GOGC":                    {"setenv", "GOGC", "x"},
		"GOTRACEBACK":             {"setenv", "GOTRACEBACK", "crash"},
		"GOMAXPROCS":              {"setenv", "GOMAXPROCS", "99999999"},
		"LD_PRELOAD":              {"setenv", "LD_PRELOAD", "/nowhere.so"},
		"LD_DEBUG":                {"setenv", "LD_DEBUG", "all"},
		"PATH":                    {"setenv", "PATH", ""},
		"a long TMPDIR":           {"setenv", "TMPDIR", strings.Repeat("x", 20000)},
		"umask 0":                 {"umask", "0"},
		"umask 0777":              {"umask", "0777"},
		"a deleted directory":     {"deleted-cwd"},
		"no standard descriptors": {"close-std"},
		"hundreds of descriptors": {"many-fds", "700"},
		"every signal ignored":    {"ignore-all"},
		"every signal blocked":    {"block-all"},
		"real ids of a user":      {"like-setuid"},
		"soft limit on files":     {"rlimit", "FSIZE", "1", "-"},
		"soft limit on the CPU":   {"rlimit", "CPU", "1", "-"},
		"no cores":                {"rlimit", "CORE", "0", "0"},
		"soft limit on processes": {"rlimit", "NPROC", "0", "-"},
		"hard limit on processes": {"rlimit", "NPROC", "0", "0"},
		"hard limit on locks":     {"rlimit", "MEMLOCK", "0", "0"},
		"soft limit on the stack": {"rlimit", "STACK", "262144", "-"},
		"hard limit on the stack": {"rlimit", "STACK", "1048576", "1048576"},
		"few descriptors":         {"rlimit", "NOFILE", "24", "24"},
	}
	for name, words := range callers {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				if name == "every signal ignored" && strings.HasSuffix(b.host, "sanitized") {
					t.Skip("the sanitizers' run-time needs signals of its own")
				}
				b.private("alice", append(words, "open")...)
				b.checkInstance()
			})
		})
	}
}

// checkInstance: ids, umask and limits of the caller leave no trace in what root makes.
func (b *bench) checkInstance() {
	b.t.Helper()
	found, err := filepath.Glob("/tmp/gotmpns-*")
	if err != nil || len(found) != 1 {
		b.t.Fatalf("bases are %v, %v", found, err)
	}
	for path, mode := range map[string]os.FileMode{
		found[0]:                os.ModeDir | 0o700,
		found[0] + "/1000":      os.ModeDir | os.ModeSticky | 0o777,
		"/run/gotmpns":          os.ModeDir | 0o700,
		"/run/gotmpns/sessions": os.ModeDir | 0o700,
	} {
		info, err := os.Lstat(path)
		if err != nil {
			b.t.Error(err)
			continue
		}
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode() != mode || st.Uid != 0 || st.Gid != 0 {
			b.t.Errorf("%s has mode %v and belongs to %d:%d", path, info.Mode(), st.Uid, st.Gid)
		}
	}
	for _, path := range append(found, "/run/gotmpns") {
		_ = os.RemoveAll(path)
	}
}

// A limit that cannot be raised without CAP_SYS_RESOURCE is named in the log. With less
// than the loader of the C library needs, its error is in the log, without the limit's name.
func TestTooLittleMemory(t *testing.T) {
	leftover.Require(t)
	for name, words := range map[string][]string{
		"RLIMIT_AS soft":   {"rlimit", "AS", "100000000", "-"},
		"RLIMIT_AS hard":   {"rlimit", "AS", "100000000", "100000000"},
		"RLIMIT_DATA soft": {"rlimit", "DATA", "8000000", "-"},
		"RLIMIT_DATA hard": {"rlimit", "DATA", "8000000", "8000000"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				limit, kind, _ := strings.Cut(name, " ")
				switch {
				case strings.HasSuffix(b.host, "sanitized"):
					t.Skip("AddressSanitizer needs terabytes of address space")
				case kind == "soft" || mayRaiseLimits():
					b.private("alice", append(words, "open")...)
				default:
					b.refused("the limit on", append(words, "open")...)
					b.service("worker=" + b.build + "/gotmpns-worker")
					b.run("alice", append(words, "open")...)
					b.journal.Says(t, limit)
				}
			})
		})
	}
}

func mayRaiseLimits() bool {
	return exec.Command("setpriv", "--bounding-set=-all,+sys_resource", "sh", "-c", "ulimit -c 0; ulimit -Hc unlimited").Run() == nil
}

// CASES 18.
func TestCloseInEveryWayDoesNoHarm(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		for _, words := range [][]string{
			{"close"}, {"close", "close"}, {"open", "close", "close"}, {"open", "fork-close"},
			{"open", "fork-close", "close"}, {"open", "drop", "close"}, {"start", "fork-close"},
		} {
			got := b.run("alice", words...)
			closes := strings.Count(strings.Join(words, " "), "close")
			if strings.Count(got, "close=0") != closes {
				t.Errorf("%q: %s", words, got)
			}
		}
	})
}

// CASES 20.
func TestAThousandSessionsInOneProcessLeaveNothing(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		times := "1000"
		if strings.HasSuffix(b.host, "sanitized") {
			times = "100"
		}
		before := countMounts(t)
		got := b.run("alice", "repeat", times)
		if strings.Contains(strings.ReplaceAll(got, "changed: namespace\n", ""), "changed") || strings.Contains(got, "failed") {
			t.Error(got)
		}
		var mounts, kib int
		if _, err := fmt.Sscanf(got[strings.Index(got, "mounts="):], "mounts=%d kib=%d", &mounts, &kib); err != nil {
			t.Fatal(err, got)
		}
		if mounts != before || (kib > 64 && times == "1000") {
			t.Errorf("pid 1 had %d mounts and has %d; the host has %d KiB more", before, mounts, kib)
		}
		b.journal.Lines()
	})
}

func countMounts(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/1/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}
