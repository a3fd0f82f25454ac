package instance

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// What is mounted inside an instance needs something to be mounted on: a placeholder,
// which is root's, a directory or an empty file. The mount is in the sessions alone,
// so for the host the placeholder is an old file like any other, and the mount goes
// with it when the age-based cleaner removes it. systemd-tmpfiles(8) has two rules that
// spare it: it never removes a file with the sticky bit, nor a directory with something
// in it. So a file has that bit, and a directory has such a file in it.

// keeper is the file that keeps a directory. Users do not see it: the mount covers it.
const keeper = ".gotmpns"

const (
	fileMode      = unix.S_ISVTX | 0o600
	keeperMode    = unix.S_ISVTX | 0o400
	directoryMode = 0o755
	// Before the sticky bit, placeholders had this mode.
	oldFileMode = 0o600
)

// pointsName is the extended attribute of an instance in which root writes down the
// placeholders that were made in it, so that they can be removed when they are not
// needed any more: their paths below the instance, with a zero byte between them.
const pointsName = "trusted.gotmpns.points"

// MountPoint makes, where it is missing, the directory or file inside an instance
// that a mount goes over, and returns its identity. A placeholder of the other type is
// replaced. The instance is the user's to write to: anything on the way that is not
// root's own is refused.
func MountPoint(inside *os.File, relative string, directory bool) (mountfd.ID, error) {
	at := inside
	parts := strings.Split(relative, "/")
	for _, name := range parts[:len(parts)-1] {
		next, err := makeEntry(at, name, true)
		if at != inside {
			at.Close()
		}
		if err != nil {
			return mountfd.ID{}, pointError(relative, err)
		}
		at = next.file
	}
	if at != inside {
		defer at.Close()
	}
	point, err := makePlaceholder(at, parts[len(parts)-1], directory)
	if err == nil && point.made {
		err = recordPoint(inside, relative)
	}
	if err != nil {
		return mountfd.ID{}, pointError(relative, err)
	}
	return point.info.ID, nil
}

func pointError(relative string, err error) error {
	return fmt.Errorf("cannot make the mount point %s in the instance: %w", relative, err)
}

// entry is a directory or file of root's in an instance.
type entry struct {
	file *os.File
	info mountfd.Info
	made bool // by this call
}

var errOtherType = errors.New("it exists, and is not of the type that is needed")

// makePlaceholder makes or finds the last entry; its file is closed.
func makePlaceholder(dir *os.File, name string, directory bool) (entry, error) {
	e, err := makeEntry(dir, name, directory)
	if errors.Is(err, errOtherType) && removePlaceholder(dir, name) {
		e, err = makeEntry(dir, name, directory)
	}
	if err != nil {
		return entry{}, err
	}
	defer e.file.Close()
	// Where this fails, on a full file system, the mount is as good as without; the
	// next login tries again.
	switch {
	case directory:
		_ = unix.Mknodat(int(e.file.Fd()), keeper, unix.S_IFREG|keeperMode, 0)
	case e.info.Mode == oldFileMode:
		_ = unix.Chmod(openedPath(e.file), fileMode)
	}
	return e, nil
}

func makeEntry(dir *os.File, name string, directory bool) (e entry, err error) {
	if directory {
		err = unix.Mkdirat(int(dir.Fd()), name, directoryMode)
	} else {
		err = unix.Mknodat(int(dir.Fd()), name, unix.S_IFREG|fileMode, 0)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return entry{}, err
	}
	e.made = err == nil
	if e.file, err = mountfd.Open(dir, name); err != nil {
		return entry{}, err
	}
	e.info, err = mountfd.Stat(e.file)
	switch {
	case err != nil:
	case e.info.UID != 0:
		err = fmt.Errorf("a file of uid %d has that name; it has to be removed or renamed first", e.info.UID)
	case e.info.IsDir() != directory:
		err = errOtherType
	case e.made && directory:
		// Users have to pass through it, whatever the umask is. By the descriptor: where the
		// instance is the user's, another file can have that name by now.
		err = unix.Chmod(openedPath(e.file), directoryMode)
	}
	if err != nil {
		e.file.Close()
		return entry{}, err
	}
	return e, nil
}

// openedPath leads to the very file that a place shows, whatever its name is by now.
func openedPath(place *os.File) string {
	return "/proc/thread-self/fd/" + strconv.Itoa(int(place.Fd()))
}

// RemoveStale removes the placeholders in an instance that are not among wanted: those
// that are written down, and those of the names in possible, which versions before 0.2
// did not write down. Nothing is removed where another session
// of the user is open, for a mount on a placeholder would go with it; alone, which says that
// none is, is asked only where there is something to remove.
func RemoveStale(inside *os.File, wanted, possible []string, alone func() bool) {
	points, ok := readPoints(inside)
	if !hasStale(inside, points, wanted, possible) || !alone() {
		return
	}
	var kept []string
	for _, point := range points {
		if slices.Contains(wanted, point) || !removePoint(inside, point) {
			kept = append(kept, point)
		}
	}
	for _, point := range possible {
		if !slices.Contains(points, point) && !slices.Contains(wanted, point) {
			removePoint(inside, point)
		}
	}
	if ok && len(kept) < len(points) {
		_ = writePoints(inside, kept)
	}
}

// hasStale says whether there is anything that is not wanted.
func hasStale(inside *os.File, points, wanted, possible []string) bool {
	if slices.ContainsFunc(points, func(point string) bool { return !slices.Contains(wanted, point) }) {
		return true
	}
	return slices.ContainsFunc(possible, func(point string) bool {
		if slices.Contains(points, point) || slices.Contains(wanted, point) {
			return false
		}
		f, err := mountfd.Open(inside, point)
		if err != nil {
			return false
		}
		f.Close()
		return true
	})
}

// removePoint removes a placeholder and the directories on the way to it that are
// empty then; gone says that nothing of it is left to be removed.
func removePoint(inside *os.File, point string) (gone bool) {
	parent, err := openParent(inside, point)
	if err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	gone = removePlaceholder(parent, path.Base(point))
	if parent != inside {
		parent.Close()
	}
	if above := path.Dir(point); gone && above != "." {
		removePoint(inside, above)
	}
	return gone
}

// openParent opens the directory that an entry of an instance is in, where every
// directory on the way is root's.
func openParent(inside *os.File, point string) (*os.File, error) {
	at := inside
	parts := strings.Split(point, "/")
	for _, name := range parts[:len(parts)-1] {
		next, err := mountfd.OpenDir(at, name)
		if at != inside {
			at.Close()
		}
		if err != nil {
			return nil, err
		}
		info, err := mountfd.Stat(next)
		if err == nil && info.UID != 0 {
			err = fmt.Errorf("%s belongs to uid %d", next.Name(), info.UID)
		}
		if err != nil {
			next.Close()
			return nil, err
		}
		at = next
	}
	return at, nil
}

// removePlaceholder removes what is root's own and has nothing in it. What a user has
// made is never touched; root's own cannot be exchanged by a user, for the directory
// is root's and has the sticky bit, or is not writable for others.
func removePlaceholder(dir *os.File, name string) (gone bool) {
	f, err := mountfd.Open(dir, name)
	if err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	defer f.Close()
	info, err := mountfd.Stat(f)
	switch {
	case err != nil, info.UID != 0, info.MountRoot:
		return false
	case info.IsDir():
		return info.Mode|directoryMode == directoryMode && removeDirectory(dir, f, name)
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || st.Size != 0 || st.Nlink != 1 || info.Type != unix.S_IFREG ||
		info.Mode != fileMode && info.Mode != oldFileMode {
		return false
	}
	return unix.Unlinkat(int(dir.Fd()), name, 0) == nil
}

// removeDirectory removes a directory with nothing but a keeper in it.
func removeDirectory(dir, f *os.File, name string) bool {
	readable, err := mountfd.ReadDir(f, ".")
	if err != nil {
		return false
	}
	defer readable.Close()
	names, _ := readable.Readdirnames(2)
	if len(names) > 1 || len(names) == 1 && names[0] != keeper {
		return false
	}
	_ = unix.Unlinkat(int(f.Fd()), keeper, 0)
	return unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR) == nil
}

// recordPoint writes down a placeholder. A file system without extended attributes
// is no reason to refuse a login: what is not needed any more stays there.
func recordPoint(inside *os.File, relative string) error {
	points, ok := readPoints(inside)
	if !ok || slices.Contains(points, relative) {
		return nil
	}
	err := writePoints(inside, append(points, relative))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.E2BIG) || errors.Is(err, unix.EDQUOT) {
		return nil
	}
	return err
}

// readPoints returns what is written down; false where it cannot be read.
func readPoints(inside *os.File) ([]string, bool) {
	dir, err := mountfd.ReadDir(inside, ".")
	if err != nil {
		return nil, false
	}
	defer dir.Close()
	text := make([]byte, 4096)
	n, err := unix.Fgetxattr(int(dir.Fd()), pointsName, text)
	if errors.Is(err, unix.ERANGE) {
		text = make([]byte, largestXattr)
		n, err = unix.Fgetxattr(int(dir.Fd()), pointsName, text)
	}
	switch {
	case errors.Is(err, unix.ENODATA):
		return nil, true
	case err != nil:
		return nil, false
	case n == 0:
		return nil, true
	}
	return strings.Split(string(text[:n]), "\x00"), true
}

const largestXattr = 64 << 10 // xattr(7)

func writePoints(inside *os.File, points []string) error {
	dir, err := mountfd.ReadDir(inside, ".")
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Fsetxattr(int(dir.Fd()), pointsName, []byte(strings.Join(points, "\x00")), 0); err != nil {
		return fmt.Errorf("cannot write down the mount points in %s: %w", inside.Name(), err)
	}
	return nil
}
