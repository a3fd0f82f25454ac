package config

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/policy"
)

// settled is the age from which a change can be distinguished from the next one: the
// kernel stamps files no finer than a clock tick, so two changes in one look alike.
const settled = time.Second

// Cache reads the configuration as [Load] does, but not again while its files are
// the same by device, inode, size, owner, mode and time of change. A change takes
// effect at the next [Cache.Load]. Threads may share it that are in one mount
// namespace.
type Cache struct {
	mu      sync.Mutex
	path    string
	seen    []stamp
	policy  policy.Policy
	trusted bool // seen and policy belong together, and are old enough to be compared
}

// stamp is what changes with a file, or with the list of names in a directory.
type stamp struct {
	name                string
	device, inode, size uint64
	uid, mode           uint32
	modified, changed   unix.StatxTimestamp
}

// Load returns the configuration at path and its drop-ins as they are now.
func (c *Cache) Load(path string) (policy.Policy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trusted && c.path == path && isUnchanged(c.seen) {
		return c.policy, nil
	}
	l := loaderFor(path)
	before := l.stamps(path)
	p, err := l.load(path)
	c.path, c.seen, c.policy = path, before, p
	c.trusted = err == nil && isSettled(before) && slices.Equal(before, l.stamps(path))
	return p, err
}

// isUnchanged looks at what was seen: a drop-in that has come since changes the stamp of
// its directory.
func isUnchanged(seen []stamp) bool {
	return !slices.ContainsFunc(seen, func(s stamp) bool { return stampOf(s.name) != s })
}

// stamps looks at the files, the directories of drop-ins, and each of these.
func (l loader) stamps(path string) []stamp {
	stamps := []stamp{stampOf(path), stampOf(l.vendor)}
	for _, directory := range l.directories(path) {
		stamps = append(stamps, stampOf(directory))
	}
	files, err := l.dropIns(path)
	if err != nil {
		return append(stamps, stamp{name: err.Error()})
	}
	for _, file := range files {
		stamps = append(stamps, stampOf(file))
	}
	return stamps
}

func stampOf(path string) stamp {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st) != nil {
		return stamp{name: path}
	}
	return stamp{
		name: path, device: uint64(st.Dev_major)<<32 | uint64(st.Dev_minor), inode: st.Ino, size: st.Size,
		uid: st.Uid, mode: uint32(st.Mode), modified: st.Mtime, changed: st.Ctime,
	}
}

func isSettled(stamps []stamp) bool {
	limit := time.Now().Add(-settled)
	return !slices.ContainsFunc(stamps, func(s stamp) bool {
		return time.Unix(s.changed.Sec, int64(s.changed.Nsec)).After(limit)
	})
}
