package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
	"gotmpns/test/process"
)

// identity says what is open, for comparing while the first of them is kept open.
func identity(t *testing.T, f *os.File) mountfd.ID {
	t.Helper()
	info, err := mountfd.Stat(f)
	must(t, err)
	return info.ID
}

// logins asks in many goroutines at once, each with a store of its own as another login
// has it, and returns what each of them was given.
func logins(t *testing.T, dir string, owners []Owner) []*os.File {
	t.Helper()
	given := make([]*os.File, len(owners))
	begin := make(chan struct{})
	var wait sync.WaitGroup
	for i, owner := range owners {
		wait.Add(1)
		go func() { // its thread ends with it
			defer wait.Done()
			v, err := view.Enter(os.Getpid())
			if err != nil {
				t.Error(err)
				return
			}
			defer v.Close()
			<-begin
			given[i], err = login(v, dir, owner)
			if err != nil {
				t.Errorf("%+v: %v", owner, err)
			}
		}()
	}
	close(begin)
	wait.Wait()
	for _, f := range given {
		if f == nil {
			t.FailNow()
		}
		t.Cleanup(func() { _ = f.Close() })
	}
	return given
}

// login asks again where another login of the user takes longer than a login waits.
func login(v *view.View, dir string, owner Owner) (*os.File, error) {
	for {
		s, err := state.Open(v.Host.Root)
		if err != nil {
			return nil, err
		}
		target, err := OpenTarget(v.Host, dir)
		if err != nil {
			return nil, err
		}
		store := NewStore(v, s)
		f, err := store.Directory(target, policy.Private{}, owner)
		store.Close()
		err = errors.Join(err, s.Close(), target.Dir.Close())
		if !errors.Is(err, state.ErrBusy) {
			return f, err
		}
	}
}

// wantInBase compares with the names in the only base of a target.
func wantInBase(t *testing.T, dir string, want ...string) {
	t.Helper()
	names := list(t, one(t, dir+"/gotmpns-*"))
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("in the base are %q, want %q", names, want)
	}
}

func TestFiftyLoginsOfOneUserHaveOneInstance(t *testing.T) {
	dir := newTarget(t)
	given := logins(t, dir, slices.Repeat([]Owner{alice}, 50))
	for _, f := range given {
		if identity(t, f) != identity(t, given[0]) {
			t.Errorf("%s and %s are two", f.Name(), given[0].Name())
		}
	}
	wantInBase(t, dir, "1000", "1000.user")
}

func TestFiftyLoginsOfFiftyUsersHaveFiftyInstances(t *testing.T) {
	dir := newTarget(t)
	var owners []Owner
	var want []string
	for i := range 50 {
		owner := Owner{UID: uint32(2000 + i), User: fmt.Sprintf("user%d", i)}
		owners = append(owners, owner)
		want = append(want, owner.name(), owner.name()+".user")
	}
	seen := map[mountfd.ID]bool{}
	for i, f := range logins(t, dir, owners) {
		if seen[identity(t, f)] {
			t.Errorf("%s is given to two", f.Name())
		}
		seen[identity(t, f)] = true
		if uid, ok := markedFor(mountfd.Mark(f)); !ok || uid != owners[i].UID {
			t.Errorf("%s is marked for %d (%v), not for %d", f.Name(), uid, ok, owners[i].UID)
		}
	}
	wantInBase(t, dir, want...)
}

// A login of alice that was stopped in the middle delays nobody but alice, and alice only
// where something has to be made.
func TestAStoppedLoginDelaysNobodyElse(t *testing.T) {
	dir := newTarget(t)
	first(t, dir)
	const locks = "/run/gotmpns/locks"
	stopped := process.Stay(t, "exec 9<>"+locks+"/1000; flock 9")
	must(t, unix.Kill(stopped.PID, unix.SIGSTOP))

	store, target := newStore(t, dir)
	f, err := store.Directory(target, policy.Private{}, alice)
	if err != nil || store.Locked() {
		t.Errorf("alice waits although nothing has to be made: %v", err)
	}
	must(t, f.Close())
	f, err = store.Directory(target, policy.Private{}, bob)
	must(t, err)
	must(t, f.Close())
	if !store.Locked() {
		t.Error("nobody else would see that something is being made")
	}
	store.Close()

	// Alice waits once, and then makes what is missing without the lock.
	base := one(t, dir+"/gotmpns-*")
	must(t, os.Remove(base+"/1000"))
	began := time.Now()
	f, err = store.Directory(target, policy.Private{}, alice)
	if err != nil || store.Locked() || time.Since(began) < lockAtMost {
		t.Errorf("after %s, locked: %v: %v", time.Since(began), store.Locked(), err)
	}
	wantInBase(t, dir, "1000", "1000.user", "1001", "1001.user")
	stopped.End()
	must(t, f.Close(), os.Remove(base+"/1000"))
	f, err = store.Directory(target, policy.Private{}, alice)
	if err != nil || store.Locked() {
		t.Errorf("it asks for the lock a second time: %v", err)
	}
	must(t, f.Close(), os.Remove(base+"/1000"))
	store, target = newStore(t, dir)
	f, err = store.Directory(target, policy.Private{}, alice)
	must(t, err, f.Close())
	if !store.Locked() {
		t.Error("it was made without the lock")
	}
}

// Without the lock nobody can be sure that the files of somebody else are out of the way.
func TestAStoppedLoginGivesNothingAway(t *testing.T) {
	for _, was := range []string{"nobody-of-that-name", "bob"} {
		dir := newTarget(t)
		instance := first(t, dir)
		must(t, os.WriteFile(instance+"/secret", nil, 0o644), os.Remove(instance+".user"), os.Symlink(was, instance+".user"))
		stopped := process.Stay(t, "exec 9<>/run/gotmpns/locks/1000; flock 9")
		store, target := newStore(t, dir)
		if f, err := store.Directory(target, policy.Private{}, alice); !errors.Is(err, state.ErrBusy) {
			t.Errorf("the files of %q: %v, %v", was, f, err)
		}
		if _, err := os.Stat(instance + "/secret"); err != nil {
			t.Error(err)
		}
		stopped.End()
	}
}

func TestWhatALoginLeftHalfMadeIsNoInstance(t *testing.T) {
	for name, c := range map[string]struct {
		leave func(base string) error
		want  []string
	}{
		"before it had its looks": {func(b string) error { return os.Mkdir(b+"/.new-01234567", 0o700) }, []string{".new-01234567"}},
		"before it had its place": {func(b string) error {
			return errors.Join(os.Mkdir(b+"/.new-01234567", 0o700), os.Symlink("alice", b+"/1000.user"))
		}, []string{".new-01234567"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTarget(t)
			must(t, os.Remove(first(t, dir)))
			base := one(t, dir+"/gotmpns-*")
			must(t, os.Remove(base+"/1000.user"))
			must(t, c.leave(base))
			instance := first(t, dir)
			if info, err := os.Stat(instance); err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
				t.Errorf("%v, %v", info, err)
			}
			wantInBase(t, dir, append(c.want, "1000", "1000.user")...)
		})
	}
}

// A uid that was given to somebody else: the files stay out of reach.
func TestAUidThatChangesHands(t *testing.T) {
	for name, c := range map[string]struct {
		was   string // the name that the link beside the instance has
		moved bool
	}{
		"same user":                         {"alice", false},
		"a user who is gone":                {"nobody-of-that-name", true},
		"a user who has another uid by now": {"bob", true},
		"no name":                           {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTarget(t)
			instance := first(t, dir)
			must(t, os.WriteFile(instance+"/secret", []byte("x"), 0o644), os.Remove(instance+".user"))
			if c.was != "" {
				must(t, os.Symlink(c.was, instance+".user"))
			}
			store, target := newStore(t, dir)
			existing, err := store.Existing(target, "", alice)
			if err != nil || (existing == nil) != c.moved {
				t.Errorf("before: %v, %v", existing, err)
			}
			if existing != nil {
				existing.Close()
			}
			f, err := store.Directory(target, policy.Private{}, alice)
			must(t, err)
			defer f.Close()
			_, err = os.Stat(instance + "/secret")
			if c.moved != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file of the one before: %v", err)
			}
			if link, err := os.Readlink(instance + ".user"); link != "alice" {
				t.Errorf("it is made for %q, %v", link, err)
			}
			aside := slices.DeleteFunc(list(t, path.Dir(instance)), func(name string) bool { return !strings.HasPrefix(name, "1000.old-") })
			if !c.moved {
				if len(aside)+len(store.Remarks) != 0 {
					t.Errorf("aside are %q, remarks are %q", aside, store.Remarks)
				}
				return
			}
			if len(aside) != 1 || len(store.Remarks) != 1 || !strings.Contains(store.Remarks[0], aside[0]) {
				t.Fatalf("aside are %q, remarks are %q", aside, store.Remarks)
			}
			if _, err := os.Stat(path.Dir(instance) + "/" + aside[0] + "/secret"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestASessionOfItsOwnHasAnInstanceOfItsOwn(t *testing.T) {
	dir := newTarget(t)
	first(t, dir)
	store, target := newStore(t, dir)
	seen := map[mountfd.ID]bool{}
	for _, session := range []string{"1000/7-8-aaaaaaaa", "1000/7-8-bbbbbbbb", "1000/7-8-aaaaaaaa", ""} {
		f, err := store.Directory(target, policy.Private{}, Owner{UID: 1000, User: "alice", Session: session})
		must(t, err)
		defer f.Close()
		seen[identity(t, f)] = true
	}
	if len(seen) != 3 {
		t.Errorf("there are %d", len(seen))
	}
	wantInBase(t, dir, "1000", "1000.user", "1000.7-8-aaaaaaaa", "1000.7-8-aaaaaaaa.user", "1000.7-8-bbbbbbbb", "1000.7-8-bbbbbbbb.user")
}

func TestLookingForAnInstanceMakesNone(t *testing.T) {
	dir := newTarget(t)
	store, target := newStore(t, dir)
	for _, want := range []int{0, 1} { // without a base and with one
		if f, err := store.Existing(target, "", bob); f != nil || err != nil {
			t.Errorf("%v, %v", f, err)
		}
		if f, err := store.Existing(target, dir+"-base", bob); f != nil || err != nil {
			t.Errorf("in a base that is named: %v, %v", f, err)
		}
		if entries := list(t, dir); len(entries) != want {
			t.Errorf("it has made %q", entries)
		}
		first(t, dir)
	}
	wantInBase(t, dir, "1000", "1000.user")
	if _, err := os.Stat(dir + "-base"); err == nil {
		t.Error("it has made a base")
	}
}
