// Package hostdir makes a target that is missing on the host, for "create" in the
// configuration.
//
// Root makes it where nobody but root can write on the way. Below a home directory the
// user could lead root elsewhere, so a thread makes it that has the user's rights on
// files and none of root's: what it can be led to is the user's own.
package hostdir

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/account"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
	"gotmpns/internal/selinux"
	"gotmpns/internal/state"
)

// User is whose login wants the directory.
type User struct {
	UID, GID uint32
	Name     string
	Home     string // as the name service writes it
	// LabelIn returns the SELinux label of what the user creates in a directory; empty: the
	// policy's.
	LabelIn func(parent *os.File) (string, error)
}

// NeedsUser says whether only a process that can take the user's ids can make a target.
func NeedsUser(tree mountfd.Tree, target string) bool { return tree.CanBeReplaced(target) }

// Make makes the directory target in the host's tree; one that another login has made
// since is as good. Its parent has to exist.
func Make(tree mountfd.Tree, target string, how policy.Create, user User) error {
	return makeAs(tree, target, path.Base(target), how, user)
}

// makeAs makes target under a name beside it; errors are about target.
func makeAs(tree mountfd.Tree, target, name string, how policy.Create, user User) error {
	parent, trust := tree.OpenTrusted(path.Dir(target))
	if trust == nil {
		defer parent.Close()
		if err := byRoot(parent, name, how, user); err != nil {
			return fmt.Errorf("cannot create %s: %w", target, err)
		}
		return nil
	}
	if !strings.HasPrefix(target, path.Clean(user.Home)+"/") || user.UID == 0 {
		return fmt.Errorf("cannot create %s: %w", target, trust)
	}
	parent, err := tree.Open(path.Dir(target))
	if err != nil {
		return fmt.Errorf("cannot create %s: %w", target, err)
	}
	defer parent.Close()
	label, err := user.LabelIn(parent)
	if err == nil {
		err = asUser(user, label, func() error { return makePlain(parent, name, how.Mode) })
	}
	if err != nil {
		return fmt.Errorf("cannot create %s as %s: %w", target, user.Name, err)
	}
	return nil
}

// Rehearse makes the directory under a name of its own beside target, if [Make] could
// make target itself. It returns the path, for what is tried in it, and remove, which
// removes it again and has to be called.
func Rehearse(tree mountfd.Tree, target string, how policy.Create, user User) (name string, remove func(), err error) {
	file := ".gotmpns-" + state.Random()
	if err := makeAs(tree, target, file, how, user); err != nil {
		return "", nil, err
	}
	name = path.Join(path.Dir(target), file)
	remove = func() {
		if parent, err := tree.Open(path.Dir(name)); err == nil {
			_ = unix.Unlinkat(int(parent.Fd()), file, unix.AT_REMOVEDIR) // the user may have put something else there
			parent.Close()
		}
	}
	return name, remove, nil
}

// byRoot makes it under another name, and renames it when owner and mode are right.
func byRoot(parent *os.File, name string, how policy.Create, user User) error {
	uid, gid, err := ownerOf(how, user)
	if err != nil {
		return err
	}
	temporary := ".gotmpns-" + state.Random()
	err = makeFor(parent, temporary, how.Mode, uid, gid)
	if err == nil {
		err = unix.Renameat2(int(parent.Fd()), temporary, int(parent.Fd()), name, unix.RENAME_NOREPLACE)
	}
	if err == nil {
		return nil
	}
	_ = unix.Unlinkat(int(parent.Fd()), temporary, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func makeFor(parent *os.File, name string, mode, uid, gid uint32) error {
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o700); err != nil {
		return err
	}
	dir, err := mountfd.ReadDir(parent, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Fchown(int(dir.Fd()), int(uid), int(gid)); err != nil {
		return err
	}
	return unix.Fchmod(int(dir.Fd()), mode)
}

func ownerOf(how policy.Create, user User) (uid, gid uint32, err error) {
	if how.Owner == "$USER" {
		uid, gid = user.UID, user.GID
	} else if uid, gid, err = account.IDs(how.Owner); err != nil {
		return 0, 0, err
	}
	if how.Group != "" {
		gid, err = account.GroupID(how.Group)
	}
	return uid, gid, err
}

// makePlain makes a directory with the rights of the calling thread.
func makePlain(parent *os.File, name string, mode uint32) error {
	err := unix.Mkdirat(int(parent.Fd()), name, mode&0o777)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := mountfd.ReadDir(parent, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Fchmod(int(dir.Fd()), mode)
}

// asUser runs do on a thread that has the user's ids for files (setfsuid(2)), no other
// groups and none of root's capabilities for files, and that ends afterwards. These ids
// are enough, and no more are taken: with the real or effective uid of the user, the
// user could send signals to the thread, and with it end this process. What do creates
// has the SELinux label.
func asUser(user User, label string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := selinux.LabelCreated(label)
		if err == nil {
			err = become(user)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// become gives the calling thread, and no other one, the user's ids for files.
func become(user User) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("cannot give up the groups of root: %w", errno)
	}
	for _, set := range [...]struct {
		call uintptr
		id   uint32
		name string
	}{{unix.SYS_SETFSGID, user.GID, "gid"}, {unix.SYS_SETFSUID, user.UID, "uid"}} {
		_, _, _ = unix.RawSyscall(set.call, uintptr(set.id), 0, 0)
		// It reports no failure: what is in effect is returned by a call that cannot succeed.
		if now, _, _ := unix.RawSyscall(set.call, uintptr(^uint32(0)), 0, 0); uint32(now) != set.id {
			return fmt.Errorf("cannot take the %s %d; CAP_SETUID and CAP_SETGID are needed", set.name, set.id)
		}
	}
	return nil
}
