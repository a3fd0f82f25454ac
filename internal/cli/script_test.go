package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"gotmpns/internal/check"
	"gotmpns/internal/trial"
	"gotmpns/test/leftover"
	"gotmpns/test/process"
)

// In the disposable root, scripts run what "make install" installs there. Where
// the machine is not ours to change, this test binary plays the command.
func TestMain(m *testing.M) {
	if name := os.Getenv("LOGIN_AND_LEAVE"); name != "" {
		fmt.Fprintln(os.Stderr, loginAndLeave(name))
		os.Exit(1)
	}
	if names := os.Getenv("REFUSED_CALLS"); names != "" {
		fmt.Fprintln(os.Stderr, becomeFiltered(strings.Fields(names), os.Args[1:]))
		os.Exit(1)
	}
	if leftover.Disposable() {
		if err := install(); err != nil {
			fmt.Fprintln(os.Stderr, "cannot install into the disposable root:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	testscript.Main(m, map[string]func(){
		"gotmpns": func() { os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

func install() error {
	project, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	if out, err := exec.Command("make", "-s", "-C", project, "install").CombinedOutput(); err != nil {
		return fmt.Errorf("make install: %w: %s", err, out)
	}
	return os.Setenv("PATH", "/usr/local/bin:"+os.Getenv("PATH"))
}

// What needs nothing: run by anybody, anywhere.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: commands, Condition: condition})
}

// What logs in, mounts, or changes /etc: one after the other, and each leaves
// everything as it was.
func TestScriptsOfRoot(t *testing.T) {
	leftover.Require(t)
	scripts, err := filepath.Glob("testdata/root/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatal("there are no scripts", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txt"), func(t *testing.T) {
			leftover.Snapshot(t, leftover.Ignore("/tmp/gotmpns-*", "/tmp/*script*", "/run/gotmpns", "/run/sudo*", "/run/mount"))
			t.Cleanup(func() { asBefore(t) })
			t.Cleanup(func() {
				if len(awaited) > 0 && !t.Failed() {
					t.Errorf("advice was read and not followed: %v", awaited)
				}
				clear(awaited)
			})
			testscript.Run(t, testscript.Params{Files: []string{script}, Cmds: commands, Setup: stage})
		})
	}
}

// The same scripts by somebody without any right, who cannot even see the project.
func TestScriptsAsAPlainUser(t *testing.T) {
	leftover.Require(t)
	leftover.Snapshot(t, leftover.Ignore("/tmp/*script*"))
	const dir = "/opt/plain"
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.CopyFS(dir+"/testdata/script", os.DirFS("testdata/script")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("install", "-m", "755", os.Args[0], dir+"/cli.test").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command("setpriv", "--reuid=alice", "--regid=alice", "--clear-groups",
		"env", "-u", "GOTMPNS_DISPOSABLE", "HOME=/home/alice", "./cli.test", "-test.run=^TestScripts$", "-test.v")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestScripts/plain") {
		t.Errorf("%v: %s", err, out)
	}
}

// stage gives a script a directory that every session sees, also those with a
// private /tmp, and that everybody can write to.
func stage(env *testscript.Env) error {
	const shared = "/opt/stage"
	env.Setenv("STAGE", shared)
	env.Setenv("TEST_BINARY", os.Args[0])
	env.Setenv("GOTMPNS_PROJECT", os.Getenv("GOTMPNS_PROJECT"))
	env.Defer(func() { _ = os.RemoveAll(shared) })
	if err := os.Mkdir(shared, 0o777); err != nil {
		return err
	}
	return os.Chmod(shared, 0o777)
}

// becomeFiltered becomes the command behind a container's filter of system calls.
func becomeFiltered(names, command []string) error {
	numbers := map[string]uint32{
		"close_range": unix.SYS_CLOSE_RANGE, "openat2": unix.SYS_OPENAT2, "statx": unix.SYS_STATX, "unshare": unix.SYS_UNSHARE,
	}
	var calls []uint32
	for _, name := range names {
		calls = append(calls, numbers[name])
	}
	return process.Filtered(calls, command, append(os.Environ(), "REFUSED_CALLS="))
}

// loginAndLeave is a login program whose process becomes the user's own, as with
// systemd's PAMName=; the user then goes to a namespace of his own making.
func loginAndLeave(name string) error {
	modules, err := filepath.Glob("/usr/lib/*/security/pam_gotmpns.so")
	if err != nil || len(modules) != 1 {
		return fmt.Errorf("the module is at %v: %v", modules, err)
	}
	u, err := account(name)
	if err != nil {
		return err
	}
	request, err := requestOf(u, "", "/")
	if err != nil {
		return err
	}
	if _, err := trial.Open(name, trial.Stack{Module: modules[0]}); err != nil {
		return err
	}
	if err := errors.Join(syscall.Setgid(int(request.GID)), syscall.Setuid(int(request.UID))); err != nil {
		return err
	}
	const script = "mount --bind /etc /tmp; echo > /opt/stage/ready; timeout 20 cat /opt/stage/end"
	return syscall.Exec("/usr/bin/unshare", []string{"unshare", "-Urm", "sh", "-c", script}, os.Environ())
}

// asBefore forgets instances, and the configuration that a script wrote.
func asBefore(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"/tmp/gotmpns-*", "/run/gotmpns", "/etc/security/gotmpns.d"} {
		found, _ := filepath.Glob(pattern)
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				t.Error(err)
			}
		}
	}
}

var commands = map[string]func(*testscript.TestScript, bool, []string){
	"exits": exits, "advice": advice, "followed": followed, "hint": hint,
}

// awaited are the pieces of advice that a script has read and not yet followed, by id.
var awaited = map[string]*regexp.Regexp{}

// advice ID PATTERN [OPTION...]: "gotmpns check" with these options has a finding of that
// id with this advice, all of which the pattern describes.
func advice(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		ts.Fatalf("usage: advice ID PATTERN [OPTION...]")
	}
	id, pattern := args[0], regexp.MustCompile("^(?:"+args[1]+")$")
	found := findingsOf(ts, id, args[2:])
	if !slices.ContainsFunc(found, func(f check.Finding) bool { return pattern.MatchString(f.Advice) }) {
		ts.Fatalf("no %s with the advice %q: %+v", id, args[1], found)
	}
	if _, unfollowed := awaited[id]; unfollowed {
		ts.Fatalf("the earlier advice of %s was not followed", id)
	}
	awaited[id] = pattern
}

// followed ID [OPTION...]: the finding whose advice was read has gone.
func followed(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 1 || awaited[args[0]] == nil {
		ts.Fatalf("usage: followed ID [OPTION...], after its advice")
	}
	pattern := awaited[args[0]]
	delete(awaited, args[0])
	for _, f := range findingsOf(ts, args[0], args[1:]) {
		if pattern.MatchString(f.Advice) {
			ts.Fatalf("the advice was followed, and it still says %+v", f)
		}
	}
}

// findingsOf returns the findings of an id that are not fine. THROUGH is a command that runs
// "gotmpns", for a root that sees another host.
func findingsOf(ts *testscript.TestScript, id string, options []string) []check.Finding {
	var out struct{ Findings []check.Finding }
	words := slices.Concat(strings.Fields(ts.Getenv("THROUGH")), []string{"gotmpns", "check", "--json"}, options)
	command := exec.Command(words[0], words[1:]...)
	command.Dir = ts.Getenv("STAGE")
	text, err := command.Output()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != exitFindings) {
		ts.Fatalf("gotmpns check --json: %v", err)
	}
	ts.Check(json.Unmarshal(text, &out))
	return slices.DeleteFunc(out.Findings, func(f check.Finding) bool { return f.ID != id || f.Level == check.OK })
}

// hint TEXT COMMAND...: the command fails, and its hint has the text.
func hint(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		ts.Fatalf("usage: hint TEXT COMMAND [ARGUMENT...]")
	}
	if err := ts.Exec(args[1], args[2:]...); err == nil {
		ts.Fatalf("%s succeeds", strings.Join(args[1:], " "))
	}
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		if text, ok := strings.CutPrefix(line, "gotmpns: hint: "); ok && strings.Contains(text, args[0]) {
			return
		}
	}
	ts.Fatalf("no hint with %q: %s", args[0], ts.ReadFile("stderr"))
}

// exits STATUS COMMAND...: the command ends with just that status.
func exits(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND [ARGUMENT...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s: exit status %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("the condition %q is unknown", name)
}
