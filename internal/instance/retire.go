package instance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// Base is an open base: the clean-up lists it and takes instances out of use.
type Base struct {
	base
	locked *os.File
}

// OpenBase opens the base of a target. It returns nil where there is none, and makes
// none. The caller closes it.
func (s *Store) OpenBase(target Target, configured string) (*Base, error) {
	b, err := s.existingBase(target, configured)
	if errors.Is(err, unix.ENOENT) || err == nil && b.dir == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &Base{base: b}, nil
}

// Close closes the base, and lets another clean-up have it.
func (b *Base) Close() {
	if b.locked != nil {
		b.locked.Close()
	}
	b.dir.Close()
}

// ErrBusy says that another clean-up is at work in a base.
var ErrBusy = errors.New("another clean-up is at work there")

// Lock keeps other clean-ups out, until [Base.Close]: they would take a retired instance,
// which may be given back, for the rest of a removal. It waits for another one for at
// most that long, and is [ErrBusy] then. Logins have nothing to do with it.
func (b *Base) Lock(wait time.Duration) (err error) {
	if b.locked, err = mountfd.ReadDir(b.dir, "."); err != nil {
		return err
	}
	const pause = 10 * time.Millisecond
	for end := time.Now().Add(wait); ; time.Sleep(pause) {
		err = unix.Flock(int(b.locked.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("cannot lock %s: %w", b.dir.Name(), err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("cannot clean up %s: %w; try again", b.dir.Name(), ErrBusy)
		}
	}
}

// Dir is the open base; it is the base's to close.
func (b *Base) Dir() *os.File { return b.dir }

// Entries lists a base by the names in it: none of them is opened.
func (b *Base) Entries() ([]Entry, error) {
	names, err := b.names()
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, name := range names {
		if e, ok := b.entry(name); ok {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// OfUsers returns the instances that all sessions of one of these users share; nothing
// is listed for it.
func (b *Base) OfUsers(users map[uint32]bool) []Entry {
	var entries []Entry
	for uid := range users {
		name := strconv.FormatUint(uint64(uid), 10)
		var st unix.Stat_t
		if unix.Fstatat(int(b.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT) != nil {
			continue
		}
		e, _ := b.entry(name)
		entries = append(entries, e)
	}
	return entries
}

// OfContexts returns the instances that sessions of one of these users share at a level
// or in a context.
func (b *Base) OfContexts(users map[uint32]bool) ([]Entry, error) {
	return b.of(users, func(e Entry) bool { return e.Session == "" })
}

// OfSessions returns the instances that single sessions of these users have.
func (b *Base) OfSessions(users map[uint32]bool) ([]Entry, error) {
	return b.of(users, func(e Entry) bool { return e.Session != "" })
}

func (b *Base) of(users map[uint32]bool, fits func(Entry) bool) ([]Entry, error) {
	names, err := b.names()
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, name := range names {
		if uid, ok := uidOf(name); !ok || !users[uid] {
			continue
		}
		if e, _ := b.entry(name); e.Kind == InUse && fits(e) {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// Open opens an entry as a place; the caller closes it. What is not a directory on the
// file system of the base is not ours.
func (b *Base) Open(e Entry) (*os.File, error) {
	dir, err := mountfd.OpenOnMount(b.dir, e.name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", e.Path, err)
	}
	return dir, nil
}

// IsEmpty says that there is nothing in an entry that its user has put there.
func (b *Base) IsEmpty(e Entry) bool {
	dir, err := mountfd.ReadDir(b.dir, e.name)
	if err != nil {
		return false
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(1)
	return len(names) == 0
}

// Age is how long ago an entry was last changed, as far as its directory shows.
func (b *Base) Age(e Entry) time.Duration {
	var st unix.Stat_t
	if err := unix.Fstatat(int(b.dir.Fd()), e.name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT); err != nil {
		return 0
	}
	return time.Since(time.Unix(st.Mtim.Unix()))
}

// Retire takes an entry out of use: under its new name nobody gets it. A login that has
// found it already goes on with it; so what follows is another look at who has, and
// [Base.GiveBack] where that shows somebody. It is an error that is ENOENT where
// another process has retired it first.
func (b *Base) Retire(e Entry) (Entry, error) {
	name := retiredName(e.name)
	if err := b.rename(e.name, name); err != nil {
		return Entry{}, fmt.Errorf("cannot take %s out of use: %w", e.Path, err)
	}
	e.Kind, e.name = Retired, name
	return e, nil
}

// GiveBack returns a retired entry to its owner. Where the owner has another one by
// now, it stays retired, without an error.
func (b *Base) GiveBack(e Entry) error {
	err := b.rename(e.name, e.before())
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("cannot take %s into use again: %w", e.Path, err)
	}
	return nil
}

func (b *Base) rename(from, to string) error {
	fd := int(b.dir.Fd())
	return unix.Renameat2(fd, from, fd, to, unix.RENAME_NOREPLACE)
}

// Forget removes the name that a retired instance was made for, unless its owner has
// another one by now. The caller holds the lock of the owner.
func (b *Base) Forget(e Entry) {
	before := e.before()
	if before == "" {
		return
	}
	fd := int(b.dir.Fd())
	var st unix.Stat_t
	if errors.Is(unix.Fstatat(fd, before, &st, unix.AT_SYMLINK_NOFOLLOW), unix.ENOENT) {
		_ = unix.Unlinkat(fd, before+linkSuffix, 0)
	}
}

// Name is the name of an entry in its base, to remove it by.
func (e Entry) Name() string { return e.name }

// EachInUse calls use with every instance of a target, and whose it is, as a place
// that is open until use returns.
func (s *Store) EachInUse(target Target, configured string, use func(owner Owner, dir *os.File)) error {
	b, err := s.OpenBase(target, configured)
	if err != nil || b == nil {
		return err
	}
	defer b.Close()
	entries, err := b.Entries()
	for _, e := range entries {
		if e.Kind != InUse {
			continue
		}
		dir, err := b.Open(e)
		if err != nil {
			continue // it has gone since
		}
		use(e.Owner, dir)
		dir.Close()
	}
	return err
}

// Orphans lists the bases on a target's own file system that are not recorded, for
// whichever target: nobody gets an instance in them any more.
func (s *Store) Orphans(target Target) ([]Orphan, error) {
	dir, err := mountfd.ReadDir(target.Dir, ".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// Two targets can be one directory.
	recorded := map[string]bool{}
	for _, name := range s.state.Bases() {
		recorded[name] = true
	}
	var orphans []Orphan
	for {
		// Users can have a million files in a target.
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			if !IsBaseName(name) || recorded[name] {
				continue
			}
			if made, ok := asBase(target, name); ok {
				orphans = append(orphans, Orphan{Path: target.Path + "/" + name, Name: name, Made: made})
			}
		}
		if errors.Is(err, io.EOF) {
			return orphans, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list %s: %w", target.Path, err)
		}
	}
}

// YoungBase is how long a base may be made and not recorded yet.
const YoungBase = time.Minute

// Orphan is a base that no record leads to.
type Orphan struct {
	Path string    // on the host
	Name string    // below the target
	Made time.Time // or, where the file system does not know, when it was last changed
}

// asBase says when a base was made; false where the directory cannot be one.
func asBase(target Target, name string) (made time.Time, ok bool) {
	dir, err := mountfd.OpenDir(target.Dir, name)
	if err != nil {
		return time.Time{}, false
	}
	defer dir.Close()
	info, err := mountfd.Stat(dir)
	if err != nil || whyUnfit(info) != "" || info.MountRoot {
		return time.Time{}, false
	}
	var st unix.Statx_t
	err = unix.Statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME|unix.STATX_MTIME, &st)
	if st.Mask&unix.STATX_BTIME == 0 {
		st.Btime = st.Mtime
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)), err == nil
}
