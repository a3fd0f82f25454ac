package config

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gotmpns/internal/policy"
)

// A change counts from the next call on, whatever it is: also when it leaves size
// and time of modification as they were.
func TestTheCacheSeesEveryChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the files have to be root's")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "gotmpns.toml")
	var c Cache
	propagation := func() policy.Propagation {
		t.Helper()
		p, err := c.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return p.Propagation
	}
	long := time.Now().Add(-time.Hour)
	put(t, path, "propagation = \"shared\"\n")
	for i := range 3 {
		if got := propagation(); got != policy.Shared {
			t.Fatalf("call %d: %v", i, got)
		}
	}
	for i, want := range []policy.Propagation{policy.Slave, policy.Auto, policy.PropagationPrivate, policy.Slave} {
		put(t, path, "propagation = \""+string(want)+"\"\n")
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
		if got := propagation(); got != want {
			t.Errorf("change %d: got %v, want %v", i, got, want)
		}
	}
	put(t, dir+"/gotmpns.d/50.toml", "propagation = \"auto\"\n")
	if got := propagation(); got != policy.Auto {
		t.Errorf("with a drop-in: %v", got)
	}
	if err := os.Remove(dir + "/gotmpns.d/50.toml"); err != nil {
		t.Fatal(err)
	}
	if got := propagation(); got != policy.Slave {
		t.Errorf("without it again: %v", got)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Load(path); err == nil {
		t.Error("a file that others can write was taken from the cache")
	}
}

// Each file that is read has a stamp, and each of which there is none.
func TestEveryFileHasAStamp(t *testing.T) {
	dir := t.TempDir()
	l := mine()
	l.vendor = dir + "/vendor/gotmpns.toml"
	before := l.stamps(dir + "/etc/gotmpns.toml")
	for _, file := range []string{"/vendor/gotmpns.toml", "/vendor/gotmpns.d/10.toml", "/etc/gotmpns.toml", "/etc/gotmpns.d/10.toml"} {
		put(t, dir+file, "")
		after := l.stamps(dir + "/etc/gotmpns.toml")
		if slices.Equal(before, after) {
			t.Errorf("%s changes no stamp", file)
		}
		before = after
	}
}

func TestTheCacheKeepsWhatHasSettled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the files have to be root's")
	}
	path := put(t, filepath.Join(t.TempDir(), "gotmpns.toml"), "propagation = \"shared\"\n")
	var c Cache
	load := func() {
		t.Helper()
		if _, err := c.Load(path); err != nil {
			t.Fatal(err)
		}
	}
	load()
	if c.trusted {
		t.Error("a change within the same moment would not be seen")
	}
	time.Sleep(settled)
	load()
	if !c.trusted {
		t.Error("nothing is ever kept")
	}
	for what, change := range map[string]func() error{
		"a file":    func() error { return os.WriteFile(path, []byte("propagation = \"slave\"\n"), 0o644) },
		"a drop-in": func() error { put(t, filepath.Dir(path)+"/gotmpns.d/50.toml", ""); return nil },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if isUnchanged(c.seen) {
			t.Errorf("%s that changes what is kept is not noticed", what)
		}
		c.seen = loaderFor(path).stamps(path)
	}
}
