package mountfd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tree is a root directory and the table of the mounts below it.
//
// A user can mount a FUSE file system almost anywhere that is theirs, and answers
// then for every name, owner and mode on it, or never answers at all. So a path is
// walked mount by mount, and no mount is entered that is a user's: looking at the
// root of a mount asks nobody, looking further does.
type Tree struct {
	Root  *os.File // as a place; not owned
	Table string   // the mountinfo file of a process that has these mounts (proc(5))
	Known []uint64 // devices (as in [ID]) of files that are held open and that root answers for
}

// Open opens an absolute path as a place (O_PATH), as [Open] does; the result is
// the caller's to close. A file system that a user answers for is refused with an
// error that is [ErrUsers].
func (t Tree) Open(path string) (*os.File, error) { return t.OpenBelow(t.Root, path) }

// OpenTrusted is [Tree.Open] for a path that leads nowhere else, whatever others than
// root do: the file and every directory on the way are root's, and nobody else can write
// to them. A symbolic link is not followed.
func (t Tree) OpenTrusted(name string) (*os.File, error) {
	for at := path.Dir(name); ; at = path.Dir(at) {
		dir, err := t.openRoots(at)
		if err != nil {
			return nil, err
		}
		dir.Close()
		if at == "/" {
			return t.openRoots(name)
		}
	}
}

// CanBeReplaced says whether others than root can make something at a path, or put something
// else in its place; also where that cannot be found out.
func (t Tree) CanBeReplaced(name string) bool {
	parent, err := t.OpenTrusted(path.Dir(name))
	if err != nil {
		return true
	}
	parent.Close()
	return false
}

// WritableByOthers are the permissions that let others than root change a file.
const WritableByOthers = 0o022

func (t Tree) openRoots(name string) (*os.File, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := Stat(f)
	if err == nil && (info.UID != 0 || info.Mode&WritableByOthers != 0) {
		err = fmt.Errorf("cannot trust %s: it belongs to uid %d with mode %#o, so others than root can replace what is in it",
			name, info.UID, info.Mode)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ErrUsers says that a path leads to a file system that a user answers for.
var ErrUsers = errors.New("a user's own file system (FUSE) is mounted there")

// OpenBelow is [Tree.Open] for a path below dir.
func (t Tree) OpenBelow(dir *os.File, path string) (*os.File, error) {
	relative := strings.Trim(path, "/")
	name := nameBelow(dir, path)
	fd, err := openat2(int(dir.Fd()), relative, unix.O_PATH, unix.RESOLVE_NO_XDEV)
	if err == nil {
		return os.NewFile(uintptr(fd), name), nil
	}
	if !errors.Is(err, unix.EXDEV) {
		return nil, openError(name, err)
	}
	return t.walk(dir, relative, name)
}

// walk goes from name to name, and looks at each mount before it goes on.
func (t Tree) walk(dir *os.File, relative, name string) (*os.File, error) {
	at := dir
	if !strings.Contains(relative, "/") {
		return t.cross(dir, relative, name) // it is known to be another mount
	}
	for part := range strings.SplitSeq(relative, "/") {
		next, err := t.step(at, part, name)
		if at != dir {
			at.Close()
		}
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

func (t Tree) step(at *os.File, part, name string) (*os.File, error) {
	fd, err := openat2(int(at.Fd()), part, unix.O_PATH, unix.RESOLVE_NO_XDEV)
	if err == nil {
		return os.NewFile(uintptr(fd), name), nil
	}
	if !errors.Is(err, unix.EXDEV) {
		return nil, openError(name, err)
	}
	return t.cross(at, part, name)
}

// cross opens an entry that is another mount.
func (t Tree) cross(at *os.File, part, name string) (*os.File, error) {
	fd, err := openat2(int(at.Fd()), part, unix.O_PATH, 0)
	if err != nil {
		return nil, openError(name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := t.Trust(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Trust says whether root answers for the mount that f, a place, lies on: an error
// that is [ErrUsers] means that a user does. It asks no file system.
func (t Tree) Trust(f *os.File) error {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", peek, 0, &st); err != nil {
		return fmt.Errorf("cannot statx %s: %w%s", f.Name(), err, Hint("statx", err))
	}
	device := uint64(st.Dev_major)<<32 | uint64(st.Dev_minor)
	if st.Dev_major != 0 || slices.Contains(t.Known, device) {
		return nil // a block device: FUSE has none, but for fuseblk, which is root's
	}
	if magic, ok := superMagic(f); ok && magic != unix.FUSE_SUPER_MAGIC {
		return nil
	}
	return t.trustInTable(f)
}

// trustInTable looks at the table, which kernels before 6.8 have to be asked for, and
// which says whose FUSE it is.
func (t Tree) trustInTable(f *os.File) error {
	line, err := t.line(f)
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(line, " - ")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return fmt.Errorf("cannot read the mount table: %q has too few fields", line)
	}
	if isFUSE(fields[0]) && !hasOption(fields[len(fields)-1], "user_id=0") {
		return fmt.Errorf("cannot use %s: %w", f.Name(), ErrUsers)
	}
	return nil
}

// isFUSE knows "fuse" and "fuse.sshfs"; fuseblk is root's, and fusectl is no FUSE.
func isFUSE(kind string) bool { return kind == "fuse" || strings.HasPrefix(kind, "fuse.") }

func hasOption(options, option string) bool {
	return strings.Contains(","+options+",", ","+option+",")
}

// statmount(2), Linux 6.8: the numbers are those of linux/mount.h.
const (
	sysStatmount     = 457 // on every architecture
	statmountSBBasic = 1
	statmountBasic   = 2
)

type mountRequest struct {
	size, spare uint32
	id, param   uint64
}

type mountStat struct {
	size, options    uint32
	mask             uint64
	major, minor     uint32
	magic            uint64
	flags, fsType    uint32
	id, parent       uint64
	oldID, oldParent uint32
	attributes       uint64
	propagation      uint64
	_                [512]byte // room for what later kernels add
}

// noStatmount is set where the kernel has no such call, or a filter refuses it (a unit of
// systemd before 257 cannot allow it): neither changes while the process lives.
var noStatmount atomic.Bool

// statmount asks for one mount of the calling thread's namespace; false where the
// kernel cannot say.
func statmount(f *os.File, mask uint64) (mountStat, bool) {
	var stx unix.Statx_t
	var out mountStat
	if noStatmount.Load() {
		return out, false
	}
	if unix.Statx(int(f.Fd()), "", peek, unix.STATX_MNT_ID_UNIQUE, &stx) != nil || stx.Mask&unix.STATX_MNT_ID_UNIQUE == 0 {
		return out, false
	}
	in := mountRequest{size: uint32(unsafe.Sizeof(mountRequest{})), id: stx.Mnt_id, param: mask}
	_, _, errno := unix.Syscall6(sysStatmount, uintptr(unsafe.Pointer(&in)), uintptr(unsafe.Pointer(&out)), unsafe.Sizeof(out), 0, 0, 0)
	if errno == unix.ENOSYS || errno == unix.EPERM {
		noStatmount.Store(true)
	}
	return out, errno == 0 && out.mask&mask == mask
}

func superMagic(f *os.File) (uint64, bool) {
	st, ok := statmount(f, statmountSBBasic)
	return st.magic, ok
}

// RootOf returns which directory of its file system the mount shows that f, a place,
// lies on; "//deleted" follows one that has been removed (proc(5), mountinfo).
func (t Tree) RootOf(f *os.File) (string, error) {
	line, err := t.line(f)
	if err != nil {
		return "", err
	}
	const root = 3
	if fields := strings.Fields(line); len(fields) > root {
		return unescape(fields[root]), nil
	}
	return "", fmt.Errorf("cannot read the mount table: %q has too few fields", line)
}

// IsShared says whether the mount that f, a place, lies on passes mounts on to peers.
func (t Tree) IsShared(f *os.File) (bool, error) {
	if st, ok := statmount(f, statmountBasic); ok {
		return st.propagation&unix.MS_SHARED != 0, nil
	}
	line, err := t.line(f)
	optional, _, _ := strings.Cut(line, " - ")
	return strings.Contains(optional, " shared:"), err
}

// MountID returns the number of the mount that f, a place, lies on. It means something only
// beside another one, while both are open.
func MountID(f *os.File) (uint64, error) {
	// Nothing is asked for: the kernel fills in the number of the mount in any case, and
	// a user's FUSE answers nobody else, root included, as soon as anything is.
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", peek, 0, &st); err != nil {
		return 0, fmt.Errorf("cannot statx %s: %w%s", f.Name(), err, Hint("statx", err))
	}
	return st.Mnt_id, nil
}

// line returns the line of the table for the mount that f lies on.
func (t Tree) line(f *os.File) (string, error) {
	id, err := MountID(f)
	if err != nil {
		return "", err
	}
	// Not by os.Open, which has the runtime's poller watch the file.
	fd, err := unix.Open(t.Table, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("cannot find out what is mounted on %s: %w", f.Name(), err)
	}
	table := os.NewFile(uintptr(fd), t.Table)
	defer table.Close()
	line, err := findLine(table, id)
	if err != nil {
		return "", fmt.Errorf("cannot find out what is mounted on %s: %w", f.Name(), err)
	}
	return line, nil
}

// findLine reads no further than it has to: the kernel makes the table as it is read.
func findLine(table io.Reader, id uint64) (string, error) {
	begin := strconv.FormatUint(id, 10) + " "
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), begin) {
			return lines.Text(), nil
		}
	}
	return "", errors.Join(lines.Err(), errors.New("the mount is not in the table of mounts"))
}

// unescape undoes the octal escapes of blanks and backslashes (proc(5)).
func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}
