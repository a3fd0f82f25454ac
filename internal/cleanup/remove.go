package cleanup

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/state"
)

const (
	// Deeper directories are first moved up: a user can nest them without end, and
	// each level costs a descriptor and a stack frame.
	deepest = 32
	atOnce  = 1024 // names read in one go
	// What cannot be removed is reported, but not a million names.
	tellAtMost = 5
)

// errStopped says that a removal was stopped; the next pass continues it.
var errStopped = errors.New("stopped before all was removed")

// removeTree removes the directory parent/name and all that is in it, by
// descriptor: it follows no symbolic link and enters no mount, so it cannot leave
// the tree, even if a user moves things in it at the same time. What cannot be removed (an
// immutable file, a mount point) stays, and is reported. When stop says so, it ends
// early with an error that is errStopped.
func removeTree(parent *os.File, name string, stop func() bool) error {
	top, err := openBelow(parent, name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot open %s to remove it: %w", name, err)
	}
	defer top.Close()
	r := remover{top: top, stop: stop}
	r.empty(top, 0)
	switch {
	case r.stopped:
		return errStopped
	case len(r.stays) > 0:
		return fmt.Errorf("cannot remove all of %s: %s", name, strings.Join(r.stays, "; "))
	}
	if err := unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove %s: %w", name, err)
	}
	return nil
}

// openBelow opens a directory to look into it, on the same mount.
func openBelow(dir *os.File, name string) (*os.File, error) {
	return mountfd.OpenOnMount(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
}

type remover struct {
	top     *os.File
	stop    func() bool
	stopped bool
	stays   []string // what does, and why; no more than tellAtMost
}

// empty removes what is in a directory. It looks again until it finds nothing
// that it can remove: names that come and go while it reads may be skipped.
func (r *remover) empty(dir *os.File, depth int) {
	for r.pass(dir, depth) > 0 && !r.stopped {
		if _, err := dir.Seek(0, 0); err != nil {
			return
		}
	}
}

// pass goes through a directory once and returns how many names it has removed.
func (r *remover) pass(dir *os.File, depth int) (removed int) {
	for {
		names, err := dir.Readdirnames(atOnce)
		for _, name := range names {
			if r.stopped = r.stopped || r.stop(); r.stopped {
				return removed
			}
			if r.remove(dir, name, depth) {
				removed++
			}
		}
		if err != nil {
			return removed
		}
	}
}

// remove removes one name, with all that is below it.
func (r *remover) remove(dir *os.File, name string, depth int) bool {
	err := unix.Unlinkat(int(dir.Fd()), name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = r.removeDirectory(dir, name, depth)
	}
	if err == nil || errors.Is(err, unix.ENOENT) {
		return err == nil
	}
	r.tell(name, err)
	return false
}

func (r *remover) removeDirectory(dir *os.File, name string, depth int) error {
	rmdir := func() error { return unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR) }
	if err := rmdir(); !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return err
	}
	if depth == deepest {
		return unix.Renameat(int(dir.Fd()), name, int(r.top.Fd()), "moved-up-"+state.Random())
	}
	below, err := openBelow(dir, name)
	if err != nil {
		return err
	}
	r.empty(below, depth+1)
	below.Close()
	if r.stopped || len(r.stays) > 0 {
		if err := rmdir(); !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
		return unix.ENOENT // already reported, or not worth a report
	}
	return rmdir()
}

func (r *remover) tell(name string, err error) {
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EXDEV):
		err = errors.New("something is mounted there")
	case errors.Is(err, unix.EPERM):
		err = errors.New("it may not be removed; is it immutable (lsattr)?")
	}
	text := fmt.Sprintf("%q: %v", name, err)
	for _, told := range r.stays {
		if told == text {
			return
		}
	}
	if len(r.stays) < tellAtMost {
		r.stays = append(r.stays, text)
	}
}
