package instance

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
	"gotmpns/internal/view"
	"gotmpns/test/await"
	"gotmpns/test/process"
)

const tableHere = "/proc/thread-self/mountinfo"

// newTmpfs makes the tmpfs of a user, detached.
func newTmpfs(t *testing.T, s *Store, target Target, owner Owner) *os.File {
	t.Helper()
	mount, err := s.NewTmpfs(target, policy.Private{}, owner)
	must(t, err)
	return mount
}

// namespaceWith makes a namespace in which a mount is at the target, as a session has it.
func namespaceWith(t *testing.T, s *Store, target Target, mount *os.File) *os.File {
	t.Helper()
	n, err := s.view.FromHost(func(tree mountfd.Tree) error {
		must(t, mountfd.SetPropagation(tree.Root, unix.MS_PRIVATE, true))
		place, err := tree.Open(target.Path)
		must(t, err)
		defer place.Close()
		return mountfd.Attach(mount, place)
	})
	must(t, err)
	t.Cleanup(func() { _ = n.Close() })
	return n.File
}

// reusing makes tmpfs for an owner until one has the identity of one that is gone.
func reusing(t *testing.T, s *Store, target Target, owner Owner, gone mountfd.ID) *os.File {
	t.Helper()
	// The kernel gives the smallest number that is free, as soon as it has forgotten.
	var mount *os.File
	must(t, await.Until(func() error {
		mount = newTmpfs(t, s, target, owner)
		if identity(t, mount) == gone {
			return nil
		}
		return errors.Join(mount.Close(), fmt.Errorf("the number %#x is not reused", gone.Device))
	}))
	t.Cleanup(func() { _ = mount.Close() })
	return mount
}

// Bob comes and goes, alice comes, bob comes again: alice's tmpfs has the device number
// and the inode that bob's had, and bob must not get it.
func TestATmpfsWithTheNumberOfAnotherIsNotTheOther(t *testing.T) {
	dir := newTarget(t)
	store, target := newStore(t, dir)
	bobs := newTmpfs(t, store, target, bob)
	gone := identity(t, bobs)
	must(t, bobs.Close())
	alices := reusing(t, store, target, alice, gone)
	namespace := namespaceWith(t, store, target, alices)

	for _, c := range []struct {
		owner Owner
		found bool
	}{{bob, false}, {alice, true}} {
		mark, err := store.TmpfsMark(dir, c.owner)
		if mark == "" || err != nil {
			t.Fatalf("%s: the record says %q, %v", c.owner.User, mark, err)
		}
		clone, err := store.CloneTmpfs(namespace, tableHere, target, policy.Options{}, mark)
		if err != nil || (clone != nil) != c.found {
			t.Errorf("%s gets %v, %v", c.owner.User, clone, err)
		}
		if clone != nil {
			if identity(t, clone) != identity(t, alices) || clone == alices {
				t.Errorf("%s gets another: %v", c.owner.User, identity(t, clone))
			}
			clone.Close()
		}
	}
	if !isHome(t, store.view) {
		t.Error("the thread is not where it was")
	}
}

// Whose it is, is the same question about a mount.
func TestATmpfsBearsItsOwner(t *testing.T) {
	dir := newTarget(t)
	store, target := newStore(t, dir)
	mounted := dir + "/.mounted"
	bobs := newTmpfs(t, store, target, bob)
	gone := identity(t, bobs)
	must(t, bobs.Close())
	must(t, os.Mkdir(mounted, 0o755))
	place, err := store.view.Host.Open(mounted)
	must(t, err)
	must(t, mountfd.Attach(reusing(t, store, target, alice, gone), place), place.Close())
	t.Cleanup(func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) })

	place, err = store.view.Host.Open(mounted)
	must(t, err)
	defer place.Close()
	if uid, found := store.OwnerOf(store.view.Host, place, target, ""); !found || uid != alice.UID {
		t.Errorf("it is %d's, %v", uid, found)
	}
}

func isHome(t *testing.T, v *view.View) bool {
	t.Helper()
	host, err := os.Stat("/proc/1/ns/mnt")
	must(t, err)
	here, err := os.Stat("/proc/thread-self/ns/mnt")
	must(t, err)
	return v.OfInit && os.SameFile(host, here)
}

func TestATmpfsIsLookedForOnlyWhereItIs(t *testing.T) {
	dir := newTarget(t)
	store, target := newStore(t, dir)
	mount := newTmpfs(t, store, target, alice)
	defer mount.Close()
	mark, err := store.TmpfsMark(dir, alice)
	must(t, err)
	empty, err := store.view.FromHost(func(mountfd.Tree) error { return nil })
	must(t, err)
	defer empty.Close()
	with := namespaceWith(t, store, target, mount)
	gone := target
	gone.Path = dir + "/gone"
	for name, c := range map[string]struct {
		namespace *os.File
		target    Target
		mark      string
		found     bool
	}{
		"there it is":                 {with, target, mark, true},
		"another mark":                {with, target, mark + "0", false},
		"a namespace without it":      {empty.File, target, mark, false},
		"a path that there is not":    {with, gone, mark, false},
		"a directory that has none":   {with, Target{Path: "/opt"}, mark, false},
		"a file":                      {with, Target{Path: "/etc/passwd"}, mark, false},
		"a link":                      {with, Target{Path: "/proc/self"}, mark, false},
		"a mount in it is not itself": {with, Target{Path: "/"}, mark, false},
	} {
		clone, err := store.CloneTmpfs(c.namespace, tableHere, c.target, policy.Options{}, c.mark)
		if err != nil || (clone != nil) != c.found {
			t.Errorf("%s: %v, %v", name, clone, err)
		}
		if clone != nil {
			clone.Close()
		}
		if !isHome(t, store.view) {
			t.Fatalf("%s: the thread is not where it was", name)
		}
	}
}

// A user mounts something of their own on top, which never answers: nobody waits for it.
func TestATmpfsUnderAUsersFileSystemIsNotLookedFor(t *testing.T) {
	dir := newTarget(t)
	must(t, os.WriteFile("/etc/fuse.conf", []byte("user_allow_other\n"), 0o644))
	chmod(t, dir, 0o777)
	session := process.Stay(t, "setpriv --reuid=1000 --regid=1000 --clear-groups bindfs -oallow_other -f /etc "+dir+" & "+
		"while ! grep -q ' "+dir+" ' /proc/self/mountinfo; do sleep 0.01; done", "unshare", "--mount")
	must(t, unix.Kill(-session.PID, unix.SIGSTOP))
	watchdog := time.AfterFunc(time.Minute, func() {
		t.Error("a user's file system was asked, and does not answer")
		session.Kill()
	})
	defer watchdog.Stop()
	store, target := newStore(t, dir)
	p, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", session.PID))
	must(t, err)
	defer p.Close()
	if clone, err := store.CloneTmpfs(p, tableHere, target, policy.Options{}, "1000 x"); clone != nil || err != nil {
		t.Errorf("%v, %v", clone, err)
	}
}

func TestARecordedTmpfsOfSomebodyElse(t *testing.T) {
	dir := newTarget(t)
	store, target := newStore(t, dir)
	for _, c := range []struct {
		name  string
		made  Owner
		asks  Owner
		found bool
	}{
		{"same user", alice, alice, true},
		{"another uid", alice, bob, false},
		{"another name of the same uid", alice, Owner{UID: 1000, User: "alice2"}, true},
		{"a user who is gone", Owner{UID: 1000, User: "nobody-of-that-name"}, alice, false},
		{"a user who has another uid by now", Owner{UID: 1000, User: "bob"}, alice, false},
		{"a session's own", Owner{UID: 1000, User: "alice", Session: "1000/7-8-9"}, alice, false},
	} {
		must(t, os.RemoveAll("/run/gotmpns/tmpfs"))
		must(t, newTmpfs(t, store, target, c.made).Close())
		mark, err := store.TmpfsMark(dir, c.asks)
		if uid, ok := markedFor(mark); err != nil || (mark != "") != c.found || c.found && (!ok || uid != c.asks.UID) {
			t.Errorf("%s: %q, %v", c.name, mark, err)
		}
	}
}

func TestATmpfsLooksLikeItsTarget(t *testing.T) {
	dir := newTarget(t)
	mountOn(t, "tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC)
	must(t, os.Chown(dir, 0, 1001))
	chmod(t, dir, os.ModeSticky|0o775)
	store, target := newStore(t, dir)
	mount, err := store.NewTmpfs(target, policy.Private{Size: 1 << 20, Inodes: 100}, alice)
	must(t, err)
	defer mount.Close()
	info, err := mountfd.Stat(mount)
	must(t, err)
	flags, err := mountfd.Flags(mount)
	must(t, err)
	if info.UID != 0 || info.GID != 1001 || info.Mode != 0o1775 || flags != unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC {
		t.Errorf("%+v, %#x", info, flags)
	}
	var st unix.Statfs_t
	must(t, unix.Fstatfs(int(mount.Fd()), &st))
	if st.Blocks*uint64(st.Bsize) != 1<<20 || st.Files != 100 {
		t.Errorf("it has room for %d bytes, %d files", st.Blocks*uint64(st.Bsize), st.Files)
	}
}
