// Package view answers from where the worker looks at files.
//
// The login process may itself sit in somebody's private /tmp (su to bob in
// alice's session), so what it calls /tmp is not what the host calls /tmp.
// Instances are made and found in the namespace of pid 1, the host's view; what
// has to be taken away first is seen in the caller's. Where pid 1 has another
// root directory or user namespace than the caller, as in a container that
// shares the host's pids, its view is not ours to take: both views are the
// caller's then.
//
// A mount namespace belongs to a thread: everything here, and everything that
// depends on it, runs on the one thread that called [Enter].
package view

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// View is where the calling thread looks from. Its files are places (O_PATH).
type View struct {
	Caller *os.File // the root directory that the login process sees
	Host   *os.File // the root directory that pid 1 sees, or Caller's twin
	OfInit bool     // Host is pid 1's
	ns     *os.File // the mount namespace of Host
	owned  []*os.File
}

// Enter binds the calling goroutine to its thread for good and moves that
// thread into the namespace of pid 1 where that is possible.
func Enter() (*View, error) {
	runtime.LockOSThread()
	// setns(2) into a mount namespace refuses a thread that shares its root and cwd.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("cannot unshare the file system attributes: %w", err)
	}
	if err := checkProc(); err != nil {
		return nil, err
	}
	caller, err := mountfd.Root()
	if err != nil {
		return nil, err
	}
	v := &View{Caller: caller}
	v.OfInit = sameAsInit()
	source := "/proc/thread-self/ns/mnt"
	if v.OfInit {
		source = "/proc/1/ns/mnt"
	}
	if v.ns, err = openNamespace(source); err != nil {
		return nil, err
	}
	if v.OfInit {
		if err := enter(v.ns); err != nil {
			return nil, err
		}
	}
	if v.Host, err = mountfd.Root(); err != nil {
		return nil, err
	}
	v.owned = []*os.File{v.Caller, v.ns, v.Host}
	return v, nil
}

// Close closes what was opened for this view; the thread stays where it is.
func (v *View) Close() error {
	var errs error
	for _, f := range v.owned {
		errs = errors.Join(errs, f.Close())
	}
	return errs
}

// In runs look in another mount namespace, with that namespace's root
// directory, and comes back. The error is about coming and going.
func (v *View) In(ns *os.File, look func(root *os.File)) error {
	if err := enter(ns); err != nil {
		return err
	}
	root, err := mountfd.Root()
	if err == nil {
		look(root)
		root.Close()
	}
	return errors.Join(err, v.back())
}

// back returns to the host's view from another namespace. Entering one leads to
// its root directory, which need not be the caller's.
func (v *View) back() error {
	if err := enter(v.ns); err != nil || v.OfInit {
		return err
	}
	if err := unix.Fchdir(int(v.Host.Fd())); err != nil {
		return fmt.Errorf("cannot return to the root directory: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("cannot return to the root directory: %w", err)
	}
	return nil
}

// Uncover makes the host's view one in which target shows what lies below the
// mount on it: for the caller who is in a private session already and has no
// view of pid 1 to go to. The thread gets a namespace of its own for it; undo
// leaves that again.
func (v *View) Uncover(target string) (undo func() error, err error) {
	before := *v
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("cannot unshare the mount namespace to look below %s: %w", target, err)
	}
	undo = func() error {
		*v = before
		return v.back()
	}
	return undo, v.uncover(target)
}

func (v *View) uncover(target string) error {
	root, err := mountfd.Root()
	if err != nil {
		return err
	}
	if err := mountfd.SetAttr(root, 0, unix.MS_PRIVATE, true); err != nil {
		return err
	}
	if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot look below the mount on %s: %w", target, err)
	}
	v.Host = root
	v.ns, err = openNamespace("/proc/thread-self/ns/mnt")
	return err
}

// openNamespace does without os.Open, which would start the runtime's poller.
func openNamespace(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the mount namespace %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func enter(ns *os.File) error {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("cannot enter a mount namespace (setns): %w; CAP_SYS_ADMIN and CAP_SYS_CHROOT are needed, also inside a container", err)
	}
	return nil
}

// OwnedByUs says that a mount namespace belongs to our own user namespace
// (ioctl_ns(2), Linux 4.9): in one that a user made, every path is the user's.
func OwnedByUs(ns *os.File) bool {
	fd, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var owner, own unix.Stat_t
	return unix.Fstat(fd, &owner) == nil && unix.Stat("/proc/self/ns/user", &own) == nil &&
		owner.Ino == own.Ino && owner.Dev == own.Dev
}

// IsOwnedByUs is [OwnedByUs] for the namespace of a process or thread, by its
// directory in /proc.
func IsOwnedByUs(proc string) bool {
	ns, err := openNamespace(proc + "/ns/mnt")
	if err != nil {
		return false
	}
	defer ns.Close()
	return OwnedByUs(ns)
}

// checkProc makes sure that /proc shows this process: without it no process
// can be told from another.
func checkProc() error {
	self, err := os.Readlink("/proc/self")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("cannot see this process in /proc: mount /proc, of this pid namespace, and try again")
	case err != nil:
		return fmt.Errorf("cannot read /proc/self: %w", err)
	case self != strconv.Itoa(os.Getpid()):
		return errors.New("cannot use /proc: it is another pid namespace's")
	}
	return nil
}

// sameAsInit compares by what the descriptors are, not by name; any doubt, a
// hidden /proc/1 among it, means no.
func sameAsInit() bool {
	for _, pair := range [...][2]string{
		{"/proc/1/root", "/"},
		{"/proc/1/ns/user", "/proc/self/ns/user"},
	} {
		one, err := identify(pair[0])
		if err != nil {
			return false
		}
		if other, err := identify(pair[1]); err != nil || one != other {
			return false
		}
	}
	return true
}
