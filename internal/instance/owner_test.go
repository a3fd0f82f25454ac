package instance

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
	"gotmpns/test/fatal"
)

var must = fatal.If

// mountOn makes path and mounts something on it for as long as the test runs.
func mountOn(t *testing.T, source, path, kind string, flags uintptr) {
	t.Helper()
	must(t, os.MkdirAll(path, 0o755), unix.Mount(source, path, kind, flags, ""))
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

func setMark(t *testing.T, path, mark string) {
	t.Helper()
	dir, err := os.Open(path)
	must(t, err)
	defer dir.Close()
	if marked, err := mountfd.SetMark(dir, mark); !marked || err != nil {
		t.Fatal(marked, err)
	}
}

func TestForWhomAMarkIs(t *testing.T) {
	for mark, want := range map[string]int64{
		"1000 0123456789abcdef": 1000, "0 x": 0, "4294967295 x": 4294967295, "1000": 1000,
		"": -1, " ": -1, " 1000": -1, "alice x": -1, "-1 x": -1, "+1 x": -1, "4294967296 x": -1, "1000x": -1, "1e3 x": -1, "1000\n x": -1,
	} {
		uid, ok := markedFor(mark)
		if ok != (want >= 0) || ok && int64(uid) != want {
			t.Errorf("%q: %d, %v; want %d", mark, uid, ok, want)
		}
	}
	for _, owner := range []Owner{alice, {UID: 0}, {UID: 1<<32 - 1, User: "x"}, {UID: 1000, Session: "1000/1-2-3"}} {
		mark, another := owner.mark(), owner.mark()
		if uid, ok := markedFor(mark); !ok || uid != owner.UID || mark == another {
			t.Errorf("%+v: %d, %v; %q, %q", owner, uid, ok, mark, another)
		}
	}
}

func TestNamesOfInstances(t *testing.T) {
	for name, want := range map[string]int64{
		"1000": 1000, "1000.7-8-9": 1000, "1000.old-0123": 1000, "0": 0,
		"1000.user": -1, "1000.7-8-9.user": -1, ".new-0123": -1, ".gone-0123": -1, "alice": -1, "": -1, "-1": -1, "4294967296": -1,
	} {
		if uid, ok := uidOf(name); ok != (want >= 0) || ok && int64(uid) != want {
			t.Errorf("%q: %d, %v", name, uid, ok)
		}
	}
	for _, owner := range []Owner{alice, {UID: 1000, Session: "1000/7-8-9"}} {
		if uid, ok := uidOf(owner.name()); !ok || uid != 1000 || strings.Contains(owner.name(), "/") {
			t.Errorf("%+v: %q is of %d, %v", owner, owner.name(), uid, ok)
		}
	}
}

// nobody is what a table expects where a mount is no instance.
const nobody = -1

// Whose instance something is that is mounted; the instance of alice is in its base, and
// there is one of bob's beside it.
func TestWhoseAMountedInstanceIs(t *testing.T) {
	for name, c := range map[string]struct {
		kind    string                                       // of the target's file system; empty: the root's own
		prepare func(t *testing.T, instance string) string   // returns what is mounted; nil: the instance
		after   func(t *testing.T, instance, mounted string) // when it is mounted
		want    int64
	}{
		"as it was made":          {want: 1000},
		"its directory removed":   {after: remove, want: 1000},
		"its base removed":        {after: removeBase, want: 1000},
		"its base forgotten":      {after: forgetBases, want: 1000},
		"set aside":               {after: rename("1000.old-01234567"), want: 1000},
		"another in its place":    {after: replace, want: 1000},
		"a directory in it":       {prepare: below, want: nobody},
		"its base":                {prepare: parent, want: nobody},
		"a directory of the host": {prepare: another, want: nobody},
		"a user's copy, in name":  {prepare: copied, want: nobody},
		"a file system in it":     {after: covered, want: nobody},

		"a mark that is none":          {prepare: mark("x"), want: 1000},
		"a mark of another":            {prepare: mark("1001 0123456789abcdef"), want: 1001},
		"of 0.1":                       {prepare: unmarked, want: 1000},
		"of 0.1, set aside":            {prepare: unmarked, after: rename("1000.old-01234567"), want: 1000},
		"of 0.1, another in its place": {prepare: unmarked, after: replace, want: nobody},
		"of 0.1, removed":              {prepare: unmarked, after: remove, want: nobody},
		"of 0.1, its base removed":     {prepare: unmarked, after: removeBase, want: 1000}, // as a container has it
		"of 0.1, renamed to no uid":    {prepare: unmarked, after: rename("alice"), want: nobody},

		"without room for a mark":                       {kind: "ramfs", want: 1000},
		"without room for a mark, another in its place": {kind: "ramfs", after: replace, want: nobody},
		"without room for a mark, a user's copy":        {kind: "ramfs", prepare: copied, want: nobody},
		"on a tmpfs":                                    {kind: "tmpfs", want: 1000},
		"on a tmpfs, its base removed":                  {kind: "tmpfs", after: removeBase, want: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTarget(t)
			if c.kind != "" {
				mountOn(t, c.kind, dir, c.kind, 0)
				chmod(t, dir, os.ModeSticky|0o777)
			}
			instance := first(t, dir)
			other, target := newStore(t, dir)
			bobs, err := other.Directory(target, policy.Private{}, bob)
			must(t, err)
			bobs.Close()
			other.Close()

			mounted := dir + "/.mounted"
			source := instance
			if c.prepare != nil {
				source = c.prepare(t, instance)
			}
			mountOn(t, source, mounted, "", unix.MS_BIND)
			if c.after != nil {
				c.after(t, instance, mounted)
			}

			store, target := newStore(t, dir)
			place, err := store.view.Host.Open(mounted)
			must(t, err)
			defer place.Close()
			uid, found := store.OwnerOf(store.view.Host, place, target, "")
			if found != (c.want >= 0) || found && int64(uid) != c.want {
				t.Errorf("it is %d's, %v; want %d", uid, found, c.want)
			}
		})
	}
}

// Whose instances a mount table shows, wherever they are and whatever lies over them.
func TestWhoseInstancesATableShows(t *testing.T) {
	for name, c := range map[string]struct {
		tmpfs bool
		after func(t *testing.T, instance, mounted string)
		want  []uint32
	}{
		"none":                       {want: nil, after: func(t *testing.T, _, mounted string) { must(t, unix.Unmount(mounted, 0)) }},
		"a directory":                {want: []uint32{1000}},
		"one that was removed":       {want: []uint32{1000}, after: remove},
		"one whose base was removed": {want: []uint32{1000}, after: removeBase},
		"one that was set aside":     {want: []uint32{1000}, after: rename("1000.old-01234567")},
		"one below something else":   {want: []uint32{1000}, after: covered},
		"a tmpfs":                    {tmpfs: true, want: []uint32{1001}},
		"a tmpfs below another":      {tmpfs: true, want: []uint32{NoUID}, after: covered},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTarget(t)
			instance, mounted := first(t, dir), dir+"/.mounted"
			store, target := newStore(t, dir)
			if c.tmpfs {
				must(t, os.Mkdir(mounted, 0o700))
				place, err := store.view.Host.Open(mounted)
				must(t, err)
				mount := newTmpfs(t, store, target, bob)
				must(t, mountfd.Attach(mount, place), mount.Close(), place.Close())
				t.Cleanup(func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) })
			} else {
				mountOn(t, instance, mounted, "", unix.MS_BIND)
			}
			if c.after != nil {
				c.after(t, instance, mounted)
			}
			owners, err := InTable(store.view.Host)
			if err != nil || !slices.Equal(owners, c.want) {
				t.Errorf("%v, %v; want %v", owners, err, c.want)
			}
		})
	}
}

// What can come before the mount.

func below(t *testing.T, instance string) string {
	must(t, os.Mkdir(instance+"/1000", 0o777))
	return instance + "/1000"
}

func parent(_ *testing.T, instance string) string { return path.Dir(instance) }

// another is a directory of the target, which the host has.
func another(t *testing.T, instance string) string {
	directory := path.Dir(path.Dir(instance)) + "/1000"
	must(t, os.Mkdir(directory, 0o777))
	return directory
}

// copied is what a user can make who knows what ours are called.
func copied(t *testing.T, instance string) string {
	directory := another(t, instance) + "/" + path.Base(path.Dir(instance)) + "/1000"
	must(t, os.MkdirAll(directory, 0o777))
	return directory
}

func mark(text string) func(t *testing.T, instance string) string {
	return func(t *testing.T, instance string) string {
		setMark(t, instance, text)
		return instance
	}
}

func unmarked(t *testing.T, instance string) string {
	must(t, unix.Removexattr(instance, "trusted.gotmpns"))
	return instance
}

// And after it.

func remove(t *testing.T, instance, _ string) { must(t, os.Remove(instance)) }

func removeBase(t *testing.T, instance, _ string) { must(t, os.RemoveAll(path.Dir(instance))) }

func forgetBases(t *testing.T, _, _ string) { must(t, os.RemoveAll("/run/gotmpns/bases")) }

func rename(to string) func(t *testing.T, instance, mounted string) {
	return func(t *testing.T, instance, _ string) { must(t, os.Rename(instance, path.Dir(instance)+"/"+to)) }
}

// replace removes the instance as a cleaner does, and makes another: whose inode it may
// have is up to the file system, but not as long as the first is mounted.
func replace(t *testing.T, instance, _ string) {
	must(t, os.Remove(instance), os.Mkdir(instance, 0o777))
	chmod(t, instance, os.ModeSticky|0o777)
}

// covered mounts something on top that bears no mark.
func covered(t *testing.T, _, mounted string) { mountOn(t, "tmpfs", mounted, "tmpfs", 0) }
