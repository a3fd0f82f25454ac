package usage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// tableAtMost bounds how much of one mount table is read, in bytes: a user can
	// make 100,000 mounts (fs.mount-max).
	tableAtMost = 16 << 20
	// lineAtMost is more than root, mount point and options of a mount can have.
	lineAtMost = 128 << 10
	// shownAtMost bounds how many mounts of instances one namespace is remembered by.
	shownAtMost = 4096
)

// errTooLong says that a mount table is longer than anybody wants to read.
var errTooLong = errors.New("the mount table is too long")

// location is a directory by its file system and its path in there, in the writing
// of /proc/PID/mountinfo (proc(5)).
type location struct {
	device string // MAJOR:MINOR
	path   string
}

func (l location) parent() location { return location{l.device, path.Dir(l.path)} }

// has says whether l is the other one or lies above it.
func (l location) has(other location) bool {
	return l.device == other.device &&
		(l.path == "/" || strings.HasPrefix(other.path, l.path) &&
			(len(other.path) == len(l.path) || other.path[len(l.path)] == '/'))
}

// located is a tree, with all that it can be recognised by.
type located struct {
	Tree
	location
	id fileID
}

func (t located) base() location { return t.parent() }

// locate finds out where trees lie in their file systems, by the table of the
// namespace that the thread is in.
func (f *Finder) locate(trees []Tree) ([]located, error) {
	found := make([]located, len(trees))
	byMount := map[string][]int{}
	for i, tree := range trees {
		st, err := statx(int(tree.Dir.Fd()), "", unix.AT_EMPTY_PATH)
		if err != nil {
			return nil, fmt.Errorf("cannot statx %s: %w", tree.Dir.Name(), err)
		}
		name, err := f.pathOf(tree.Dir)
		if err != nil {
			return nil, err
		}
		found[i] = located{Tree: tree, location: location{path: name}, id: idOf(st)}
		mount := strconv.FormatUint(st.Mnt_id, 10)
		byMount[mount] = append(byMount[mount], i)
	}
	table, err := f.openTable("thread-self")
	if err != nil {
		return nil, err
	}
	defer table.Close()
	err = eachMount(table, func(m mount) error {
		for _, i := range byMount[string(m.id)] {
			inside, ok := below(found[i].path, string(m.point))
			if !ok {
				return fmt.Errorf("cannot find %s below the mount on %s", found[i].path, m.point)
			}
			found[i].location = location{string(m.device), strings.TrimSuffix(string(m.root), "/") + inside}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, t := range found {
		if t.device == "" {
			return nil, fmt.Errorf("cannot find the mount of %s in the mount table of the host", t.Dir.Name())
		}
	}
	return found, nil
}

// pathOf returns the path of an open directory, with the escapes of a mount table.
func (f *Finder) pathOf(dir *os.File) (string, error) {
	var text [unix.PathMax]byte
	n, err := unix.Readlinkat(int(f.proc.Fd()), "thread-self/fd/"+strconv.Itoa(int(dir.Fd())), text[:])
	if err != nil {
		return "", fmt.Errorf("cannot find the path of %s: %w", dir.Name(), err)
	}
	return escapes.Replace(string(text[:n])), nil
}

var escapes = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// below returns what follows a directory in a path, with a leading slash.
func below(path, directory string) (string, bool) {
	if directory == "/" {
		return path, true
	}
	rest, ok := strings.CutPrefix(path, directory)
	return rest, ok && strings.HasPrefix(rest, "/")
}

// openTable opens the mount table of a process or thread, by its directory in /proc;
// it holds the namespace as long as it is open.
func (f *Finder) openTable(task string) (*os.File, error) {
	fd, err := unix.Openat(int(f.proc.Fd()), task+"/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open /proc/%s/mountinfo: %w", task, err)
	}
	return os.NewFile(uintptr(fd), "/proc/"+task+"/mountinfo"), nil
}

// mount is what matters of one line; it is valid until the next one.
type mount struct{ id, device, root, point []byte }

// eachMount reads a table; no line is taken apart further than it has to be.
func eachMount(table io.Reader, use func(mount) error) error {
	limited := &io.LimitedReader{R: table, N: tableAtMost}
	lines := bufio.NewReaderSize(limited, lineAtMost)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case limited.N <= 0, errors.Is(err, bufio.ErrBufferFull):
			return errTooLong
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case err != nil:
			return fmt.Errorf("cannot read a mount table: %w", err)
		}
		var m mount
		var found bool
		m.id, line, _ = bytes.Cut(line, []byte(" "))
		_, line, _ = bytes.Cut(line, []byte(" ")) // the parent
		m.device, line, _ = bytes.Cut(line, []byte(" "))
		m.root, line, _ = bytes.Cut(line, []byte(" "))
		if m.point, _, found = bytes.Cut(line, []byte(" ")); !found {
			return fmt.Errorf("cannot read a mount table: a line has too few fields")
		}
		if err := use(m); err != nil {
			return err
		}
	}
}

// EachMountPoint calls use with every mount point that a process sees, as it sees it.
// It ends early, without an error, where the table is too long.
func EachMountPoint(pid int, use func(path string)) error {
	table, err := os.Open("/proc/" + strconv.Itoa(pid) + "/mountinfo")
	if err != nil {
		return fmt.Errorf("cannot read a mount table: %w", err)
	}
	defer table.Close()
	err = eachMount(table, func(m mount) error {
		use(unescape.Replace(string(m.point)))
		return nil
	})
	if errors.Is(err, errTooLong) {
		return nil
	}
	return err
}

// shown returns the mounts of instances, or of parts of them, in the table of a
// process or thread in a namespace: those whose root lies in one of the bases.
func (s *search) shown(task string, sp *space) (shown []location, err error) {
	if s.isSpent(sp.owner, 0) {
		return nil, errTooLong
	}
	began := time.Now()
	defer func() { s.spent[sp.owner] += time.Since(began) }()
	table, err := s.openTable(task)
	if err != nil {
		return nil, err
	}
	defer table.Close()
	lines := 0
	err = eachMount(table, func(m mount) error {
		if lines++; lines%64 == 0 {
			if s.stop() {
				return ErrStopped
			}
			if s.isSpent(sp.owner, time.Since(began)) {
				return errTooLong
			}
		}
		at := s.inBase(m)
		switch {
		case at == location{}, len(shown) > 0 && shown[len(shown)-1] == at:
			return nil
		case len(shown) == shownAtMost:
			return errTooLong
		}
		shown = append(shown, at)
		return nil
	})
	return shown, err
}

// isSpent says that a user has had their share of the time. Stacked mounts make each line
// of a table longer to print for the kernel, and a user can have many namespaces.
func (s *search) isSpent(owner uint32, now time.Duration) bool {
	return owner != 0 && s.spent[owner]+now > s.share
}

func (s *search) inBase(m mount) location {
	for _, base := range s.bases {
		// Most lines end here: nothing is copied.
		if string(m.device) != base.device || len(m.root) < len(base.path) || string(m.root[:len(base.path)]) != base.path {
			continue
		}
		if at := (location{string(m.device), string(m.root)}); at != base && base.has(at) {
			return at
		}
	}
	return location{}
}
