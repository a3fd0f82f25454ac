// Package mountfd holds the system calls on which the module rests, one
// function each: files and mounts are descriptors here, never paths.
//
// Every descriptor that is returned is close-on-exec and the caller's to
// close. A file opened by [Open] is only a place (O_PATH): nothing that a user
// may have put there, a FIFO or a device, is ever opened for real. A mount made
// by [Clone] or [NewTmpfs] is detached: it hangs nowhere until somebody attaches
// it with move_mount(2), and is gone with its last descriptor.
//
// open_tree(2), move_mount(2) and fsopen(2) came with Linux 5.2, openat2(2)
// with 5.6, STATX_ATTR_MOUNT_ROOT with 5.8, mount_setattr(2) with 5.12.
package mountfd

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ID tells one file from every other, as long as one of them is held open or mounted.
type ID struct {
	Device uint64 // major << 32 | minor
	Inode  uint64
}

// Info is what the module asks of a file, from one statx(2).
type Info struct {
	ID
	Type      uint32 // unix.S_IFDIR and so on
	Mode      uint32 // permission bits and setuid, setgid, sticky
	UID, GID  uint32
	MountRoot bool // a mount begins here
	Removed   bool // no directory has it any more
}

// IsDir says that the file is a directory.
func (i Info) IsDir() bool { return i.Type == unix.S_IFDIR }

// Open opens path below dir as a place (O_PATH). A leading slash means dir
// itself; no component may be a symbolic link or lead above dir.
func Open(dir *os.File, path string) (*os.File, error) {
	return open(dir, path, unix.O_PATH)
}

// OpenDir is [Open] for what has to be a directory.
func OpenDir(dir *os.File, path string) (*os.File, error) {
	return open(dir, path, unix.O_PATH|unix.O_DIRECTORY)
}

// ReadDir opens a directory for reading and for changing its attributes.
func ReadDir(dir *os.File, path string) (*os.File, error) {
	return open(dir, path, unix.O_RDONLY|unix.O_DIRECTORY)
}

// OpenRegular opens what has been seen to be a regular file for reading; should
// it be something else by now, opening it does not block.
func OpenRegular(dir *os.File, path string) (*os.File, error) {
	return open(dir, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
}

func open(dir *os.File, path string, flags uint64) (*os.File, error) {
	name := nameBelow(dir, path)
	fd, err := openat2(int(dir.Fd()), strings.TrimLeft(path, "/"), flags, 0)
	if err != nil {
		return nil, openError(name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openat2 opens relative below the directory dir: no component may be a symbolic
// link or lead above it. An empty path is the directory itself.
func openat2(dir int, relative string, flags, resolve uint64) (int, error) {
	if relative == "" {
		relative = "."
	}
	// Not O_NOFOLLOW: with O_PATH it would open a link instead of refusing it.
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: resolve | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(dir, relative, &how)
		// EAGAIN: a rename elsewhere made RESOLVE_BENEATH uncertain.
		if err == nil || !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}

// OpenOnMount opens a name below a directory that a user may change at any time: neither a
// symbolic link nor a mount leads elsewhere. Flags are those of open(2); the error is the
// kernel's.
func OpenOnMount(dir *os.File, name string, flags uint64) (*os.File, error) {
	fd, err := openat2(int(dir.Fd()), name, flags, unix.RESOLVE_NO_XDEV)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), nameBelow(dir, name)), nil
}

func openError(name string, err error) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("cannot open %s: it is, or passes through, a symbolic link: %w", name, err)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return fmt.Errorf("cannot open %s (openat2): %w%s", name, err, Hint("openat2", err))
	}
	return fmt.Errorf("cannot open %s: %w", name, err)
}

// nameBelow names a file for people; nothing is opened by this name.
func nameBelow(dir *os.File, path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return strings.TrimRight(dir.Name(), "/") + "/" + path
}

// Root opens the calling thread's root directory as a place.
func Root() (*os.File, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the root directory: %w", err)
	}
	return os.NewFile(uintptr(fd), "/"), nil
}

// peek is for statx(2): nobody is asked, what the kernel knows has to do. A FUSE
// server that never answers cannot be waited for then.
const peek = unix.AT_EMPTY_PATH | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC

// Here opens the calling thread's working directory as a place; name is what errors
// call it.
func Here(name string) (*os.File, error) {
	fd, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the working directory %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Stat asks for the attributes of an open file.
func Stat(f *os.File) (Info, error) { return stat(f, unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT) }

// Peek is [Stat] for a file that may lie on a user's own file system: identity, type
// and whether it is a mount's root are the kernel's word, owner and mode the user's.
func Peek(f *os.File) (Info, error) { return stat(f, peek) }

func stat(f *os.File, flags int) (Info, error) {
	var st unix.Statx_t
	const mask = unix.STATX_TYPE | unix.STATX_NLINK | unix.STATX_MODE | unix.STATX_UID | unix.STATX_GID | unix.STATX_INO
	if err := unix.Statx(int(f.Fd()), "", flags, mask, &st); err != nil {
		return Info{}, fmt.Errorf("cannot statx %s: %w%s", f.Name(), err, Hint("statx", err))
	}
	return Info{
		ID:        ID{Device: uint64(st.Dev_major)<<32 | uint64(st.Dev_minor), Inode: st.Ino},
		Type:      uint32(st.Mode) & unix.S_IFMT,
		Mode:      uint32(st.Mode) &^ unix.S_IFMT,
		UID:       st.Uid,
		GID:       st.Gid,
		MountRoot: st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
		Removed:   st.Mask&unix.STATX_NLINK != 0 && st.Nlink == 0,
	}, nil
}

// Flags returns the attributes (MOUNT_ATTR_NOSUID, _NODEV, _NOEXEC) of the
// mount that f lies on.
func Flags(f *os.File) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("cannot statfs %s: %w", f.Name(), err)
	}
	var attr uint64
	for _, pair := range [...]struct{ st, attr uint64 }{
		{unix.ST_NOSUID, unix.MOUNT_ATTR_NOSUID},
		{unix.ST_NODEV, unix.MOUNT_ATTR_NODEV},
		{unix.ST_NOEXEC, unix.MOUNT_ATTR_NOEXEC},
	} {
		if uint64(st.Flags)&pair.st != 0 {
			attr |= pair.attr
		}
	}
	return attr, nil
}

var flagNames = [...]struct {
	attr uint64
	name string
}{
	{unix.MOUNT_ATTR_NOSUID, "nosuid"},
	{unix.MOUNT_ATTR_NODEV, "nodev"},
	{unix.MOUNT_ATTR_NOEXEC, "noexec"},
}

// FlagNames returns the names that mount(8) has for attributes.
func FlagNames(attr uint64) []string {
	var names []string
	for _, flag := range flagNames {
		if attr&flag.attr != 0 {
			names = append(names, flag.name)
		}
	}
	return names
}

// FlagsNamed is the inverse of [FlagNames].
func FlagsNamed(names []string) uint64 {
	var attr uint64
	for _, flag := range flagNames {
		if slices.Contains(names, flag.name) {
			attr |= flag.attr
		}
	}
	return attr
}

// Clone makes a detached bind mount of f, with the mounts below it where
// recursive is set. f has to lie in the calling thread's mount namespace.
func Clone(f *os.File, recursive bool) (*os.File, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(int(f.Fd()), "", flags)
	if err != nil {
		return nil, fmt.Errorf("cannot clone the mount at %s (open_tree): %w%s", f.Name(), err, Hint("open_tree", err))
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// AddFlags makes the mount whose root f is stricter by the attributes given
// (unix.MOUNT_ATTR_*), with those below it where recursive is set.
func AddFlags(f *os.File, add uint64, recursive bool) error {
	if add == 0 {
		return nil
	}
	return setattr(f, unix.MountAttr{Attr_set: add}, recursive)
}

// SetFlags gives the mount whose root f is exactly these of the attributes that [Flags]
// returns.
func SetFlags(f *os.File, flags uint64) error {
	const all = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	return setattr(f, unix.MountAttr{Attr_set: flags, Attr_clr: all &^ flags}, false)
}

// SetPropagation sets how the mount whose root f is passes mounts on: unix.MS_SLAVE,
// MS_PRIVATE or MS_SHARED.
func SetPropagation(f *os.File, propagation uint64, recursive bool) error {
	return setattr(f, unix.MountAttr{Propagation: propagation}, recursive)
}

func setattr(f *os.File, attr unix.MountAttr, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(int(f.Fd()), "", flags, &attr); err != nil {
		return fmt.Errorf("cannot set the attributes of the mount at %s (mount_setattr): %w%s", f.Name(), err, Hint("mount_setattr", err))
	}
	return nil
}

// Detach takes the topmost mount at target away, with all below it, as soon as nobody
// uses it (umount2(2), MNT_DETACH).
func Detach(target *os.File) error {
	// By the descriptor: the path could lead elsewhere by now.
	path := "/proc/thread-self/fd/" + strconv.Itoa(int(target.Fd()))
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot detach the mount on %s: %w", target.Name(), err)
	}
	return nil
}

// Attach hangs a detached mount over target, which has to lie in the calling
// thread's mount namespace and to be a directory where the mount is one.
func Attach(mount, target *os.File) error {
	const flags = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	if err := unix.MoveMount(int(mount.Fd()), "", int(target.Fd()), "", flags); err != nil {
		return fmt.Errorf("cannot mount onto %s (move_mount): %w%s", target.Name(), err, Hint("move_mount", err))
	}
	return nil
}

// Tmpfs is what [NewTmpfs] makes.
type Tmpfs struct {
	Size, Inodes  uint64 // 0: the kernel's default
	Percent       uint   // of the machine's memory, where Size is 0
	Mode          uint32
	UID, GID      uint32
	Flags         uint64 // MOUNT_ATTR_*
	SELinuxLabel  string // of its root directory; empty: the policy's default
	SourceInTable string // the first column of /proc/mounts
}

// NewTmpfs makes a detached tmpfs mount. Its descriptor serves as a directory too.
func NewTmpfs(t Tmpfs) (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make a tmpfs (fsopen): %w%s", err, Hint("fsopen", err))
	}
	defer unix.Close(fs)
	for _, option := range tmpfsOptions(t) {
		if err := unix.FsconfigSetString(fs, option[0], option[1]); err != nil {
			return nil, fmt.Errorf("cannot set the tmpfs option %s=%s: %w", option[0], option[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("cannot make a tmpfs (fsconfig): %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(t.Flags))
	if err != nil {
		return nil, fmt.Errorf("cannot make a tmpfs (fsmount): %w", err)
	}
	return os.NewFile(uintptr(fd), "tmpfs"), nil
}

func tmpfsOptions(t Tmpfs) [][2]string {
	options := [][2]string{
		{"source", t.SourceInTable},
		{"mode", strconv.FormatUint(uint64(t.Mode), 8)},
		{"uid", strconv.FormatUint(uint64(t.UID), 10)},
		{"gid", strconv.FormatUint(uint64(t.GID), 10)},
	}
	switch {
	case t.Size != 0:
		options = append(options, [2]string{"size", strconv.FormatUint(t.Size, 10)})
	case t.Percent != 0:
		options = append(options, [2]string{"size", strconv.FormatUint(uint64(t.Percent), 10) + "%"})
	}
	if t.Inodes != 0 {
		options = append(options, [2]string{"nr_inodes", strconv.FormatUint(t.Inodes, 10)})
	}
	if t.SELinuxLabel != "" {
		options = append(options, [2]string{"rootcontext", t.SELinuxLabel})
	}
	return options
}

// markName is the extended attribute in which root alone writes (xattr(7)).
const markName = "trusted.gotmpns"

// SetMark gives a directory, open for reading, a mark that goes where it goes and
// ends with it, unlike its number. False: the file system has no room for one (NFS), or
// root of a user namespace, as in a container, may not write any.
func SetMark(dir *os.File, mark string) (bool, error) {
	err := unix.Fsetxattr(int(dir.Fd()), markName, []byte(mark), 0)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPERM):
		return false, nil
	}
	return false, fmt.Errorf("cannot mark %s: %w", dir.Name(), err)
}

// Mark reads the mark of the directory at a place; empty where there is none. The
// place must not lie on a user's own file system ([Tree.Trust]).
func Mark(place *os.File) string {
	dir, err := ReadDir(place, ".")
	if err != nil {
		return ""
	}
	defer dir.Close()
	var mark [256]byte
	n, err := unix.Fgetxattr(int(dir.Fd()), markName, mark[:])
	if err != nil {
		return ""
	}
	return string(mark[:n])
}

// SELinuxLabel returns the security context of f, which must be open for
// reading; empty where there is none.
func SELinuxLabel(f *os.File) string {
	var label [4096]byte // a level may have a thousand categories
	n, err := unix.Fgetxattr(int(f.Fd()), "security.selinux", label[:])
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(label[:n]), "\x00")
}

// SetSELinuxLabel gives f, open for reading, a security context; none is no error.
func SetSELinuxLabel(f *os.File, label string) error {
	if label == "" {
		return nil
	}
	if err := unix.Fsetxattr(int(f.Fd()), "security.selinux", append([]byte(label), 0), 0); err != nil {
		return fmt.Errorf("cannot label %s as %s: %w", f.Name(), label, err)
	}
	return nil
}
