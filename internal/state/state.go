// Package state keeps what has to be remembered from one login to the next, in
// /run/gotmpns, which only root can enter and which a reboot empties:
//
//	bases/TARGET                which directory is the base of a target, by name
//	tmpfs/UID/TARGET            the mark of the tmpfs that a user's sessions share
//	mountpoints/TARGET          a target that was made a mount point on the host
//	sessions/UID/PID-START-X    one open session: a claim, true while its process lives
//	processes/namespace         the PID namespace of the first login
//	notified/UID                a user who was told that there are private directories
//	locks/UID                   held by a login that makes something for that user
//
// What a login asks for is found by its user: no login reads the records of others.
// A record is a few lines of KEY="VALUE". What it says about files is verified
// against the files each time; a record that is missing, unreadable or untrue costs
// a fresh directory, never another user's.
//
// One thing outlasts a reboot: /var/lib/gotmpns/bases/TARGET names a target that has had a
// base, so that the previous base is found on any file system.
//
// Nothing here is a lock between users, and the lock of one user has a deadline.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// durable is the directory of what outlasts a reboot.
const durable = "/var/lib/gotmpns"

// Path is the state directory, as the host sees it.
const Path = "/run/gotmpns"

// unfinished begins the name of a record that is not in place yet.
const unfinished = ".new-"

// largest bounds what is read of a record.
const largest = 64 << 10

// Dir is the open state directory.
type Dir struct {
	dir  *os.File // nil: there is none, and nothing to read in it
	root *os.File // the caller's
}

// Open opens the state directory below root, making it where it is missing.
func Open(root *os.File) (*Dir, error) {
	dir, err := subdirectory(root, strings.TrimPrefix(Path, "/"))
	if err != nil {
		return nil, err
	}
	return &Dir{dir: dir, root: root}, nil
}

// Close closes the directory.
func (d *Dir) Close() error {
	if d.dir == nil {
		return nil
	}
	return d.dir.Close()
}

// Look opens the state directory below root to read in it, and makes nothing:
// where there is none, nothing is recorded. Only root can look; what anybody else
// gets is a permission error (fs.ErrPermission).
func Look(root *os.File) (*Dir, error) {
	dir, err := mountfd.ReadDir(root, Path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Dir{root: root}, nil
	}
	return &Dir{dir: dir, root: root}, err
}

// subdirectory opens a directory that only root can enter, making it where it is missing;
// one that is not so is refused, not repaired.
func subdirectory(parent *os.File, name string) (*os.File, error) {
	dir, _, err := makeSubdirectory(parent, name)
	return dir, err
}

// makeSubdirectory is [subdirectory], and says whether it has made the directory.
func makeSubdirectory(parent *os.File, name string) (dir *os.File, made bool, err error) {
	dir, err = mountfd.OpenDir(parent, name)
	if errors.Is(err, fs.ErrNotExist) {
		err = unix.Mkdirat(int(parent.Fd()), name, 0o700)
		made = err == nil
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, false, fmt.Errorf("cannot make %s/%s: %w", parent.Name(), name, err)
		}
		dir, err = mountfd.OpenDir(parent, name)
	}
	if err != nil {
		return nil, false, err
	}
	if err := isRootsAlone(dir); err != nil {
		dir.Close()
		return nil, false, err
	}
	return dir, made, nil
}

func isRootsAlone(dir *os.File) error {
	info, err := mountfd.Stat(dir)
	if err != nil || info.UID == 0 && info.Mode&0o7777 == 0o700 {
		return err
	}
	// What nobody but root could write is still true, and open sessions depend on it.
	const writableByOthers = 0o022
	advice := fmt.Sprintf("run \"chmod 700 %s\"", dir.Name())
	if info.UID != 0 || info.Mode&writableByOthers != 0 {
		advice = "remove it, it will be made again"
	}
	return fmt.Errorf("cannot trust %s: it belongs to uid %d with mode %#o, not to root with 0700; %s", dir.Name(), info.UID, info.Mode, advice)
}

// ErrBusy says that another login of the same user did not finish in time.
var ErrBusy = errors.New("another login of this user has not finished")

// LockUser takes the lock of one user, waiting for at most that long; the error is
// [ErrBusy] then. The lock goes with the returned function or with the process.
// Nothing that the user can lengthen may be done under it.
func (d *Dir) LockUser(uid uint32, wait time.Duration) (unlock func(), err error) {
	locks, err := subdirectory(d.dir, "locks")
	if err != nil {
		return nil, err
	}
	defer locks.Close()
	name := uidName(uid)
	fd, err := unix.Openat(int(locks.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s/locks/%s: %w", Path, name, err)
	}
	if err := flock(fd, time.Now().Add(wait)); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot lock %s/locks/%s: %w", Path, name, err)
	}
	return func() { unix.Close(fd) }, nil
}

// flock asks again and again, for flock(2) has no deadline, and a signal that ended
// it would have to find its thread.
func flock(fd int, deadline time.Time) error {
	const shortest, longest = 100 * time.Microsecond, 10 * time.Millisecond
	for pause := shortest; ; pause = min(2*pause, longest) {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return err
		case time.Now().After(deadline):
			return ErrBusy
		}
		time.Sleep(pause)
	}
}

func uidName(uid uint32) string { return strconv.FormatUint(uint64(uid), 10) }

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
		return 0
	}
	return n
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
	fd, err := unix.Openat(int(d.dir.Fd()), directory+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	text, err := readAll(fd)
	if err != nil {
		return nil
	}
	record, err := parse(text)
	if err != nil {
		return nil
	}
	return record
}

// readAll reads a record without the runtime's poller, which os.File would ask.
func readAll(fd int) (string, error) {
	var text []byte
	var buffer [4096]byte
	for len(text) < largest {
		n, err := unix.Read(fd, buffer[:])
		if n <= 0 || err != nil {
			return string(text), err
		}
		text = append(text, buffer[:n]...)
		if n < len(buffer) {
			break // a file of a file system in memory: nothing follows
		}
	}
	return string(text), nil
}

// write puts a record in place as a whole, over one that is there.
func (d *Dir) write(directory, name string, f fields) error {
	dir, err := d.open(directory)
	if err != nil {
		return err
	}
	defer dir.Close()
	return put(dir, name, format(f), func(temporary string) error {
		return unix.Renameat(int(dir.Fd()), temporary, int(dir.Fd()), name)
	})
}

// writeFirst is [Dir.write] where the first one wins: another record is an error
// that is fs.ErrExist.
func (d *Dir) writeFirst(directory, name string, f fields) error {
	dir, err := d.open(directory)
	if err != nil {
		return err
	}
	defer dir.Close()
	return put(dir, name, format(f), func(temporary string) error {
		return unix.Renameat2(int(dir.Fd()), temporary, int(dir.Fd()), name, unix.RENAME_NOREPLACE)
	})
}

func put(dir *os.File, name, text string, rename func(temporary string) error) error {
	temporary := unfinished + Random()
	err := create(dir, temporary, text)
	if err == nil {
		err = rename(temporary)
	}
	if err != nil {
		_ = unix.Unlinkat(int(dir.Fd()), temporary, 0)
		return fmt.Errorf("cannot write %s/%s: %w", dir.Name(), name, err)
	}
	return nil
}

func create(dir *os.File, name, text string) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd, err := unix.Openat(int(dir.Fd()), name, flags, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(writeAll(fd, text), unix.Close(fd))
}

// writeAll writes a record in one piece. What does not fit on a file system that is nearly
// full is cut off there, and the system call reports no error.
func writeAll(fd int, text string) error {
	n, err := unix.Write(fd, []byte(text))
	if err == nil && n < len(text) {
		return unix.ENOSPC
	}
	return err
}

// open opens a directory of records, of one level or two, making it where it is
// missing.
func (d *Dir) open(directory string) (*os.File, error) {
	first, second, nested := strings.Cut(directory, "/")
	dir, err := subdirectory(d.dir, first)
	if err != nil || !nested {
		return dir, err
	}
	defer dir.Close()
	return subdirectory(dir, second)
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
	if d.dir != nil {
		_ = unix.Unlinkat(int(d.dir.Fd()), directory+"/"+name, 0) // another may have been quicker
	}
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
