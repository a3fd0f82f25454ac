package state

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// Base returns the name of the base of a target, below it on its own file system, such
// as gotmpns-1a2b3c4d; empty where none is recorded. What has that name is to be
// verified: it has to be root's alone, in a directory in which only root can rename it.
func (d *Dir) Base(target string) string { return d.read("bases", key(target)).get("NAME") }

// Bases returns the recorded base of each target that has one.
func (d *Dir) Bases() map[string]string {
	bases := map[string]string{}
	for _, name := range d.names("bases") {
		if f := d.read("bases", name); f != nil && !strings.HasPrefix(name, unfinished) {
			bases[f.get("TARGET")] = f.get("NAME")
		}
	}
	return bases
}

// SetBase records the base of target and returns the one that is used from now on:
// where another login has recorded one in between, that is it.
func (d *Dir) SetBase(target, name string) (string, error) {
	const tries = 8 // the other's may have been forgotten since
	for range tries {
		err := d.writeFirst("bases", key(target), fields{{"TARGET", target}, {"NAME", name}})
		if !errors.Is(err, fs.ErrExist) {
			return name, err
		}
		if first := d.Base(target); first != "" {
			return first, nil
		}
	}
	return "", fmt.Errorf("cannot record the base of %s: the record in %s/bases cannot be read; remove it", target, Path)
}

// ForgetBase takes away a record that no longer fits. It is moved first and looked
// at again: what another login has written in between goes back.
func (d *Dir) ForgetBase(target, stale string) error {
	dir, err := d.open("bases")
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, name, aside := int(dir.Fd()), key(target), unfinished+Random()
	if err := unix.Renameat(fd, name, fd, aside); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	if d.read("bases", aside).get("NAME") != stale {
		_ = unix.Renameat2(fd, aside, fd, name, unix.RENAME_NOREPLACE)
	}
	_ = unix.Unlinkat(fd, aside, 0) // ENOENT: it is back in its place
	return nil
}

// Tmpfs is the tmpfs that a user's sessions share for a target. It bears the mark
// while it is mounted somewhere; its device number is given out again.
type Tmpfs struct {
	Target string
	UID    uint32
	User   string // who it was made for
	Mark   string
}

// Tmpfs returns the tmpfs recorded for a user's sessions.
func (d *Dir) Tmpfs(target string, uid uint32) (Tmpfs, bool) {
	f := d.read("tmpfs/"+uidName(uid), key(target))
	return tmpfsOf(uid, f), f != nil
}

// TmpfsOf returns every tmpfs that is recorded for a user.
func (d *Dir) TmpfsOf(uid uint32) []Tmpfs {
	var all []Tmpfs
	for _, name := range d.names("tmpfs/" + uidName(uid)) {
		if f := d.read("tmpfs/"+uidName(uid), name); f != nil && !strings.HasPrefix(name, unfinished) {
			all = append(all, tmpfsOf(uid, f))
		}
	}
	return all
}

// SetTmpfs records a tmpfs.
func (d *Dir) SetTmpfs(t Tmpfs) error {
	return d.write("tmpfs/"+uidName(t.UID), key(t.Target), fields{
		{"TARGET", t.Target}, {"USER", t.User}, {"MARK", t.Mark},
	})
}

// ForgetTmpfs takes away the records of a user's tmpfs, which have gone with the
// user's last namespace.
func (d *Dir) ForgetTmpfs(uid uint32) {
	directory := "tmpfs/" + uidName(uid)
	for _, name := range d.names(directory) {
		d.remove(directory, name)
	}
}

func tmpfsOf(uid uint32, f fields) Tmpfs {
	return Tmpfs{Target: f.get("TARGET"), UID: uid, User: f.get("USER"), Mark: f.get("MARK")}
}
