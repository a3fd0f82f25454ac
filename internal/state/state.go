// Package state keeps what has to be remembered from one login to the next, in
// /run/gotmpns, which only root can enter and which a reboot empties:
//
//	bases/TARGET           which directory is the base of a target, by name and inode
//	tmpfs/TARGET@INSTANCE  which tmpfs is an instance, by device
//	sessions/PID-START-X   one open session: a claim, true while its process lives
//	lock                   held by whoever makes a base or an instance
//	lock.UID               held by whoever makes a tmpfs for a user, until it is attached
//
// A record is a few lines of KEY="VALUE" and is put in place by rename(2), so
// nobody reads half of one. What it says about files is verified against the
// files each time; a record that is missing, unreadable or untrue costs a fresh
// directory, never somebody else's.
package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// Path is the state directory, as the host sees it.
const Path = "/run/gotmpns"

// unfinished begins the name of a record that is not in place yet.
const unfinished = ".new-"

// largest bounds what is read of a record.
const largest = 64 << 10

// Dir is the open state directory.
type Dir struct {
	dir  *os.File // nil: there is none, and nothing to read in it
	proc *os.File // /proc, to tell the living from the dead
}

// Open opens the state directory below root, making it where it is missing.
func Open(root *os.File) (*Dir, error) {
	run, err := mountfd.OpenDir(root, "/run")
	if err != nil {
		return nil, err
	}
	defer run.Close()
	dir, err := subdirectory(run, "gotmpns")
	if err != nil {
		return nil, err
	}
	proc, err := mountfd.OpenDir(root, "/proc")
	if err != nil {
		return nil, err
	}
	return &Dir{dir: dir, proc: proc}, nil
}

// Close closes the directory. What it has told stays true or not by itself.
func (d *Dir) Close() error {
	if d.dir == nil {
		return d.proc.Close()
	}
	return errors.Join(d.dir.Close(), d.proc.Close())
}

// Look opens the state directory below root to read in it, and makes nothing:
// where there is none, nothing is recorded. Only root can look; what anybody else
// gets is a permission error (fs.ErrPermission).
func Look(root *os.File) (*Dir, error) {
	proc, err := mountfd.OpenDir(root, "/proc")
	if err != nil {
		return nil, err
	}
	dir, err := mountfd.ReadDir(root, Path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Dir{proc: proc}, nil
	}
	return &Dir{dir: dir, proc: proc}, err
}

// subdirectory opens a directory that only root can enter; one that is not so
// is refused, not mended.
func subdirectory(parent *os.File, name string) (*os.File, error) {
	dir, err := mountfd.OpenDir(parent, name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := unix.Mkdirat(int(parent.Fd()), name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("cannot make %s/%s: %w", parent.Name(), name, err)
		}
		dir, err = mountfd.OpenDir(parent, name)
	}
	if err != nil {
		return nil, err
	}
	info, err := mountfd.Stat(dir)
	if err != nil {
		return nil, err
	}
	if info.UID != 0 || info.Mode&0o7777 != 0o700 {
		return nil, fmt.Errorf("cannot trust %s: it belongs to uid %d with mode %#o, not to root with 0700; remove it, it will be made anew",
			dir.Name(), info.UID, info.Mode)
	}
	return dir, nil
}

// Lock waits until nobody else makes a base or an instance. The lock goes with
// the returned function or with the process; whoever waits for an answer that
// comes so late has a deadline.
func (d *Dir) Lock() (unlock func(), err error) { return d.lock("lock") }

// LockUser waits until nobody else makes a tmpfs for a user: that lock is held until
// a login process has committed, and others must not have to wait for it.
func (d *Dir) LockUser(uid uint32) (unlock func(), err error) {
	return d.lock("lock." + strconv.FormatUint(uint64(uid), 10))
}

func (d *Dir) lock(name string) (unlock func(), err error) {
	fd, err := unix.Openat(int(d.dir.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s/%s: %w", Path, name, err)
	}
	for {
		err := unix.Flock(fd, unix.LOCK_EX)
		if err == nil {
			return func() { unix.Close(fd) }, nil
		}
		if !errors.Is(err, unix.EINTR) {
			unix.Close(fd)
			return nil, fmt.Errorf("cannot lock %s/%s: %w", Path, name, err)
		}
	}
}

// key makes a file name of a target; the escape of URLs has neither slash nor
// @ in it and is known to everybody.
func key(target string) string { return url.QueryEscape(target) }

// fields are the lines of a record, in the order in which they are written.
type fields []field
type field struct{ name, value string }

func (f fields) get(name string) string {
	for _, field := range f {
		if field.name == name {
			return field.value
		}
	}
	return ""
}

func (f fields) number(name string) uint64 {
	n, err := strconv.ParseUint(f.get(name), 10, 64)
	if err != nil {
		return 0 // no file has inode 0: it will not be found to be true
	}
	return n
}

func (f fields) id() mountfd.ID {
	return mountfd.ID{Device: f.number("DEVICE"), Inode: f.number("INODE")}
}

func idFields(id mountfd.ID) fields {
	return fields{
		{"DEVICE", strconv.FormatUint(id.Device, 10)},
		{"INODE", strconv.FormatUint(id.Inode, 10)},
	}
}

// format quotes every value: a name may have a line break in it.
func format(f fields) string {
	var text strings.Builder
	for _, field := range f {
		text.WriteString(field.name + "=" + strconv.Quote(field.value) + "\n")
	}
	return text.String()
}

func parse(text string) (fields, error) {
	var f fields
	for line := range strings.Lines(text) {
		name, quoted, found := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		value, err := strconv.Unquote(quoted)
		if !found || err != nil {
			return nil, fmt.Errorf("cannot read the record: %q is not KEY=\"VALUE\"", line)
		}
		f = append(f, field{name, value})
	}
	return f, nil
}

// read returns a record's fields, and nil where there is none to be believed.
func (d *Dir) read(directory, name string) fields {
	if d.dir == nil {
		return nil
	}
	dir, err := mountfd.OpenDir(d.dir, directory)
	if err != nil {
		return nil
	}
	defer dir.Close()
	return readIn(dir, name)
}

func readIn(dir *os.File, name string) fields {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, largest))
	if err != nil {
		return nil
	}
	record, err := parse(string(text))
	if err != nil {
		return nil
	}
	return record
}

// write puts a record in place as a whole.
func (d *Dir) write(directory, name string, f fields) error {
	dir, err := subdirectory(d.dir, directory)
	if err != nil {
		return err
	}
	defer dir.Close()
	temporary := unfinished + Random()
	fd, err := unix.Openat(int(dir.Fd()), temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write %s/%s/%s: %w", Path, directory, name, err)
	}
	file := os.NewFile(uintptr(fd), temporary)
	_, err = file.WriteString(format(f))
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = unix.Renameat(int(dir.Fd()), temporary, int(dir.Fd()), name)
	}
	if err != nil {
		_ = unix.Unlinkat(int(dir.Fd()), temporary, 0)
		return fmt.Errorf("cannot write %s/%s/%s: %w", Path, directory, name, err)
	}
	return nil
}

// names lists a directory of records.
func (d *Dir) names(directory string) []string {
	if d.dir == nil {
		return nil
	}
	dir, err := mountfd.ReadDir(d.dir, directory)
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	return names
}

func (d *Dir) remove(directory, name string) {
	dir, err := mountfd.OpenDir(d.dir, directory)
	if err != nil {
		return
	}
	defer dir.Close()
	_ = unix.Unlinkat(int(dir.Fd()), name, 0) // another sweeper may have been quicker
}

// Random returns eight characters that nobody can guess, from getrandom(2).
func Random() string {
	const letters = "0123456789abcdef"
	var raw [4]byte
	for {
		if n, err := unix.Getrandom(raw[:], 0); err == nil && n == len(raw) {
			break
		}
	}
	text := make([]byte, 0, 2*len(raw))
	for _, b := range raw {
		text = append(text, letters[b>>4], letters[b&15])
	}
	return string(text)
}
