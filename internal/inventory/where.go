package inventory

import (
	"fmt"
	"slices"

	"gotmpns/internal/mounts"
	"gotmpns/internal/paths"
	"gotmpns/internal/proc"
)

// Inside is a place in a user's private view.
type Inside struct{ User, Path string }

// OfUser returns a user's open sessions, the latest first.
func (inv Inventory) OfUser(user string) []Session {
	var sessions []Session
	for _, s := range inv.Sessions {
		if s.User == user {
			sessions = append(sessions, s)
		}
	}
	slices.Reverse(sessions)
	return sessions
}

// OnHost returns the paths by which the host reaches what a user has at an
// absolute path: of the open sessions that can be looked into, and where there is
// none, of the instance that waits for the next one. Mostly it is one path; a user whose sessions
// differ has more. Links are not followed, and the file need not exist.
func (inv Inventory) OnHost(user, path string) ([]string, error) {
	var found []string
	add := func(p string) {
		if !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	for _, s := range inv.OfUser(user) {
		switch host, ok := s.mounts(path).Same(path, inv.host); {
		case ok:
			add(host)
		case s.Proc != "":
			add(s.Proc + "/root" + path)
		}
	}
	if len(found) == 0 {
		if waiting, ok := inv.waiting(user, path); ok {
			add(waiting)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("cannot find %s of %s: there is no open session, and no directory of an earlier one", path, user)
	}
	return found, nil
}

// mounts is the session's table as far as it concerns a path; empty where it cannot be
// read any more.
func (s Session) mounts(path string) mounts.Table {
	if s.table != nil || s.Proc == "" {
		return s.table
	}
	table, err := mounts.ReadAlong(s.Proc, path)
	if err != nil || namespaceOf(s.Proc) != s.Namespace || !proc.Is(s.PID, s.start) {
		return nil
	}
	return table
}

// waiting finds a path in the instances of a user who has no session. What is in
// none of them is the host's.
func (inv Inventory) waiting(user, path string) (host string, known bool) {
	host, innermost := path, ""
	for _, i := range inv.Instances {
		if i.User != user || i.Aside {
			continue
		}
		known = true
		if paths.IsWithin(path, i.Target) && len(i.Target) > len(innermost) {
			host, innermost = mounts.Join(i.Host, path[len(i.Target):]), i.Target
		}
	}
	return host, known
}

// FromHost returns whose file it is that the host has at path, and where its
// owner sees it. Not found means that it lies in no instance.
func (inv Inventory) FromHost(path string) (Inside, bool) {
	for _, i := range inv.Instances {
		if !i.Aside && i.User != "" && paths.IsWithin(path, i.Host) {
			return Inside{i.User, mounts.Join(i.Target, path[len(i.Host):])}, true
		}
	}
	return Inside{}, false
}

// Of returns what the inventory has of one user.
func (inv Inventory) Of(user string) Inventory {
	inv.Sessions = slices.DeleteFunc(slices.Clone(inv.Sessions), func(s Session) bool { return s.User != user })
	inv.Instances = slices.DeleteFunc(slices.Clone(inv.Instances), func(i Instance) bool { return i.User != user })
	return inv
}

// IsPrivate says whether a path lies at or below a target that a user has an
// instance for.
func (inv Inventory) IsPrivate(user, path string) bool {
	return slices.ContainsFunc(inv.Instances, func(i Instance) bool {
		return i.User == user && !i.Aside && paths.IsWithin(path, i.Target)
	})
}

// Namespace returns the number of the calling thread's mount namespace; 0: unknown.
func Namespace() uint64 { return namespaceOf("/proc/thread-self") }

// Session returns an open session with a mount namespace.
func (inv Inventory) Session(namespace uint64) (Session, bool) {
	at := slices.IndexFunc(inv.Sessions, func(s Session) bool { return s.Namespace == namespace && namespace != 0 })
	if at < 0 {
		return Session{}, false
	}
	return inv.Sessions[at], true
}

// IsRemoved says whether a session of a user has a private directory around a path
// that has been removed on the host.
func (inv Inventory) IsRemoved(user, path string) bool {
	return slices.ContainsFunc(inv.OfUser(user), func(s Session) bool {
		return slices.ContainsFunc(s.Places, func(p Place) bool { return p.Kind == Removed && paths.IsWithin(path, p.Target) })
	})
}
