package view

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// ErrElsewhere says that a process has another root directory, pid namespace or
// user namespace than the host: its view is not to be had from here.
var ErrElsewhere = errors.New("the process has another root directory, pid or user namespace than the host")

// Resident is the host's view of a thread that stays: it serves one login
// process after the other, each with its own view.
type Resident struct {
	host *os.File
	ns   *os.File
	mnt  identity // of ns
	root identity
	user identity
	pid  identity
}

// identity is what a descriptor is, whatever its name.
type identity struct{ device, inode uint64 }

func identify(path string) (identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return identity{}, fmt.Errorf("cannot stat %s: %w", path, err)
	}
	return identity{st.Dev, st.Ino}, nil
}

// Settle binds the calling goroutine to its thread for good and moves the thread
// into the namespace of pid 1, for as long as it lives. Where that is another
// root directory or user namespace than the caller's, it is an error.
func Settle() (*Resident, error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("cannot unshare the file system attributes: %w", err)
	}
	if err := checkProc(); err != nil {
		return nil, err
	}
	if !sameAsInit() {
		return nil, errors.New("cannot serve this host: pid 1 has another root directory or user namespace; " +
			"run it outside of containers, or leave the logins to workers")
	}
	r := &Resident{}
	var err error
	if r.ns, err = openNamespace("/proc/1/ns/mnt"); err != nil {
		return nil, err
	}
	if err := enter(r.ns); err != nil {
		return nil, err
	}
	if r.host, err = mountfd.Root(); err != nil {
		return nil, err
	}
	return r, r.learn()
}

func (r *Resident) learn() error {
	var errs [4]error
	r.mnt, errs[0] = identify("/proc/1/ns/mnt")
	r.root, errs[1] = identify("/proc/1/root")
	r.user, errs[2] = identify("/proc/self/ns/user")
	r.pid, errs[3] = identify("/proc/self/ns/pid")
	return errors.Join(errs[:]...)
}

// For returns the view for the process pid, whose main thread counts; it is
// [ErrElsewhere] where that cannot be served. The caller makes sure that the pid
// is still the same process's afterwards.
func (r *Resident) For(pid int) (*View, error) {
	proc := "/proc/" + strconv.Itoa(pid)
	for path, want := range map[string]identity{"/root": r.root, "/ns/user": r.user, "/ns/pid": r.pid} {
		if got, err := identify(proc + path); err != nil || got != want {
			return nil, ErrElsewhere
		}
	}
	v := r.View()
	mnt, err := identify(proc + "/ns/mnt")
	if err != nil {
		return nil, err
	}
	if mnt == r.mnt {
		return v, nil
	}
	// In a namespace that its user made, every path would be the user's.
	ns, err := openNamespace(proc + "/ns/mnt")
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if !OwnedByUs(ns) {
		return nil, ErrElsewhere
	}
	fd, err := unix.Open(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s/root: %w", proc, err)
	}
	v.Caller = os.NewFile(uintptr(fd), "/")
	v.owned = []*os.File{v.Caller}
	return v, nil
}

// Host is the host's root directory; it stays open with the resident.
func (r *Resident) Host() *os.File { return r.host }

// View is the host's own.
func (r *Resident) View() *View {
	return &View{Caller: r.host, Host: r.host, OfInit: true, ns: r.ns}
}

// IsHome says whether the thread is where it belongs.
func (r *Resident) IsHome() bool {
	now, err := identify("/proc/thread-self/ns/mnt")
	return err == nil && now == r.mnt
}

// Close closes what the resident has opened, when its thread is about to end.
func (r *Resident) Close() {
	r.host.Close()
	r.ns.Close()
}
