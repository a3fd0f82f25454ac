package instance

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// inside is an instance of a target of its own, by its path and open.
func inside(t *testing.T) (string, *os.File) {
	t.Helper()
	path := first(t, newTarget(t))
	root, err := mountfd.Root()
	if err != nil {
		t.Fatal(err)
	}
	f, err := mountfd.OpenDir(root, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); root.Close() })
	return path, f
}

func point(t *testing.T, f *os.File, path string, directory bool) {
	t.Helper()
	if _, err := MountPoint(f, path, directory); err != nil {
		t.Fatal(err)
	}
}

// tree lists what is below a directory, without what keeps placeholders.
func tree(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("find", dir, "-mindepth", "1", "!", "-name", keeper, "-printf", "%P%y ").Output()
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(out))
	slices.Sort(words)
	return strings.Join(words, " ")
}

func wantTree(t *testing.T, dir, want string) {
	t.Helper()
	if got := tree(t, dir); got != want {
		t.Errorf("the instance has %q, and not %q", got, want)
	}
}

// systemd-tmpfiles removes neither a file with the sticky bit nor a directory with
// something in it.
func TestThePlaceholdersAreSparedByTheAgeBasedCleaner(t *testing.T) {
	path, f := inside(t)
	point(t, f, "directory", true)
	point(t, f, "file", false)
	// Those of versions that did not know this are completed.
	if err := os.Mkdir(path+"/old", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"/older", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	point(t, f, "old", true)
	point(t, f, "older", false)
	for _, name := range []string{"file", "older", "directory/" + keeper, "old/" + keeper} {
		var st unix.Stat_t
		if err := unix.Lstat(path+"/"+name, &st); err != nil || st.Mode&unix.S_ISVTX == 0 || st.Uid != 0 {
			t.Errorf("%s: mode %o, %v", name, st.Mode, err)
		}
	}
}

func TestAPlaceholderOfTheOtherTypeIsReplaced(t *testing.T) {
	path, f := inside(t)
	for _, directory := range []bool{true, false, true} {
		point(t, f, "deep/name", directory)
	}
	wantTree(t, path, "deep/named deepd")
	// But not what has something in it, or is a user's.
	if err := os.WriteFile(path+"/deep/name/mine", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"/users", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path+"/users", 1000, 1000); err != nil {
		t.Fatal(err)
	}
	for name, directory := range map[string]bool{"deep/name": false, "users": true} {
		if _, err := MountPoint(f, name, directory); err == nil {
			t.Errorf("%s was replaced", name)
		}
	}
	wantTree(t, path, "deep/name/minef deep/named deepd usersf")
}

// alone says that no other session of the user is open.
func alone() bool { return true }

func TestPlaceholdersOfAnotherSessionStay(t *testing.T) {
	path, f := inside(t)
	point(t, f, "kept", true)
	RemoveStale(f, []string{"kept"}, []string{"missing"}, func() bool {
		t.Error("it is asked for other sessions where nothing can be removed")
		return true
	})
	for _, wanted := range [][]string{nil, {"kept"}} {
		if err := os.MkdirAll(path+"/unrecorded", 0o755); err != nil {
			t.Fatal(err)
		}
		RemoveStale(f, wanted, []string{"unrecorded"}, func() bool { return false })
		wantTree(t, path, "keptd unrecordedd")
	}
}

func TestPlaceholdersThatAreNotNeededAreRemoved(t *testing.T) {
	path, f := inside(t)
	point(t, f, "kept", true)
	point(t, f, "file", false)
	point(t, f, "a/b/c", true)
	if err := os.Mkdir(path+"/unrecorded", 0o755); err != nil {
		t.Fatal(err)
	}
	RemoveStale(f, []string{"kept"}, []string{"unrecorded", "never/there"}, alone)
	wantTree(t, path, "keptd")
	RemoveStale(f, nil, nil, alone)
	wantTree(t, path, "")
}

// What a user has made, or root by hand, is not ours to remove.
func TestNothingElseIsRemoved(t *testing.T) {
	path, f := inside(t)
	for _, name := range []string{"users", "full", "written", "linked", "taken"} {
		point(t, f, name, name == "users" || name == "full")
	}
	for _, do := range []error{
		os.Chown(path+"/users", 1000, 1000),
		os.WriteFile(path+"/full/file", nil, 0o600),
		os.WriteFile(path+"/written", []byte("x"), 0o600),
		os.Link(path+"/linked", path+"/second"),
		os.Remove(path + "/taken"),
		os.Symlink("/etc", path+"/taken"),
		os.WriteFile(path+"/roots", nil, 0o644),
	} {
		if do != nil {
			t.Fatal(do)
		}
	}
	before := tree(t, path)
	RemoveStale(f, nil, []string{"roots", "taken/passwd", "../1000.user"}, alone)
	wantTree(t, path, before)
}

// Where the instance is the user's own, the user can exchange what root has just made in
// it with a link to anything.
func TestAMountPointThatIsExchangedLeadsRootNowhere(t *testing.T) {
	path, f := inside(t)
	victim := t.TempDir() + "/victim"
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done, exchanges := make(chan struct{}), make(chan int)
	go func() {
		count := 0
		defer func() { exchanges <- count }()
		for {
			select {
			case <-done:
				return
			default:
			}
			if unix.Renameat2(int(f.Fd()), "link", int(f.Fd()), "socket", unix.RENAME_EXCHANGE) == nil {
				count++
			}
		}
	}()
	for range 2000 {
		_ = os.Symlink(victim, path+"/link")
		_, _ = MountPoint(f, "socket", true) // refused or not
		_ = os.RemoveAll(path + "/socket")
		_ = os.RemoveAll(path + "/link")
	}
	close(done)
	if n := <-exchanges; n == 0 {
		t.Skip("nothing was exchanged in time: there is one processor for both")
	}
	if info, err := os.Stat(victim); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("root has changed the mode of another file to %v (%v)", info.Mode(), err)
	}
}
