package instance

import (
	"slices"
	"strings"
	"testing"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
)

// Each level or context of a user has an instance, and a shared one is that of all users
// in it.
func TestInstancesByContext(t *testing.T) {
	dir := newTarget(t)
	long := "user_u:object_r:user_tmp_t:s0:" + strings.Repeat("c1,", 200)
	inode := map[string]mountfd.ID{}
	for name, owner := range map[string]Owner{
		"alice":                  alice,
		"alice at s0":            {UID: 1000, User: "alice", At: "s0"},
		"alice at s2:c1,c3":      {UID: 1000, User: "alice", At: "s2:c1,c3"},
		"alice in a long one":    {UID: 1000, User: "alice", At: long + "c5"},
		"alice in another":       {UID: 1000, User: "alice", At: long + "c6"},
		"bob at s0":              {UID: 1001, User: "bob", At: "s0"},
		"alice, shared at s0":    {UID: 1000, User: "alice", At: "s0", Shared: true},
		"bob, shared at s0":      {UID: 1001, User: "bob", At: "s0", Shared: true},
		"bob, shared at s1":      {UID: 1001, User: "bob", At: "s1", Shared: true},
		"alice at s0 once again": {UID: 1000, User: "alice", At: "s0"},
	} {
		store, target := newStore(t, dir)
		f, err := store.Directory(target, policy.Private{}, owner)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		info, err := mountfd.Stat(f)
		f.Close()
		store.Close()
		if err != nil {
			t.Fatal(err)
		}
		inode[name] = info.ID
	}
	same := map[string]string{"alice at s0 once again": "alice at s0", "bob, shared at s0": "alice, shared at s0"}
	for one := range inode {
		for other := range inode {
			want := one == other || same[one] == other || same[other] == one
			if got := inode[one] == inode[other]; got != want {
				t.Errorf("%s and %s: the same is %v, want %v", one, other, got, want)
			}
		}
	}
}

// The clean-up takes none of them for a session's, and none that is shared for a user's.
func TestTheCleanUpKnowsInstancesByContext(t *testing.T) {
	dir := newTarget(t)
	store, target := newStore(t, dir)
	for _, owner := range []Owner{alice, {UID: 1000, User: "alice", At: "s0:c1.c5"}, {UID: 1000, User: "alice", At: "s0", Shared: true}} {
		f, err := store.Directory(target, policy.Private{}, owner)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	other, _ := newStore(t, dir)
	f, err := other.Directory(target, policy.Private{}, Owner{UID: 1001, User: "bob", At: "s0"})
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	base, err := store.OpenBase(target, "")
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	names := func(entries []Entry, err error) []string {
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, e := range entries {
			if e.Kind != InUse || e.Session != "" {
				t.Errorf("%s: kind %d, session %q", e.Name(), e.Kind, e.Session)
			}
			all = append(all, e.Name())
		}
		slices.Sort(all)
		return all
	}
	if got := names(base.Entries()); !slices.Equal(got, []string{"1000", "1000.at-s0:c1.c5", "1001.at-s0"}) {
		t.Errorf("all: %v", got)
	}
	if got := names(base.OfContexts(map[uint32]bool{1000: true})); !slices.Equal(got, []string{"1000", "1000.at-s0:c1.c5"}) {
		t.Errorf("alice's: %v", got)
	}
	if got := names(base.OfSessions(map[uint32]bool{1000: true})); len(got) > 0 {
		t.Errorf("of sessions: %v", got)
	}
}
