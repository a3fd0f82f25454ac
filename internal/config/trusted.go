package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// largest is far more than anybody writes, and less than it takes to make the parser
// recurse too deeply or to keep a login waiting.
const largest = 64 << 10

// read returns what is in a file of root's. It is opened as a path first, so that a
// FIFO or a device never is.
func (l loader) read(path string) ([]byte, error) {
	root, err := mountfd.Root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	place, err := mountfd.Open(root, path)
	if err != nil {
		return nil, err
	}
	defer place.Close()
	if err := l.judge(place, unix.S_IFREG); err != nil {
		return nil, err
	}
	f, err := mountfd.OpenRegular(root, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Once more, for it may be another file by now.
	if err := l.judge(f, unix.S_IFREG); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, largest+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	case len(text) > largest:
		return nil, fmt.Errorf("cannot use %s: it is larger than %d bytes", path, largest)
	}
	return text, nil
}

// judge refuses files that others than root could have written.
func (l loader) judge(f *os.File, kind uint32) error {
	info, err := mountfd.Stat(f)
	switch {
	case err != nil:
		return err
	case info.Type != kind && kind == unix.S_IFREG:
		return fmt.Errorf("cannot use %s: it is not a regular file", f.Name())
	case info.Type != kind:
		return fmt.Errorf("cannot use %s: it is not a directory", f.Name())
	case info.UID != l.owner:
		return fmt.Errorf("cannot trust %s: it belongs to uid %d; run \"chown root %s\" if you trust what is in it", f.Name(), info.UID, f.Name())
	case info.Mode&mountfd.WritableByOthers != 0:
		return fmt.Errorf("cannot trust %s: others can write to it (mode %#o); run \"chmod go-w %s\" if you trust what is in it",
			f.Name(), info.Mode, f.Name())
	}
	return nil
}

// namesIn lists the *.toml of a directory of drop-ins; a missing one has none.
func (l loader) namesIn(directory string) ([]string, error) {
	root, err := mountfd.Root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	dir, err := mountfd.ReadDir(root, directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := l.judge(dir, unix.S_IFDIR); err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", dir.Name(), err)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasSuffix(name, ".toml") || strings.HasPrefix(name, ".")
	}), nil
}
