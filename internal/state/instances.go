package state

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// Base returns the name of the base of a target, below it on its own file system, such
// as gotmpns-1a2b3c4d; empty where none is recorded. What has that name is to be
// verified: it has to be root's alone, in a directory in which only root can rename it.
func (d *Dir) Base(target string) string {
	const most = 1 << 12 // as many times as a base has been replaced since boot
	name := ""
	for range most {
		next := d.read("bases", baseKey(target, name)).get("NAME")
		if next == "" || next == name {
			break
		}
		name = next
	}
	return name
}

// baseKey is the record of the base that comes after another one, or of the first. A
// record is never changed or removed: so two logins cannot disagree about which is the
// one that is used, whenever they look.
func baseKey(target, after string) string {
	if after == "" {
		return key(target)
	}
	return key(target) + "@" + after
}

// Bases returns the recorded base of each target that has one.
func (d *Dir) Bases() map[string]string {
	bases := map[string]string{}
	for _, name := range d.names("bases") {
		if strings.HasPrefix(name, unfinished) || strings.Contains(name, "@") {
			continue
		}
		if target := d.read("bases", name).get("TARGET"); target != "" {
			bases[target] = d.Base(target)
		}
	}
	return bases
}

// SetBase records a base of target instead of one that no longer fits (empty: there
// is none) and returns the one that is used from now on: where another login has
// recorded one in between, that is it.
func (d *Dir) SetBase(target, stale, name string) (string, error) {
	err := d.writeFirst("bases", baseKey(target, stale), fields{{"TARGET", target}, {"NAME", name}})
	if err == nil {
		return name, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if first := d.Base(target); first != stale {
		return first, nil
	}
	return "", fmt.Errorf("cannot record the base of %s: a record in %s/bases cannot be read; remove it", target, Path)
}

// RememberTarget records a target that has a base, across reboots.
func (d *Dir) RememberTarget(target string) error {
	lib, err := mountfd.OpenDir(d.root, path.Dir(durable))
	if err != nil {
		return err
	}
	defer lib.Close()
	dir, err := subdirectory(lib, path.Base(durable))
	if err != nil {
		return err
	}
	defer dir.Close()
	bases, err := subdirectory(dir, "bases")
	if err != nil {
		return err
	}
	defer bases.Close()
	return put(bases, key(target), format(fields{{"TARGET", target}}), func(temporary string) error {
		return unix.Renameat(int(bases.Fd()), temporary, int(bases.Fd()), key(target))
	})
}

// Targets returns every target that has had a base, also before the last reboot.
func (d *Dir) Targets() []string {
	var targets []string
	for target := range d.Bases() {
		targets = append(targets, target)
	}
	remembered := &Dir{}
	if dir, err := mountfd.ReadDir(d.root, durable); err == nil {
		remembered.dir = dir
		defer dir.Close()
	}
	for _, name := range remembered.names("bases") {
		if target := remembered.read("bases", name).get("TARGET"); target != "" {
			targets = append(targets, target)
		}
	}
	slices.Sort(targets)
	return slices.Compact(targets)
}

// Tmpfs is the tmpfs that a user's sessions share for a target. It bears the mark
// while it is mounted somewhere; its device number is reused.
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

// ForgetTmpfs removes the records of a user's tmpfs, which have gone with the
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

// RecordMountPoint records a target that is about to be made a mount point on the host;
// another record of it is an error that is fs.ErrExist.
func (d *Dir) RecordMountPoint(target string) error {
	return d.writeFirst("mountpoints", key(target), fields{{"TARGET", target}})
}

// MountPoints returns the targets that were made mount points on the host.
func (d *Dir) MountPoints() []string {
	var targets []string
	for _, name := range d.names("mountpoints") {
		if target := d.read("mountpoints", name).get("TARGET"); target != "" && !strings.HasPrefix(name, unfinished) {
			targets = append(targets, target)
		}
	}
	return targets
}

// ForgetMountPoint removes the record when the mount has gone.
func (d *Dir) ForgetMountPoint(target string) { d.remove("mountpoints", key(target)) }
