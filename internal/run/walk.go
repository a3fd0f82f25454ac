package run

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// mostLinks is the kernel's own limit, path_resolution(7).
const mostLinks = 40

// walker opens paths as places (O_PATH), component by component, so that what is
// mounted on is what was looked at. It follows symbolic links, for /bin is one,
// but not those of other users: they would say where root mounts.
type walker struct {
	uid     uint32
	unknown bool            // in a user namespace, all owners but uid look alike
	fresh   map[uint64]bool // devices of the file systems that are the command's own
}

// open opens path. Where create is S_IFDIR or S_IFREG, what is missing is made,
// but in a fresh file system only: nowhere else may anything be left behind.
func (w walker) open(path string, create uint32) (*os.File, error) {
	at, err := placeOf(strings.HasPrefix(path, "/"))
	if err != nil {
		return nil, err
	}
	rest, links := components(path), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		kind := create
		if len(rest) > 0 && create != 0 {
			kind = unix.S_IFDIR
		}
		next, err := w.step(at, name, path, kind)
		if err != nil {
			at.Close()
			return nil, err
		}
		link, isLink, err := w.readLink(at, next, path)
		switch {
		case err != nil:
		case !isLink:
			at.Close()
			at = next
			continue
		case links >= mostLinks:
			err = fmt.Errorf("cannot open %s: %w", path, unix.ELOOP)
		case strings.HasPrefix(link, "/"):
			at.Close()
			at, err = placeOf(true)
		}
		next.Close()
		if err != nil {
			return nil, err
		}
		links++
		rest = append(components(link), rest...)
	}
	return at, nil
}

// placeOf opens the root or the working directory.
func placeOf(root bool) (*os.File, error) {
	if root {
		return mountfd.Root()
	}
	fd, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the working directory: %w", err)
	}
	return os.NewFile(uintptr(fd), "."), nil
}

func components(path string) []string {
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}

func (w walker) step(at *os.File, name, path string, create uint32) (*os.File, error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(at.Fd()), name, flags, 0)
	if errors.Is(err, unix.ENOENT) && create != 0 && w.isFresh(at) {
		if err := makeMountPoint(at, name, create); err != nil {
			return nil, fmt.Errorf("cannot make %s for %s: %w", name, path, err)
		}
		fd, err = unix.Openat(int(at.Fd()), name, flags, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func makeMountPoint(dir *os.File, name string, kind uint32) error {
	if kind == unix.S_IFDIR {
		return unix.Mkdirat(int(dir.Fd()), name, 0o755)
	}
	return unix.Mknodat(int(dir.Fd()), name, unix.S_IFREG|0o644, 0)
}

func (w walker) isFresh(dir *os.File) bool {
	info, err := mountfd.Stat(dir)
	return err == nil && w.fresh[info.Device]
}

// readLink says where a symbolic link in dir leads.
func (w walker) readLink(dir, link *os.File, path string) (to string, isLink bool, err error) {
	info, err := mountfd.Stat(link)
	if err != nil || info.Type != unix.S_IFLNK {
		return "", false, err
	}
	around, err := mountfd.Stat(dir)
	if err != nil {
		return "", false, err
	}
	if !w.mayFollow(info, around) {
		return "", false, fmt.Errorf("cannot open %s: a symbolic link of another user (uid %d) lies on the way, which could lead anywhere", path, info.UID)
	}
	var buffer [unix.PathMax]byte
	n, err := unix.Readlinkat(int(link.Fd()), "", buffer[:])
	if err != nil {
		return "", false, fmt.Errorf("cannot read the symbolic link on the way to %s: %w", path, err)
	}
	return string(buffer[:n]), true, nil
}

// mayFollow allows links of the caller and of root. Where root cannot be distinguished from
// others, it allows those that lie where not everybody can have put them.
func (w walker) mayFollow(link, dir mountfd.Info) bool {
	switch {
	case link.UID == w.uid:
		return true
	case w.unknown:
		return dir.Mode&mountfd.WritableByOthers == 0
	default:
		return link.UID == 0
	}
}
