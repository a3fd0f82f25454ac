package inventory

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gotmpns/internal/proc"
)

// ErrNoSession says that a user has no session that could be entered.
var ErrNoSession = errors.New("there is no open session with a namespace of its own")

// Enter moves the calling thread, which [Take] has bound, into the mount
// namespace of the user's latest session; root and working directory are that
// namespace's root then. A namespace that a user made is never entered: every
// path in it is the user's.
func (inv Inventory) Enter(user string) error {
	for _, s := range inv.OfUser(user) {
		if s.Proc == "" {
			continue
		}
		entered, err := inv.enter(s)
		if entered || err != nil {
			return err
		}
	}
	return ErrNoSession
}

func (inv Inventory) enter(s Session) (bool, error) {
	fd, err := unix.Open(s.Proc+"/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, nil // it has ended
	}
	ns := os.NewFile(uintptr(fd), s.Proc+"/ns/mnt")
	defer ns.Close()
	var st unix.Stat_t
	// The same namespace as in the inventory: the pid may be another's by now.
	if unix.Fstat(fd, &st) != nil || st.Ino != s.Namespace || !proc.Is(s.PID, s.start) || !proc.OwnedByUs(ns) {
		return false, nil
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNS); err != nil {
		return false, fmt.Errorf("cannot enter the session of %s (setns): %w", s.User, err)
	}
	return true, nil
}
