package leftover

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A check that cannot fail is worse than none: each kind of thing is left
// behind once, and has to be seen.
func TestWhatIsLeftBehindIsSeen(t *testing.T) {
	Require(t)
	cases := map[string]func(t *testing.T) (clean func()){
		"mount": func(t *testing.T) func() {
			dir := t.TempDir()
			if err := unix.Mount("left", dir, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			return func() { _ = unix.Unmount(dir, 0) }
		},
		"process": func(t *testing.T) func() {
			cmd := exec.Command("sleep", "1000")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
		},
		"descriptor": func(t *testing.T) func() {
			f, err := os.Open("/etc/hostname")
			if err != nil {
				t.Fatal(err)
			}
			return func() { _ = f.Close() }
		},
		"file": func(t *testing.T) func() {
			if err := os.WriteFile("/tmp/left", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return func() { _ = os.Remove("/tmp/left") }
		},
	}
	for what, leave := range cases {
		t.Run(what, func(t *testing.T) {
			var w watch
			before := w.take()
			clean := leave(t)
			left := More(before, w.take())
			clean()
			if len(left) == 0 || !strings.HasPrefix(strings.Join(left, "\n"), what) {
				t.Errorf("left a %s, and seen is %q", what, left)
			}
		})
	}
}

func TestIgnoredFilesDoNotCount(t *testing.T) {
	w := watch{ignore: []string{t.TempDir() + "/a*"}}
	dir := strings.TrimSuffix(w.ignore[0], "/a*")
	for _, name := range []string{"/apple", "/banana"} {
		if err := os.WriteFile(dir+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(w.files(dir), " "); strings.Contains(got, "apple") || !strings.Contains(got, "banana") {
		t.Errorf("files are %q", got)
	}
}
