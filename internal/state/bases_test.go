package state

import (
	"fmt"
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
			name, err := d.SetBase(target, fmt.Sprintf("gotmpns-%d", i))
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
		if got, err := d.SetBase("/tmp", name); got != "first" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestForgetting(t *testing.T) {
	for name, c := range map[string]struct{ recorded, stale, want string }{
		"what is recorded":          {"old", "old", ""},
		"what was replaced since":   {"new", "old", "new"},
		"where nothing is recorded": {"", "old", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := open(t)
			if c.recorded != "" {
				if _, err := d.SetBase("/tmp", c.recorded); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := d.SetBase("/var/tmp", "another"); err != nil {
				t.Fatal(err)
			}
			if err := d.ForgetBase("/tmp", c.stale); err != nil {
				t.Error(err)
			}
			if got := d.Base("/tmp"); got != c.want || d.Base("/var/tmp") != "another" {
				t.Errorf("recorded is %q, want %q; of another target, %q", got, c.want, d.Base("/var/tmp"))
			}
			for _, file := range d.names("bases") {
				if strings.HasPrefix(file, unfinished) {
					t.Errorf("%s is left", file)
				}
			}
		})
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
