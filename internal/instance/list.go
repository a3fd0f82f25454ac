package instance

import (
	"os"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// Listed is an instance of kind directory, as its name and the link beside it
// tell of it.
type Listed struct {
	Owner
	Path  string // on the host
	Aside bool   // the files of somebody who had the uid before
	Usage Usage
}

// List returns what is in a target's base, unverified, by uid. A target without
// a base has no instances; the error says why there is none to be looked into. Only
// those of the uids that are wanted are opened; what is in them is added up where usage
// is asked for.
func (s *Store) List(target Target, configured string, wanted func(uid uint32) bool, usage bool) ([]Listed, error) {
	b, err := s.existingBase(target, configured)
	if err != nil || b.dir == nil {
		return nil, err
	}
	defer b.dir.Close()
	names, err := b.names()
	if err != nil {
		return nil, err
	}
	var list []Listed
	for _, name := range names {
		uid, ok := uidOf(name)
		if !ok || !wanted(uid) {
			continue
		}
		l := s.describe(b, name)
		if usage {
			l.Usage = usageIn(b, name)
		}
		list = append(list, l)
	}
	return list, nil
}

func (s *Store) describe(b base, name string) Listed {
	e, _ := b.entry(name)
	l := Listed{Owner: e.Owner, Path: e.Path, Aside: e.Kind == Aside}
	if !l.Aside {
		l.User, _ = s.madeFor(b, l.Owner)
	}
	return l
}

func usageIn(b base, name string) Usage {
	dir, err := mountfd.ReadDir(b.dir, name)
	if err != nil {
		return Usage{}
	}
	defer dir.Close()
	return UsageOf(dir)
}

// Usage is how much is in a directory.
type Usage struct {
	Bytes   uint64 // what its files take up on the disk or in memory
	AtLeast bool   // there is more than anybody wants to wait for
}

// What is counted at most: a user can make any number of files, at any depth.
const (
	entriesAtMost = 200_000
	depthAtMost   = 64
)

// UsageOf adds up what is in a directory that is open for reading. Nothing is
// followed: no link, no mount. What cannot be read is not counted.
func UsageOf(dir *os.File) Usage {
	c := counter{seen: map[mountfd.ID]bool{}}
	var st unix.Stat_t
	if unix.Fstat(int(dir.Fd()), &st) == nil {
		c.device = st.Dev
		c.walk(dir, 0)
	}
	return c.usage
}

type counter struct {
	usage   Usage
	device  uint64
	entries int
	seen    map[mountfd.ID]bool // files with several names count once
}

func (c *counter) walk(dir *os.File, depth int) {
	const atOnce = 1024
	for {
		names, err := dir.Readdirnames(atOnce)
		for _, name := range names {
			if c.entries++; c.entries > entriesAtMost {
				c.usage.AtLeast = true
				return
			}
			c.add(dir, name, depth)
		}
		if err != nil {
			return
		}
	}
}

func (c *counter) add(dir *os.File, name string, depth int) {
	var st unix.Stat_t
	if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT) != nil {
		return
	}
	if id := (mountfd.ID{Device: st.Dev, Inode: st.Ino}); st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if c.seen[id] {
			return
		}
		c.seen[id] = true
	}
	const block = 512 // stat(2): whatever the file system's own is
	c.usage.Bytes += uint64(st.Blocks) * block
	// Files of an overlay may have other device numbers than its directories.
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Dev != c.device {
		return
	}
	if depth == depthAtMost {
		c.usage.AtLeast = true
		return
	}
	if below, err := mountfd.ReadDir(dir, name); err == nil {
		c.walk(below, depth+1)
		below.Close()
	}
}
