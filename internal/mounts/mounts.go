// Package mounts answers what lies where, from the mount tables of
// /proc/PID/mountinfo (proc(5)): which mount a path lies on, and by which path
// another table shows the same files.
//
// A table is read at one moment and may be untrue the next. It serves to tell
// people where things are; no login depends on it.
package mounts

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"gotmpns/internal/paths"
)

// Table is the mount table of one namespace, as a process in it sees it.
type Table []*mountinfo.Info

// Read reads the table of a process by its directory, such as /proc/self or
// /proc/1. Only root can read those of others.
func Read(proc string) (Table, error) {
	return read(proc, func([]byte) bool { return true })
}

// ReadAlong reads, of the table of a process, the mounts that lie on the way to some
// paths: what [Table.At] says of these is the same as with the whole table, which takes
// far longer to parse. What lies below the paths is missing.
func ReadAlong(proc string, wanted ...string) (Table, error) {
	return read(proc, func(line []byte) bool {
		point, escaped := pointIn(line)
		return escaped || slices.ContainsFunc(wanted, func(path string) bool { return paths.IsWithin(path, point) })
	})
}

// pointIn returns the mount point in a line of mountinfo (proc(5)); escaped says that it
// has to be parsed before it can be compared.
func pointIn(line []byte) (point string, escaped bool) {
	const before = 4 // fields
	for range before {
		_, line, _ = bytes.Cut(line, []byte(" "))
	}
	field, _, _ := bytes.Cut(line, []byte(" "))
	return string(field), bytes.IndexByte(field, '\\') >= 0
}

func read(proc string, wanted func(line []byte) bool) (Table, error) {
	text, err := readAll(proc + "/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot read a mount table: %w", err)
	}
	var lines []byte
	for line := range bytes.Lines(text) {
		if wanted(line) {
			lines = append(lines, line...)
		}
	}
	table, err := mountinfo.GetMountsFromReader(bytes.NewReader(lines), nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s/mountinfo: %w", proc, err)
	}
	return table, nil
}

// readAll reads without the runtime's poller, which os.File would ask in five system calls.
func readAll(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	const usual = 16 << 10 // some hundred mounts
	text := make([]byte, 0, usual)
	for {
		n, err := unix.Read(fd, text[len(text):cap(text)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 || err != nil {
			return text, err
		}
		text = text[:len(text)+n]
		text = slices.Grow(text, usual/4)
	}
}

// At returns the mount that an absolute path lies on, and nil where there is
// none. It goes down the tree as the kernel does: what another mount hides is
// not found, however long its path.
func (t Table) At(path string) *mountinfo.Info {
	at := t.root()
	for at != nil {
		next := t.child(at, path)
		if next == nil {
			break
		}
		at = next
	}
	return at
}

func (t Table) root() *mountinfo.Info {
	for _, m := range t {
		if m.Mountpoint != "/" {
			continue
		}
		if !slices.ContainsFunc(t, func(o *mountinfo.Info) bool { return o != m && o.ID == m.Parent }) {
			return m
		}
	}
	return nil
}

// child is the mount on the way to path that one meets first, coming from m.
func (t Table) child(m *mountinfo.Info, path string) *mountinfo.Info {
	var first *mountinfo.Info
	for _, o := range t {
		if o == m || o.Parent != m.ID || !paths.IsWithin(path, o.Mountpoint) {
			continue
		}
		if first == nil || len(o.Mountpoint) < len(first.Mountpoint) {
			first = o
		}
	}
	return first
}

// Same returns the path by which other shows what t shows at path; not found
// means that no mount of other leads there.
func (t Table) Same(path string, other Table) (string, bool) {
	m := t.At(path)
	if m == nil || IsRemoved(m) {
		return "", false
	}
	inside := Join(m.Root, path[len(strings.TrimSuffix(m.Mountpoint, "/")):])
	for _, o := range other {
		if o.Major != m.Major || o.Minor != m.Minor || !paths.IsWithin(inside, o.Root) {
			continue
		}
		there := Join(o.Mountpoint, inside[len(strings.TrimSuffix(o.Root, "/")):])
		if other.At(there) == o {
			return there, true
		}
	}
	return "", false
}

// IsRemoved says whether the directory or file that is mounted has been removed from
// its file system (proc(5)).
func IsRemoved(m *mountinfo.Info) bool { return strings.HasSuffix(m.Root, "//deleted") }

// Others returns the other paths by which the table shows the directory that it
// shows at a path, as far as they are not hidden by further mounts.
func (t Table) Others(path string) []string {
	m := t.At(path)
	if m == nil {
		return nil
	}
	inside := Join(m.Root, path[len(strings.TrimSuffix(m.Mountpoint, "/")):])
	var others []string
	for _, o := range t {
		if o.Major != m.Major || o.Minor != m.Minor || !paths.IsWithin(inside, o.Root) {
			continue
		}
		there := Join(o.Mountpoint, inside[len(strings.TrimSuffix(o.Root, "/")):])
		if there != path && t.At(there) == o && !slices.Contains(others, there) {
			others = append(others, there)
		}
	}
	return others
}

// Without is the table as it would be if mounts had not been made: they and
// what hangs on them are missing.
func (t Table) Without(mounts ...*mountinfo.Info) Table {
	gone := map[int]bool{}
	for _, m := range mounts {
		gone[m.ID] = true
	}
	for grown := true; grown; {
		grown = false
		for _, m := range t {
			if gone[m.Parent] && !gone[m.ID] {
				gone[m.ID], grown = true, true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(t), func(m *mountinfo.Info) bool { return gone[m.ID] })
}

// IsPoint says whether a mount begins at path.
func (t Table) IsPoint(path string) bool {
	m := t.At(path)
	return m != nil && m.Mountpoint == path
}

// IsShared says whether the mount at path passes mounts on to its peers.
func (t Table) IsShared(path string) bool {
	m := t.At(path)
	return m != nil && strings.Contains(m.Optional, "shared:")
}

// Join puts rest, which is empty or begins with a slash, behind a directory.
func Join(directory, rest string) string {
	joined := strings.TrimSuffix(strings.TrimSuffix(directory, "/")+rest, "/")
	if joined == "" {
		return "/"
	}
	return joined
}

// Shows says whether some mount of other begins at path or below it, as t names
// it: somebody has got hold of it, wherever it is mounted there. A path that t
// does not have is taken to be shown.
func (t Table) Shows(path string, other Table) bool {
	m := t.At(path)
	if m == nil {
		return true
	}
	inside := Join(m.Root, path[len(strings.TrimSuffix(m.Mountpoint, "/")):])
	return slices.ContainsFunc(other, func(o *mountinfo.Info) bool {
		return o.Major == m.Major && o.Minor == m.Minor && paths.IsWithin(o.Root, inside)
	})
}
