package state

import (
	"strconv"
	"strings"

	"gotmpns/internal/mountfd"
)

// Base is where a target's instances are, on the target's own file system.
type Base struct {
	Name string // below the target, such as gotmpns-1a2b3c4d
	ID   mountfd.ID
}

// Base returns the base recorded for target.
func (d *Dir) Base(target string) (Base, bool) {
	f := d.read("bases", key(target))
	if f == nil {
		return Base{}, false
	}
	return Base{Name: f.get("NAME"), ID: f.id()}, true
}

// Bases returns the recorded base of each target that has one.
func (d *Dir) Bases() map[string]Base {
	bases := map[string]Base{}
	for _, name := range d.names("bases") {
		if f := d.read("bases", name); f != nil && !strings.HasPrefix(name, unfinished) {
			bases[f.get("TARGET")] = Base{Name: f.get("NAME"), ID: f.id()}
		}
	}
	return bases
}

// AllTmpfs returns every tmpfs that is recorded; it is there as long as a process
// has it mounted.
func (d *Dir) AllTmpfs() []Tmpfs {
	var all []Tmpfs
	for _, name := range d.names("tmpfs") {
		if f := d.read("tmpfs", name); f != nil && !strings.HasPrefix(name, unfinished) {
			all = append(all, tmpfsOf(f))
		}
	}
	return all
}

// SetBase records the base of target.
func (d *Dir) SetBase(target string, base Base) error {
	f := append(fields{{"TARGET", target}, {"NAME", base.Name}}, idFields(base.ID)...)
	return d.write("bases", key(target), f)
}

// Tmpfs is an instance of kind tmpfs: known by its device while it is mounted somewhere.
type Tmpfs struct {
	Target  string
	UID     uint32
	User    string // who it was made for
	Session string // empty: shared by all sessions of the user
	ID      mountfd.ID
}

func (t Tmpfs) key() string {
	name := key(t.Target) + "@" + strconv.FormatUint(uint64(t.UID), 10)
	if t.Session != "" {
		name += "." + t.Session
	}
	return name
}

// Tmpfs returns the tmpfs recorded for a user's sessions.
func (d *Dir) Tmpfs(target string, uid uint32) (Tmpfs, bool) {
	f := d.read("tmpfs", Tmpfs{Target: target, UID: uid}.key())
	return tmpfsOf(f), f != nil
}

// SetTmpfs records a tmpfs.
func (d *Dir) SetTmpfs(t Tmpfs) error {
	f := append(fields{
		{"TARGET", t.Target},
		{"UID", strconv.FormatUint(uint64(t.UID), 10)},
		{"USER", t.User},
		{"SESSION", t.Session},
	}, idFields(t.ID)...)
	return d.write("tmpfs", t.key(), f)
}

// FindTmpfs returns the record of the tmpfs that has this root directory.
func (d *Dir) FindTmpfs(target string, id mountfd.ID) (Tmpfs, bool) {
	for _, name := range d.names("tmpfs") {
		if !strings.HasPrefix(name, key(target)+"@") {
			continue
		}
		if t := tmpfsOf(d.read("tmpfs", name)); t.ID == id && id.Inode != 0 {
			return t, true
		}
	}
	return Tmpfs{}, false
}

func tmpfsOf(f fields) Tmpfs {
	return Tmpfs{
		Target:  f.get("TARGET"),
		UID:     uint32(f.number("UID")),
		User:    f.get("USER"),
		Session: f.get("SESSION"),
		ID:      f.id(),
	}
}
