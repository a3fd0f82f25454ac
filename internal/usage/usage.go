// Package usage finds out whether any process uses a directory tree, such as an
// instance that is to be removed.
//
// A process uses a tree when its mount namespace has a mount of the tree or of a part
// of it, or when its root or working directory lies in the tree. The mount table in
// /proc/PID/mountinfo is not enough for that: it shows only what lies below the root
// directory of that process, so a chrooted process hides the rest of its namespace.
// Each namespace is therefore entered by a thread that reads the table as seen from
// the root of the namespace. In there the thread looks up no path, for a user may
// answer for any of them: it reads the host's own /proc, which it holds open.
//
// A process that cannot be looked into counts as one that uses every tree. A process
// that ends during the search does not count.
package usage

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// shareAtMost is how long a search may read the tables of namespaces that one user
// made, and how long it may go up deep directories; with the usual ones, that is enough
// for thousands.
const shareAtMost = 500 * time.Millisecond

// ErrStopped says that a search was stopped before it had an answer.
var ErrStopped = errors.New("stopped before all processes were looked at")

// NoUID is the user of a tree whose user is not known.
const NoUID = math.MaxUint32

// Tree is a directory whose users are looked for.
type Tree struct {
	Dir *os.File // as a place (O_PATH); the caller's, open until the search is over
	UID uint32   // whose instance it is, or [NoUID]
}

// Use says which process uses a tree. The zero value means that none does.
type Use struct {
	PID int
	How string
}

// Any says whether there is such a process.
func (u Use) Any() bool { return u.PID != 0 }

// Known says whose mount namespace one is, by its number, if the caller holds it open
// at that moment: numbers are reused. It is called on another goroutine than
// the caller's.
type Known func(number uint64) (uid uint32, ok bool)

// Nobodys is [Known] for callers that hold no namespace open.
func Nobodys(uint64) (uint32, bool) { return 0, false }

// Finder searches all processes of the host. It remembers which namespaces show
// no instance, so one that is kept makes the next search cheaper; it serves one
// search at a time.
type Finder struct {
	proc *os.File // /proc of the host, as a place
	home *os.File // the mount namespace of the host

	share time.Duration // of a search, for the namespaces that one user made, and for deep directories

	bases   []location // in which trees have been looked for
	version int        // of bases
	seen    map[uint64]remembered
}

// New makes a finder for the host whose root directory and mount namespace the
// calling thread has.
func New() (*Finder, error) {
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open /proc: %w", err)
	}
	f := &Finder{proc: os.NewFile(uintptr(proc), "/proc"), share: shareAtMost, seen: map[uint64]remembered{}}
	home, err := unix.Openat(proc, "thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		f.proc.Close()
		return nil, fmt.Errorf("cannot open the mount namespace of the host: %w", err)
	}
	f.home = os.NewFile(uintptr(home), "the mount namespace of the host")
	return f, nil
}

// Close closes what the finder holds open.
func (f *Finder) Close() { f.proc.Close(); f.home.Close() }

// Uses returns for each tree a process that uses it. With an error nothing is known,
// and each tree has to count as used; [ErrStopped] is one that stop has caused, which
// is asked again and again.
func (f *Finder) Uses(trees []Tree, known Known, stop func() bool) ([]Use, error) {
	if len(trees) == 0 {
		return nil, nil
	}
	var uses []Use
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		uses, err = f.search(trees, known, stop)
	}()
	<-done
	return uses, err
}

func (f *Finder) search(trees []Tree, known Known, stop func() bool) (uses []Use, err error) {
	// setns(2) into a mount namespace refuses a thread that shares its root and cwd.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("cannot unshare the file system attributes: %w", err)
	}
	if err := f.goHome(); err != nil {
		return nil, err
	}
	// Where the thread is the first of the process, it does not end.
	defer func() {
		if home := f.goHome(); home != nil {
			err = errors.Join(err, home)
		}
	}()
	s := &search{Finder: f, known: known, stop: stop,
		spaces: map[uint64]*space{}, places: map[place]int{}, spent: map[uint32]time.Duration{}}
	defer s.close()
	located, err := f.locate(trees)
	if err != nil {
		return nil, err
	}
	s.setTrees(located)
	for _, t := range located {
		f.remember(t.base())
	}
	if err := s.processes(); err != nil {
		return nil, err
	}
	return s.uses, nil
}

func (f *Finder) goHome() error { return enterNamespace(f.home) }

func enterNamespace(namespace *os.File) error {
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("cannot enter %s (setns): %w", namespace.Name(), err)
	}
	return nil
}

// remember adds a base to those whose mounts are noted when a table is read.
func (f *Finder) remember(base location) {
	for _, b := range f.bases {
		if b == base {
			return
		}
	}
	f.bases = append(f.bases, base)
	f.version++
}
