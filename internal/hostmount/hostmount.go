// Package hostmount makes a target a mount point on the host, for the configuration
// mount_points = "make".
//
// A mount can be cut off from the host alone, a directory cannot: then the mount that
// carries it has to become a slave in sessions, and what a session mounts anywhere on
// that is not seen by the host. So the target is bound onto itself, once, on the host.
// What was mounted below it stays below it.
//
// Each bind is recorded before it is made, by the first login; so it can be undone when
// the module is removed, and two logins do not make two.
package hostmount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/state"
)

// waitAtMost is how long a login waits for another one that was first: it makes two
// system calls.
const waitAtMost = 200 * time.Millisecond

// Make binds a directory of the host's tree onto itself, unless a mount begins there by
// now. The calling thread has to be in the host's mount namespace.
func Make(tree mountfd.Tree, records *state.Dir, target string) error {
	err := records.RecordMountPoint(target)
	switch {
	case errors.Is(err, fs.ErrExist):
		// Another login is about to make it, or was killed before it could.
		for end := time.Now().Add(waitAtMost); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if is, err := isMountPoint(tree, target); is || err != nil {
				return err
			}
		}
	case err != nil:
		return err
	}
	return bind(tree, target)
}

func isMountPoint(tree mountfd.Tree, target string) (bool, error) {
	dir, err := tree.Open(target)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	info, err := mountfd.Stat(dir)
	return info.MountRoot, err
}

func bind(tree mountfd.Tree, target string) error {
	dir, err := tree.Open(target)
	if err != nil {
		return err
	}
	defer dir.Close()
	if info, err := mountfd.Stat(dir); info.MountRoot || err != nil {
		return err
	}
	mount, err := mountfd.Clone(dir, true)
	if err != nil {
		return err
	}
	defer mount.Close()
	if err := mountfd.Attach(mount, dir); err != nil {
		return fmt.Errorf("cannot make %s a mount point: %w", target, err)
	}
	return nil
}

// Undo unmounts what [Make] has made, and forgets it; the error has all that could not be
// undone. The calling thread has to be in the host's mount namespace.
func Undo(tree mountfd.Tree, records *state.Dir) error {
	var errs error
	for _, target := range records.MountPoints() {
		if err := undo(tree, target); err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		records.ForgetMountPoint(target)
	}
	return errs
}

func undo(tree mountfd.Tree, target string) error {
	dir, err := tree.Open(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	ours, err := isOntoItself(tree, dir, target)
	if !ours || err != nil {
		return err
	}
	if err := mountfd.Detach(dir); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// isOntoItself says whether the mount on target shows the directory that it hides, as far
// as its place in the file system tells: something that root has mounted there since
// stays.
func isOntoItself(tree mountfd.Tree, dir *os.File, target string) (bool, error) {
	info, err := mountfd.Stat(dir)
	if err != nil || !info.MountRoot {
		return false, err
	}
	parent, err := tree.Open(path.Dir(target))
	if err != nil {
		return false, err
	}
	defer parent.Close()
	above, err := mountfd.Stat(parent)
	if err != nil || above.Device != info.Device {
		return false, err
	}
	root, err := tree.RootOf(dir)
	if err != nil {
		return false, err
	}
	carrier, err := tree.RootOf(parent)
	return err == nil && strings.HasSuffix(target, strings.TrimPrefix(root, strings.TrimSuffix(carrier, "/"))), err
}
