package counters

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCountersOutliveTheirProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counters")
	c := Open(path)
	c.Login(300 * time.Microsecond)
	c.Login(time.Millisecond) // the bound belongs to its bucket
	c.Login(time.Minute)
	c.Refusal("target")
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	c = Open(path)
	c.Refusal("target")
	c.Refusal("system")
	c.HandedOver()
	c.Removed()
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	want := Values{
		Logins: 3, HandedOver: 1, Removed: 1, Seconds: 60.0013, Refusals: map[string]uint64{Target: 2, System: 1, Configuration: 0, Process: 0, Internal: 0},
		Buckets: []uint64{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestAFileThatIsNoneIsBegunAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counters")
	if v, err := Read(path); err != nil || v.Logins != 0 || len(v.Buckets) != len(Bounds)+1 {
		t.Errorf("%+v, %v", v, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil {
		t.Error("half a file passes for one")
	}
	c := Open(path)
	c.Login(time.Second)
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	if v, err := Read(path); err != nil || v.Logins != 1 {
		t.Errorf("%+v, %v", v, err)
	}
}

// Nothing is written while nothing happens.
func TestSavingNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counters")
	if err := Open(path).Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("there is a file: %v", err)
	}
}
