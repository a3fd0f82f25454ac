package view

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/proc"
)

// Namespace is a mount namespace that nobody needs to be in: it is there as long as
// one of its descriptors is.
type Namespace struct {
	File *os.File // of /proc/PID/ns/mnt
	Root *os.File // its root directory, as a place
	Cwd  *os.File // what the working directory has become in it; nil: not asked for
}

// Close closes the descriptors.
func (n *Namespace) Close() error {
	errs := errors.Join(n.File.Close(), n.Root.Close())
	if n.Cwd != nil {
		errs = errors.Join(errs, n.Cwd.Close())
	}
	return errs
}

// FromHost makes a copy of the host's mount namespace, runs build in it with its
// root directory, and comes back. The namespace is the caller's to close.
func (v *View) FromHost(build func(mountfd.Tree) error) (*Namespace, error) {
	return v.create(nil, build)
}

// FromCaller is [View.FromHost] with the login process's own namespace and, where
// cwd is given, with its working directory, which the copy keeps even where no path
// leads to it.
func (v *View) FromCaller(cwd *os.File, build func(mountfd.Tree) error) (*Namespace, error) {
	if err := v.toCaller(); err != nil {
		return nil, errors.Join(err, v.back())
	}
	if cwd != nil {
		// Where root may not enter it (a network's home), there is none to keep.
		if err := unix.Fchdir(int(cwd.Fd())); err != nil {
			cwd = nil
		}
	}
	return v.create(cwd, build)
}

// toCaller moves the thread to where the login process is.
func (v *View) toCaller() error {
	if v.callerNS == nil || v.callerNS == v.ns {
		return nil
	}
	if err := enterNamespace(v.callerNS); err != nil || v.OfInit {
		return err
	}
	return changeRoot(v.Caller.Root)
}

// create always comes back to the host's view; where it cannot, the thread must not
// be used any more, and the error says so.
func (v *View) create(cwd *os.File, build func(mountfd.Tree) error) (*Namespace, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		err = fmt.Errorf("cannot unshare the mount namespace: %w%s", err, mountfd.Hint("unshare", err))
		return nil, errors.Join(err, v.back())
	}
	n, err := v.built(cwd, build)
	if back := v.back(); back != nil {
		err = errors.Join(err, back)
	}
	if err != nil && n != nil {
		n.Close()
		n = nil
	}
	return n, err
}

func (v *View) built(cwd *os.File, build func(mountfd.Tree) error) (*Namespace, error) {
	root, err := mountfd.Root()
	if err != nil {
		return nil, err
	}
	file, err := proc.OpenNamespace("/proc/thread-self/ns/mnt")
	if err != nil {
		root.Close()
		return nil, err
	}
	n := &Namespace{File: file, Root: root}
	if cwd != nil {
		// The kernel has moved it along with the mounts it lies on.
		if n.Cwd, err = mountfd.Here(cwd.Name()); err != nil {
			return n, err
		}
	}
	return n, build(mountfd.Tree{Root: root, Table: table})
}
