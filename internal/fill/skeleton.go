// Package fill puts something into a new instance before anybody gets it: a copy of a
// skeleton directory, and what a program of the administrator's makes in it.
//
// The instance is in a base that only root can enter, or in memory and mounted nowhere,
// so its user can neither see nor change what is half done.
package fill

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/selinux"
)

// Job is the instance that is to be filled; its files are the caller's.
type Job struct {
	Target   string   // as the user will see it
	HostDir  *os.File // what the host has there
	Instance *os.File // open for reading
	User     string
	UID, GID uint32
	Label    string // SELinux label of what is copied; empty: the policy's
}

// Copy copies the contents of a directory into the instance. What is root's becomes the
// user's; owner and mode are as they are otherwise. Nobody but root may be able to change
// the skeleton.
func Copy(tree mountfd.Tree, skeleton string, into Job) error {
	place, err := OpenSkeleton(tree, skeleton)
	if err != nil {
		return err
	}
	defer place.Close()
	from, err := mountfd.ReadDir(place, ".")
	if err != nil {
		return err
	}
	defer from.Close()
	err = selinux.CreateAs(into.Label, func() error { return into.copyAll(from, into.Instance, 0) })
	if err != nil {
		return fmt.Errorf("cannot copy the skeleton %s to %s: %w", skeleton, into.Target, err)
	}
	return nil
}

// OpenSkeleton opens a directory that nobody but root can replace or change, as a place;
// the caller closes it.
func OpenSkeleton(tree mountfd.Tree, name string) (*os.File, error) {
	place, err := tree.OpenTrusted(name)
	if err != nil {
		return nil, err
	}
	info, err := mountfd.Stat(place)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("cannot copy the skeleton %s: it is not a directory", name)
	}
	if err != nil {
		place.Close()
		return nil, err
	}
	return place, nil
}

// deepest bounds how many directories are open at once.
const deepest = 64

func (j Job) copyAll(from, to *os.File, depth int) error {
	if depth > deepest {
		return errors.New("its directories are too deep")
	}
	names, err := from.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := j.copyOne(from, to, name, depth); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (j Job) copyOne(from, to *os.File, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(from.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return j.copyDirectory(from, to, name, st, depth)
	case unix.S_IFREG:
		return j.copyFile(from, to, name, st)
	case unix.S_IFLNK:
		return j.copyLink(from, to, name, st)
	}
	return errors.New("it is neither a file nor a directory nor a symbolic link")
}

func (j Job) copyDirectory(from, to *os.File, name string, st unix.Stat_t, depth int) error {
	source, err := mountfd.ReadDir(from, name)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
		return err
	}
	made, err := mountfd.ReadDir(to, name)
	if err != nil {
		return err
	}
	defer made.Close()
	if err := j.copyAll(source, made, depth+1); err != nil {
		return err
	}
	return j.finish(made, st)
}

func (j Job) copyFile(from, to *os.File, name string, st unix.Stat_t) error {
	source, err := mountfd.OpenRegular(from, name)
	if err != nil {
		return err
	}
	defer source.Close()
	fd, err := unix.Openat(int(to.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	made := os.NewFile(uintptr(fd), name)
	_, err = io.Copy(made, source)
	if err == nil {
		err = j.finish(made, st)
	}
	return errors.Join(err, made.Close())
}

func (j Job) copyLink(from, to *os.File, name string, st unix.Stat_t) error {
	var target [unix.PathMax]byte
	n, err := unix.Readlinkat(int(from.Fd()), name, target[:])
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(string(target[:n]), int(to.Fd()), name); err != nil {
		return err
	}
	uid, gid := j.owner(st)
	return unix.Fchownat(int(to.Fd()), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// finish gives a copy its owner and then its mode, from which a change of owner removes
// what would give root's rights to the user.
func (j Job) finish(made *os.File, st unix.Stat_t) error {
	uid, gid := j.owner(st)
	if err := unix.Fchown(int(made.Fd()), uid, gid); err != nil {
		return err
	}
	mode := st.Mode & 0o7777
	if uid != int(st.Uid) && st.Mode&unix.S_IFMT == unix.S_IFREG {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	return unix.Fchmod(int(made.Fd()), mode)
}

func (j Job) owner(st unix.Stat_t) (uid, gid int) {
	if st.Uid == 0 {
		return int(j.UID), int(j.GID)
	}
	return int(st.Uid), int(st.Gid)
}
