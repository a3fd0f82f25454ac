package state

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// race runs login in fifty goroutines at once, each with the directory opened by itself,
// and returns what each of them has come to.
func race(t *testing.T, path string, login func(d *Dir, i int) string) []string {
	t.Helper()
	const logins = 50
	results := make([]string, logins)
	begin := make(chan struct{})
	var wait sync.WaitGroup
	for i := range logins {
		d := another(t, path)
		wait.Add(1)
		go func() {
			defer wait.Done()
			<-begin
			results[i] = login(d, i)
		}()
	}
	close(begin)
	wait.Wait()
	return results
}

func TestFiftyLoginsAgreeOnOneBase(t *testing.T) {
	d, path := open(t)
	for round := range 20 {
		target := fmt.Sprintf("/tmp/%d", round)
		results := race(t, path, func(d *Dir, i int) string {
			name, err := d.SetBase(target, "", fmt.Sprintf("gotmpns-%d", i))
			if err != nil {
				t.Error(err)
			}
			if now := d.Base(target); now != name {
				t.Errorf("%s is used and %s recorded", name, now)
			}
			return name
		})
		for _, name := range results {
			if name == "" || name != d.Base(target) {
				t.Fatalf("%q is used by one login, %q by another", name, d.Base(target))
			}
		}
	}
	if left := d.names("bases"); len(left) != 20 {
		t.Errorf("there are %v", left)
	}
}

func TestTheFirstBaseWins(t *testing.T) {
	d, _ := open(t)
	for _, name := range []string{"first", "second", "first"} {
		if got, err := d.SetBase("/tmp", "", name); got != "first" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// What is not recorded is not in use: the caller removes it again.
func TestABaseThatCannotBeRecorded(t *testing.T) {
	d, path := open(t)
	if err := os.WriteFile(path+"/bases", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if name, err := d.SetBase("/tmp", "", "gotmpns-1"); name != "" || err == nil {
		t.Errorf("the base in use is %q, error %v", name, err)
	}
}

// A base that no longer fits has one successor, whichever login finds out, and when.
func TestFiftyLoginsAgreeOnTheSuccessorOfABase(t *testing.T) {
	d, path := open(t)
	for round := range 20 {
		target := fmt.Sprintf("/tmp/%d", round)
		if _, err := d.SetBase(target, "", "stale"); err != nil {
			t.Fatal(err)
		}
		results := race(t, path, func(d *Dir, i int) string {
			stale := ""
			if i%2 == 0 { // the others believe that there is none at all
				stale = "stale"
			}
			name, err := d.SetBase(target, stale, fmt.Sprintf("gotmpns-%d", i))
			if err != nil {
				t.Error(err)
			}
			return name
		})
		for i, name := range results {
			if used := d.Base(target); i%2 == 0 && name != used || name != used && name != "stale" {
				t.Fatalf("%q is used by login %d, and %q by the next", name, i, used)
			}
		}
	}
	if got := d.Bases(); len(got) != 20 || got["/tmp/0"] != d.Base("/tmp/0") {
		t.Errorf("there are %v", got)
	}
}

func TestWritersDoNotMix(t *testing.T) {
	_, path := open(t)
	race(t, path, func(d *Dir, i int) string {
		for range 20 {
			mark := strings.Repeat(string(rune('A'+i)), 1000)
			if err := d.SetTmpfs(Tmpfs{Target: "/tmp", UID: alice, Mark: mark}); err != nil {
				t.Error(err)
			}
			got, ok := d.Tmpfs("/tmp", alice)
			if !ok || len(got.Mark) != 1000 || strings.Trim(got.Mark, got.Mark[:1]) != "" {
				t.Errorf("half a record: %v %q", ok, got.Mark)
			}
		}
		return ""
	})
}
