package view

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/proc"
)

// ErrElsewhere says that a process has another root directory, pid namespace or
// user namespace than the host: its view is not available from here.
var ErrElsewhere = errors.New("the process has another root directory, pid or user namespace than the host")

// Resident is the host's view of a thread that stays: it serves one login
// process after the other, each with its own view.
type Resident struct {
	host             *os.File
	ns               *os.File
	mnt              mountfd.ID // of ns
	root, user, pidN mountfd.ID
	rootMount        uint64 // the mount of host
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
	if r.ns, err = proc.OpenNamespace("/proc/1/ns/mnt"); err != nil {
		return nil, err
	}
	if err := enterNamespace(r.ns); err != nil {
		return nil, err
	}
	if r.host, err = mountfd.Root(); err != nil {
		return nil, err
	}
	return r, r.learn()
}

func (r *Resident) learn() error {
	var errs [5]error
	r.rootMount, errs[4] = mountfd.MountID(r.host)
	r.mnt, errs[0] = proc.IdentityOf(r.ns)
	r.root, errs[1] = proc.IdentityAt("/proc/1/root")
	r.user, errs[2] = proc.IdentityAt("/proc/self/ns/user")
	r.pidN, errs[3] = proc.IdentityAt("/proc/self/ns/pid")
	return errors.Join(errs[:]...)
}

// For returns the view for the process pid, whose main thread counts; it is
// [ErrElsewhere] where that cannot be served. The caller makes sure that the pid
// is still the same process's afterwards.
func (r *Resident) For(pid int) (*View, error) {
	process, err := proc.Open(pid)
	if err != nil {
		return nil, ErrElsewhere
	}
	v := r.View()
	v.process = process
	v.Caller.Table = process.Table()
	if err := r.look(v, process); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

func (r *Resident) look(v *View, process *proc.Process) error {
	for _, same := range [...]struct {
		name string
		want mountfd.ID
	}{{"root", r.root}, {"ns/user", r.user}, {"ns/pid", r.pidN}} {
		if got, err := process.Identity(same.name); err != nil || got != same.want {
			return ErrElsewhere
		}
	}
	mnt, err := process.Identity("ns/mnt")
	if err != nil {
		return ErrElsewhere
	}
	if v.InHost = mnt == r.mnt; v.InHost {
		return r.sameRoot(process)
	}
	if v.callerNS, err = process.MountNamespace(); err != nil {
		return err
	}
	v.owned = append(v.owned, v.callerNS)
	// In a namespace that its user made, every path would be the user's.
	if !proc.OwnedByUs(v.callerNS) {
		return ErrElsewhere
	}
	if v.Caller.Root, err = process.Root(); err != nil {
		return err
	}
	v.owned = append(v.owned, v.Caller.Root)
	return nil
}

// sameRoot tells the host's root directory from another mount of it, into which the
// process may have changed its root (chroot(2)).
func (r *Resident) sameRoot(process *proc.Process) error {
	if theirs, err := process.RootMount(); err != nil || theirs != r.rootMount {
		return ErrElsewhere
	}
	return nil
}

// Host is what the host sees; its root stays open with the resident.
func (r *Resident) Host() mountfd.Tree { return mountfd.Tree{Root: r.host, Table: table} }

// Namespace is the host's mount namespace; it stays open with the resident.
func (r *Resident) Namespace() *os.File { return r.ns }

// View is the host's own.
func (r *Resident) View() *View {
	return &View{Caller: r.Host(), Host: r.Host(), OfInit: true, InHost: true, ns: r.ns}
}

// IsHome says whether the thread is where it belongs.
func (r *Resident) IsHome() bool {
	now, err := proc.IdentityAt("/proc/thread-self/ns/mnt")
	return err == nil && now == r.mnt
}

// Close closes what the resident has opened, when its thread is about to end.
func (r *Resident) Close() {
	r.host.Close()
	r.ns.Close()
}
