// Package proc looks at other processes.
//
// A pid is reused, and so are the numbers of namespaces. So a process is
// opened once, by its directory in /proc, and everything about it is looked up below
// that: it is about the process that had the pid at that moment, or it fails, for
// that process has ended (proc(5)). A namespace is compared by what two open
// descriptors are.
package proc

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// Process is a process that was there when it was opened.
type Process struct {
	PID int
	dir int // its directory in /proc; not an os.File, which would ask for its flags first
}

// Open opens the directory of a process in /proc; the caller closes it.
func Open(pid int) (*Process, error) {
	path := "/proc/" + strconv.Itoa(pid)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	return &Process{PID: pid, dir: fd}, nil
}

// Close closes the directory; what is asked of the process afterwards fails.
func (p *Process) Close() error {
	if p.dir < 0 {
		return nil
	}
	fd := p.dir
	p.dir = -1
	return unix.Close(fd)
}

// name is what errors call something of the process.
func (p *Process) name(of string) string { return "/proc/" + strconv.Itoa(p.PID) + of }

// Table is the path of the mountinfo file of the process, for as long as it is open.
func (p *Process) Table() string {
	return "/proc/self/fd/" + strconv.Itoa(p.dir) + "/mountinfo"
}

// StartTime returns the moment at which the process began, in clock ticks since
// boot (field 22 of /proc/PID/stat); an error says that it has ended.
func (p *Process) StartTime() (string, error) {
	fd, err := unix.Openat(p.dir, "stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("cannot open %s: %w", p.name("/stat"), err)
	}
	defer unix.Close(fd)
	var text [1024]byte
	n, err := unix.Read(fd, text[:])
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", p.name("/stat"), err)
	}
	return startTimeIn(string(text[:max(n, 0)]))
}

// startTimeIn counts from the last parenthesis: a process may call itself ") 1 2".
// A process that has ended and waits for its parent has no start time.
func startTimeIn(stat string) (string, error) {
	const state, start = 0, 22 - 3 // what follows the name begins with field 3
	field := 0
	for word := range strings.FieldsSeq(stat[strings.LastIndexByte(stat, ')')+1:]) {
		if field == state && (word == "Z" || word == "X") {
			return "", errors.New("the process has ended")
		}
		if field == start {
			return strings.Clone(word), nil // not all of stat is to be kept
		}
		field++
	}
	return "", fmt.Errorf("cannot find the start time in %q", stat)
}

// Began returns the start time of a process by its pid, as [Process.StartTime].
func Began(pid int) (string, error) {
	p, err := Open(pid)
	if err != nil {
		return "", err
	}
	defer p.Close()
	return p.StartTime()
}

// OpenStarted opens the process with this pid that began at that moment
// ([Process.StartTime]); an error says that it has ended. The caller closes it.
func OpenStarted(pid int, start string) (*Process, error) {
	p, err := Open(pid)
	if err != nil {
		return nil, err
	}
	now, err := p.StartTime()
	if err == nil && now != start {
		err = fmt.Errorf("%s is another process by now", p.name(""))
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Is says whether the process with this pid began at that moment, and lives.
func Is(pid int, start string) bool {
	p, err := OpenStarted(pid, start)
	if err != nil {
		return false
	}
	p.Close()
	return true
}

// MountNamespace opens the mount namespace of the process's main thread; the caller
// closes it.
func (p *Process) MountNamespace() (*os.File, error) { return p.open("ns/mnt", unix.O_RDONLY) }

// Root opens the root directory of the process as a place; the caller closes it.
func (p *Process) Root() (*os.File, error) { return p.open("root", unix.O_PATH|unix.O_DIRECTORY) }

// Cwd opens the working directory of the process as a place, which asks no file
// system. Its name is the path as the process sees it; the caller closes it.
func (p *Process) Cwd() (*os.File, error) {
	var path [unix.PathMax]byte
	n, err := unix.Readlinkat(p.dir, "cwd", path[:])
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", p.name("/cwd"), err)
	}
	fd, err := unix.Openat(p.dir, "cwd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", p.name("/cwd"), err)
	}
	return os.NewFile(uintptr(fd), string(path[:n])), nil
}

// open follows a link of the kernel's below /proc/PID, without the runtime's poller.
func (p *Process) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(p.dir, name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", p.name("/"+name), err)
	}
	return os.NewFile(uintptr(fd), p.name("/"+name)), nil
}

// SELinuxContext returns the context that the process has asked for, for the next program
// that it executes, as a login program does for the session; where it has not, its own.
// Empty: there is none.
func (p *Process) SELinuxContext() string {
	return cmp.Or(p.SELinuxContextOfSession(), p.selinuxAttribute("attr/current"))
}

// SELinuxContextOfSession returns the context that the process has asked for, for the next
// program that it executes; empty where it has not.
func (p *Process) SELinuxContextOfSession() string { return p.selinuxAttribute("attr/exec") }

func (p *Process) selinuxAttribute(name string) string {
	fd, err := unix.Openat(p.dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var text [4096]byte
	n, err := unix.Read(fd, text[:])
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(text[:n]), "\x00\n")
}

// Identity returns what "root", "ns/user" and the like of the process are. It means
// something only beside another that is looked at while both are there.
func (p *Process) Identity(name string) (mountfd.ID, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(p.dir, name, &st, 0); err != nil {
		return mountfd.ID{}, fmt.Errorf("cannot stat %s: %w", p.name("/"+name), err)
	}
	return mountfd.ID{Device: st.Dev, Inode: st.Ino}, nil
}

// RootMount returns the number of the mount that the root directory of the process lies on
// ([mountfd.MountID]). It asks no file system.
func (p *Process) RootMount() (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(p.dir, "root", unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, 0, &st); err != nil {
		return 0, fmt.Errorf("cannot statx %s: %w", p.name("/root"), err)
	}
	return st.Mnt_id, nil
}

// Owner returns the effective uid of the process, or root's where it may not be looked
// into by its user (proc(5)).
func (p *Process) Owner() (uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(p.dir, &st); err != nil {
		return 0, fmt.Errorf("cannot stat %s: %w", p.name(""), err)
	}
	return st.Uid, nil
}

// IdentityOf returns what an open namespace is, to be compared while it is open.
func IdentityOf(namespace *os.File) (mountfd.ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(namespace.Fd()), &st); err != nil {
		return mountfd.ID{}, fmt.Errorf("cannot stat %s: %w", namespace.Name(), err)
	}
	return mountfd.ID{Device: st.Dev, Inode: st.Ino}, nil
}

// IdentityAt is [IdentityOf] by a path in /proc.
func IdentityAt(path string) (mountfd.ID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return mountfd.ID{}, fmt.Errorf("cannot stat %s: %w", path, err)
	}
	return mountfd.ID{Device: st.Dev, Inode: st.Ino}, nil
}

// PIDNamespace returns the number of our own PID namespace.
func PIDNamespace() (uint64, error) { return numberAt(unix.AT_FDCWD, "/proc/self/ns/pid") }

// OpenNamespace opens a namespace by its path, without the runtime's poller.
func OpenNamespace(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the namespace %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// OwnedByUs says that a mount namespace belongs to our own user namespace
// (ioctl_ns(2), Linux 4.9): in one that a user made, every path is the user's.
func OwnedByUs(namespace *os.File) bool {
	fd, err := unix.IoctlRetInt(int(namespace.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var theirs unix.Stat_t
	if unix.Fstat(fd, &theirs) != nil {
		return false
	}
	ours, err := IdentityAt("/proc/self/ns/user")
	return err == nil && ours == mountfd.ID{Device: theirs.Dev, Inode: theirs.Ino}
}

// All lists the pids that /proc shows.
func All() ([]int, error) {
	var pids []int
	err := each(func(_ int, pid int, _ string) bool { pids = append(pids, pid); return true })
	return pids, err
}

// MountNamespaces goes through the processes with the number of the mount namespace of
// each one's main thread, which costs half of what [IdentityAt] does. A number means
// something only while the namespace is held open. look returns false to stop.
func MountNamespaces(look func(pid int, number uint64) bool) error {
	return each(func(dir, pid int, name string) bool {
		number, err := numberAt(dir, name+"/ns/mnt")
		return err != nil || look(pid, number)
	})
}

// numberAt reads the number of a namespace out of its link, as in "mnt:[4026531841]".
func numberAt(dir int, path string) (uint64, error) {
	var text [64]byte
	n, err := unix.Readlinkat(dir, path, text[:])
	if err != nil {
		return 0, err
	}
	_, number, _ := strings.Cut(string(text[:n]), "[")
	return strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
}

// each goes through the processes; dir is a descriptor of /proc, for paths that begin with name.
func each(look func(dir, pid int, name string) bool) error {
	fd, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot list processes: %w", err)
	}
	dir := os.NewFile(uintptr(fd), "/proc")
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			if pid, err := strconv.Atoi(name); err == nil && !look(fd, pid, name) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot list processes: %w", err)
		}
	}
}
