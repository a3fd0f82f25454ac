package usage

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// space is a mount namespace that has been looked at in this search. It is held until
// the end, so that nothing else can get its number.
type space struct {
	file  *os.File
	known bool            // the caller's; not looked at
	owner uint32          // who made it; 0: root
	root  uint64          // the mount that its root directory lies on
	roots map[uint64]bool // other mounts on which its processes have their roots
}

// remembered is what a namespace was found to show. It is good for as long as the
// namespace has as many mounts, by the number that the kernel never gives out again.
type remembered struct {
	mounts  uint32
	version int // of Finder.bases
	root    uint64
	shown   []location
	tooLong bool // to be read
}

// identity is the answer to NS_MNT_GET_INFO (linux/nsfs.h, Linux 6.12).
type identity struct {
	size   uint32
	mounts uint32
	id     uint64
}

const nsMntGetInfo = 0x8010b70a // _IOR(0xb7, 10, struct mnt_ns_info)

// identify returns the zero value where the kernel cannot say: nothing is remembered
// there, and each search reads all tables.
func identify(namespace *os.File) identity {
	var i identity
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, namespace.Fd(), nsMntGetInfo, uintptr(unsafe.Pointer(&i))); errno != 0 {
		return identity{}
	}
	return i
}

// space returns the namespace of a task, and looks into it where that has not been
// done. number is that of the namespace, as it was a moment ago.
func (s *search) space(t task, number uint64) (*space, error) {
	if sp, ok := s.spaces[number]; ok {
		return sp, nil
	}
	if uid, ok := s.known(number); ok {
		s.use(t.pid, "has a session of the user", func(tree located) bool { return tree.UID == uid })
		return &space{known: true}, nil
	}
	fd, err := unix.Openat(int(s.proc.Fd()), t.dir+"/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	sp := &space{file: os.NewFile(uintptr(fd), "the mount namespace of process "+t.dir), roots: map[uint64]bool{}}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		sp.file.Close()
		return nil, err
	}
	if other, ok := s.spaces[st.Ino]; ok { // the process has gone there a moment ago
		sp.file.Close()
		return other, nil
	}
	if sp.owner, err = s.ownerOf(sp.file); err != nil {
		sp.file.Close()
		return nil, err
	}
	s.spaces[st.Ino] = sp
	return sp, s.visit(t, sp)
}

// visit finds out what a namespace shows.
func (s *search) visit(t task, sp *space) error {
	is := identify(sp.file)
	was, ok := s.seen[is.id]
	if !ok || is.id == 0 || was.mounts != is.mounts || was.version != s.version {
		var err error
		before := s.spent[sp.owner]
		if was, err = s.read(sp); err != nil {
			return err
		}
		was.mounts = is.mounts
		// What was too long because others of the user had taken the time is read again.
		if is.id != 0 && !(was.tooLong && before > s.share/2) {
			s.seen[is.id] = was
		}
	}
	s.current[is.id] = true
	sp.root = was.root
	if was.tooLong {
		s.tooLong(t, sp)
	}
	s.match(t, was.shown)
	return nil
}

// read enters a namespace, and stays there: the search needs only what it holds open.
func (s *search) read(sp *space) (remembered, error) {
	if err := enterNamespace(sp.file); err != nil {
		return remembered{}, err
	}
	st, err := statx(unix.AT_FDCWD, "/", 0)
	if err != nil {
		return remembered{}, fmt.Errorf("cannot statx the root directory of %s: %w", sp.file.Name(), err)
	}
	shown, err := s.shown("thread-self", sp)
	tooLong := errors.Is(err, errTooLong)
	if tooLong {
		err = nil
	}
	return remembered{version: s.version, root: st.Mnt_id, shown: shown, tooLong: tooLong}, err
}

// match notes which trees are shown.
func (s *search) match(t task, shown []location) {
	for _, at := range shown {
		s.use(t.pid, "has it mounted", func(tree located) bool { return tree.has(at) })
	}
}

// tooLong is for a namespace that cannot be looked at to the end.
func (s *search) tooLong(t task, sp *space) {
	s.cannotTell(t, sp.owner, "has too many mounts to look at")
}

// cannotTell counts a task as one that uses everything. Where a user made what takes so
// long, that is all of that user: nobody can keep the instances of others so.
func (s *search) cannotTell(t task, owner uint32, why string) {
	s.use(t.pid, why, func(tree located) bool {
		return owner == 0 || tree.UID == NoUID || tree.UID == owner
	})
}

// ownerOf returns the user who made the outermost user namespace, below the host's,
// that a mount namespace belongs to; 0 where it belongs to the host's own.
func (s *search) ownerOf(namespace *os.File) (uint32, error) {
	var own unix.Stat_t
	if err := unix.Fstatat(int(s.proc.Fd()), "thread-self/ns/user", &own, 0); err != nil {
		return 0, fmt.Errorf("cannot stat the user namespace of the host: %w", err)
	}
	owner := uint32(0)
	fd, err := unix.IoctlRetInt(int(namespace.Fd()), unix.NS_GET_USERNS)
	for ; err == nil; fd, err = parentOf(fd) {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Dev == own.Dev && st.Ino == own.Ino {
			unix.Close(fd)
			return owner, err
		}
		if owner, err = ownerUID(fd); err != nil {
			unix.Close(fd)
			break
		}
	}
	return 0, fmt.Errorf("cannot find out whose %s is: %w", namespace.Name(), err)
}

// parentOf returns the parent of a user namespace, and closes that.
func parentOf(fd int) (int, error) {
	defer unix.Close(fd)
	return unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
}

func ownerUID(fd int) (uid uint32, err error) {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.NS_GET_OWNER_UID, uintptr(unsafe.Pointer(&uid)))
	if errno != 0 {
		return 0, errno
	}
	return uid, nil
}
