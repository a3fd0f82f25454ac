package login

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gotmpns/test/fatal"
)

// install puts the module into the disposable root as its administrator would:
// make install, and one line in each of the common-session files. A refusal is to
// be seen, so the line says "required".
func install() error {
	if booted {
		return exec.Command("sed", "-i", "s/optional\\(.*pam_gotmpns.so\\)/required\\1/",
			"/etc/pam.d/common-session", "/etc/pam.d/common-session-noninteractive").Run()
	}
	project, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	cmd := exec.Command("make", "-s", "-C", project, "install")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make install: %w: %s", err, out)
	}
	for _, name := range []string{"common-session", "common-session-noninteractive"} {
		f, err := os.OpenFile("/etc/pam.d/"+name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		fmt.Fprintln(f, "session required pam_gotmpns.so")
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// scriptFile is for programs that take a file, or that quote what they take.
// It lies outside of every target, where every session sees it.
func scriptFile(t *testing.T, script string) string {
	t.Helper()
	f, err := os.CreateTemp("/opt", "script")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "#!/bin/sh\n%s\n", script)
	if err := f.Chmod(0o755); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(f.Name()) })
	return f.Name()
}

// outFile is a file that the user can write, outside of every target.
func outFile(t *testing.T, user string) string {
	t.Helper()
	path := scriptFile(t, "")
	mustRun(t, "chown", user, path)
	return path
}

// resultFIFO is for jobs that nobody waits for: reading it waits for them.
func resultFIFO(t *testing.T, user string) string {
	t.Helper()
	path := filepath.Join("/opt", strings.ReplaceAll(t.Name(), "/", "-")+".fifo")
	_ = os.Remove(path)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "chown", user, path)
	t.Cleanup(func() { _ = os.Remove(path) })
	return path
}

func mustRun(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return strings.Join(names, " ")
}

// without leaves out the words that begin with prefix.
func without(words, prefix string) string {
	var kept []string
	for _, word := range strings.Fields(words) {
		if !strings.HasPrefix(word, prefix) {
			kept = append(kept, word)
		}
	}
	return strings.Join(kept, " ")
}

func want(t *testing.T, got, part string) {
	t.Helper()
	if !strings.Contains(got, part) {
		t.Errorf("got %q, want it to have %q", got, part)
	}
}

func mustNotExist(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); err == nil {
		t.Errorf("%s is on the host", path)
	}
}

var one = fatal.UnlessOne

// held is a session that stays open until the test ends.
type held struct {
	pid int
	end func(t *testing.T)
}

func startSession(t *testing.T, user string) held {
	t.Helper()
	ready := resultFIFO(t, user)
	cmd := exec.Command("su", user, "-c", "echo $$ > "+ready+"; exec cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	end := func(*testing.T) { once.Do(func() { _ = in.Close(); _ = cmd.Wait() }) }
	t.Cleanup(func() { end(t) })
	var pid int
	if _, err := fmt.Sscan(read(t, ready), &pid); err != nil {
		t.Fatal(err)
	}
	return held{pid, end}
}

// mounts is what the session sees.
func (h held) mounts(t *testing.T) string {
	t.Helper()
	return read(t, fmt.Sprintf("/proc/%d/mounts", h.pid))
}

func forgetBases(t *testing.T, dir string) {
	t.Helper()
	bases, err := filepath.Glob(dir + "/gotmpns-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, base := range bases {
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	}
}

func lineAfter(text, line string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines[:len(lines)-1] {
		if l == line {
			return lines[i+1]
		}
	}
	return ""
}
