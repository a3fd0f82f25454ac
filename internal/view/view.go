// Package view answers from where a login is looked at, and makes the mount
// namespace that a session gets.
//
// The login process may itself sit in somebody's private /tmp (su to bob in
// alice's session), so what it calls /tmp is not what the host calls /tmp.
// Instances are made and found in the namespace of pid 1, the host's view; the
// caller's view says what the login process has now. Where pid 1 has another root
// directory or user namespace than the caller, as in a container that shares the
// host's pids, its view is not ours to take: both views are the caller's then.
//
// A mount namespace belongs to a thread: everything here, and everything that
// depends on it, runs on the one thread that called [Enter] or [Settle].
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
	"gotmpns/internal/proc"
)

// View is where the calling thread looks from, for one login process. Its files
// are places (O_PATH).
type View struct {
	Caller mountfd.Tree // what the login process sees
	Host   mountfd.Tree // what pid 1 sees, or Caller's twin
	OfInit bool         // Host is pid 1's
	InHost bool         // the login process is in the namespace of Host

	ns       *os.File   // the mount namespace of Host
	callerNS *os.File   // that of the login process; nil where InHost
	owned    []*os.File // closed with the view
	process  *proc.Process
}

// table is the mount table of the thread that asks.
const table = "/proc/thread-self/mountinfo"

// Enter binds the calling goroutine to its thread for good and moves that thread
// into the namespace of pid 1 where that is possible. The thread's own view, which a
// worker has from the login process that started it, is the caller's; pid is that
// process.
func Enter(pid int) (*View, error) {
	runtime.LockOSThread()
	// setns(2) into a mount namespace refuses a thread that shares its root and cwd.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("cannot unshare the file system attributes: %w%s", err, mountfd.Hint("unshare", err))
	}
	if err := checkProc(); err != nil {
		return nil, err
	}
	process, err := proc.Open(pid)
	if err != nil {
		return nil, err
	}
	root, err := mountfd.Root()
	if err != nil {
		return nil, err
	}
	v := &View{Caller: mountfd.Tree{Root: root, Table: process.Table()}, process: process}
	if v.callerNS, err = proc.OpenNamespace("/proc/thread-self/ns/mnt"); err != nil {
		return nil, err
	}
	v.ns = v.callerNS
	if v.OfInit = sameAsInit() && !inOtherMountOfRoot(root); v.OfInit {
		if err := v.enterInit(); err != nil {
			return nil, err
		}
	}
	host, err := mountfd.Root()
	v.Host = mountfd.Tree{Root: host, Table: table}
	v.owned = []*os.File{root, v.callerNS, v.ns, host}
	return v, err
}

func (v *View) enterInit() (err error) {
	if v.ns, err = proc.OpenNamespace("/proc/1/ns/mnt"); err != nil {
		return err
	}
	caller, err := proc.IdentityOf(v.callerNS)
	if err != nil {
		return err
	}
	init, err := proc.IdentityOf(v.ns)
	v.InHost = caller == init
	return errors.Join(err, enterNamespace(v.ns))
}

// Close closes what was opened for this view; the thread stays where it is.
func (v *View) Close() error {
	var errs error
	for _, f := range v.owned {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) { // some are the same
			errs = errors.Join(errs, err)
		}
	}
	if v.process != nil {
		errs = errors.Join(errs, v.process.Close())
	}
	return errs
}

// IsCaller says whether a namespace is the caller's.
func (v *View) IsCaller(namespace *os.File) bool {
	if v.callerNS == nil {
		return false
	}
	one, err := proc.IdentityOf(v.callerNS)
	if err != nil {
		return false
	}
	other, err := proc.IdentityOf(namespace)
	return err == nil && one == other
}

// Cwd opens the working directory of the login process ([proc.Process.Cwd]); the
// caller closes it.
func (v *View) Cwd() (*os.File, error) { return v.process.Cwd() }

// SELinuxContext is that of the session ([proc.Process.SELinuxContext]).
func (v *View) SELinuxContext() string { return v.process.SELinuxContext() }

// SELinuxContextOfSession is what the login process has asked for
// ([proc.Process.SELinuxContextOfSession]).
func (v *View) SELinuxContextOfSession() string { return v.process.SELinuxContextOfSession() }

// HostNamespace is the mount namespace of Host; it is the view's to close.
func (v *View) HostNamespace() *os.File { return v.ns }

// In runs look in another mount namespace, with that namespace's root
// directory, and comes back. The error is about coming and going.
func (v *View) In(ns *os.File, look func(root *os.File)) error {
	if err := enterNamespace(ns); err != nil {
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
	if err := enterNamespace(v.ns); err != nil || v.OfInit {
		return err
	}
	return changeRoot(v.Host.Root)
}

func changeRoot(root *os.File) error {
	if err := unix.Fchdir(int(root.Fd())); err != nil {
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
		return nil, fmt.Errorf("cannot unshare the mount namespace to look below %s: %w%s", target, err, mountfd.Hint("unshare", err))
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
	if err := mountfd.SetPropagation(root, unix.MS_PRIVATE, true); err != nil {
		return err
	}
	if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot look below the mount on %s: %w", target, err)
	}
	v.Host = mountfd.Tree{Root: root, Table: table}
	v.ns, err = proc.OpenNamespace("/proc/thread-self/ns/mnt")
	return err
}

func enterNamespace(ns *os.File) error {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("cannot enter a mount namespace (setns): %w%s", err, mountfd.Hint("setns", err))
	}
	return nil
}

// checkProc makes sure that /proc shows this process: without it no process
// can be distinguished from another.
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

// inOtherMountOfRoot says that root, which is the same directory as pid 1's, is another
// mount of it in the same namespace: the caller has changed its root (chroot(2)).
func inOtherMountOfRoot(root *os.File) bool {
	own, err := proc.IdentityAt("/proc/thread-self/ns/mnt")
	if err != nil {
		return true
	}
	if init, err := proc.IdentityAt("/proc/1/ns/mnt"); err != nil || init != own {
		return err != nil
	}
	return !isSameMount(root)
}

// isSameMount compares with the root of pid 1, which is opened by the kernel's link.
func isSameMount(root *os.File) bool {
	init, err := proc.Open(1)
	if err != nil {
		return false
	}
	defer init.Close()
	theirs, err := init.Root()
	if err != nil {
		return false
	}
	defer theirs.Close()
	one, err := mountfd.MountID(root)
	if err != nil {
		return false
	}
	other, err := mountfd.MountID(theirs)
	return err == nil && one == other
}

// sameAsInit compares by what the descriptors are, not by name; any doubt, a
// hidden /proc/1 among it, means no.
func sameAsInit() bool {
	for _, pair := range [...][2]string{
		{"/proc/1/root", "/"},
		{"/proc/1/ns/user", "/proc/self/ns/user"},
	} {
		one, err := proc.IdentityAt(pair[0])
		if err != nil {
			return false
		}
		if other, err := proc.IdentityAt(pair[1]); err != nil || one != other {
			return false
		}
	}
	return true
}
