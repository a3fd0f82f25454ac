// Package leftover makes tests tell what they leave behind: mounts, processes,
// descriptors and files.
//
// It is for tests that run inside the disposable root (test/root/enter), where
// nothing else goes on: what is there after a test and was not before, the test
// has left.
package leftover

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a process may take to end after whoever waited for it
// has gone on: sshd's children and cron's do that.
const patience = 5 * time.Second

// Disposable says whether this process runs as root inside the disposable root.
func Disposable() bool { return os.Getenv("GOTMPNS_DISPOSABLE") != "" && os.Geteuid() == 0 }

// Require skips a test elsewhere.
func Require(t testing.TB) {
	t.Helper()
	if !Disposable() {
		t.Skip(`this mounts and logs in, so it needs root and a disposable root: run "make test"`)
	}
}

// Option changes what counts.
type Option func(*watch)

// Ignore leaves out files that match a pattern of path.Match, with all below them.
func Ignore(patterns ...string) Option {
	return func(w *watch) { w.ignore = append(w.ignore, patterns...) }
}

type watch struct{ ignore []string }

// Snapshot takes down what there is now; when the test ends, what there is more
// of is an error.
func Snapshot(t testing.TB, options ...Option) {
	t.Helper()
	var w watch
	for _, option := range options {
		option(&w)
	}
	before := w.take()
	t.Cleanup(func() {
		t.Helper()
		for _, line := range w.wait(before) {
			t.Errorf("left behind: %s", line)
		}
	})
}

// wait gives processes time to end, and returns what is left then.
func (w watch) wait(before []string) []string {
	until := time.Now().Add(patience)
	for {
		left := More(before, w.take())
		if len(left) == 0 || time.Now().After(until) {
			return left
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// More returns what is in after and not in before.
func More(before, after []string) []string {
	return slices.DeleteFunc(after, func(line string) bool { return slices.Contains(before, line) })
}

func (w watch) take() []string {
	lines := mounts()
	lines = append(lines, processes()...)
	lines = append(lines, descriptors()...)
	for _, dir := range []string{"/tmp", "/run", "/var/tmp", "/dev/shm", "/home"} {
		lines = append(lines, w.files(dir)...)
	}
	return lines
}

func mounts() []string {
	var lines []string
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		// Without the ids of mount and parent, and of the peer group.
		if words := strings.Fields(scanner.Text()); len(words) > 5 {
			lines = append(lines, "mount "+strings.Join(words[2:6], " "))
		}
	}
	return lines
}

func processes() []string {
	var lines []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		command, err := os.ReadFile(dir + "/cmdline")
		if err != nil {
			continue
		}
		text := strings.ReplaceAll(strings.TrimRight(string(command), "\x00"), "\x00", " ")
		lines = append(lines, fmt.Sprintf("process %s %s", path.Base(dir), text))
	}
	return lines
}

// descriptors of this process, but for those by which it looks.
func descriptors() []string {
	var lines []string
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, entry := range entries {
		target, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err == nil && !strings.HasPrefix(target, "/proc/") && !strings.HasPrefix(target, "anon_inode:") {
			lines = append(lines, "descriptor "+entry.Name()+" "+target)
		}
	}
	return lines
}

func (w watch) files(dir string) []string {
	var lines []string
	_ = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile: nothing left
		}
		for _, pattern := range w.ignore {
			if matched, _ := path.Match(pattern, name); matched {
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
		}
		lines = append(lines, "file "+name)
		return nil
	})
	return lines
}
