package instance

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// MountPoint makes, where it is missing, the directory or file inside an
// instance that a mount goes over, and says what it is. The instance is the
// user's to write to: what is not root's own on the way is refused.
func MountPoint(inside *os.File, relative string, directory bool) (mountfd.ID, error) {
	at := inside
	parts := strings.Split(relative, "/")
	for i, name := range parts {
		last := i == len(parts)-1
		next, err := step(at, name, directory || !last)
		if at != inside {
			at.Close()
		}
		if err != nil {
			return mountfd.ID{}, fmt.Errorf("cannot make the mount point %s in the instance: %w", relative, err)
		}
		at = next
	}
	info, err := mountfd.Stat(at)
	at.Close()
	return info.ID, err
}

func step(dir *os.File, name string, directory bool) (*os.File, error) {
	err := makeEntry(dir, name, directory)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	f, err := mountfd.Open(dir, name)
	if err != nil {
		return nil, err
	}
	info, err := mountfd.Stat(f)
	if err == nil && (info.UID != 0 || info.IsDir() != directory) {
		err = fmt.Errorf("something of uid %d has that name", info.UID)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func makeEntry(dir *os.File, name string, directory bool) error {
	if directory {
		return unix.Mkdirat(int(dir.Fd()), name, 0o755)
	}
	return unix.Mknodat(int(dir.Fd()), name, unix.S_IFREG|0o600, 0)
}
