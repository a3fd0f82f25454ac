// Package registry knows the mount namespaces of users' sessions.
//
// The first session of a user gets a namespace, later ones join it where they would
// get the same. So there is one answer, by user, to several questions: which namespace
// can a login join, is the caller in a session and whose, who has a tmpfs, is anybody
// left in there. It is found without looking at other users.
//
// There are two ways to know. [Held] is the broker's: it keeps each namespace open as
// long as a process is in it, so that its identity stays its own and a login after a
// detached tmux comes to the tmux's. [OfRecords] is a worker's, which remembers
// nothing: it goes by the records of sessions whose login process lives, and looks
// which namespace that process is in.
package registry

import (
	"os"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/proc"
	"gotmpns/internal/state"
)

// Namespace is the namespace of an open session, held by its descriptor.
type Namespace struct {
	Session string // the name of a session that is in it
	PID     int    // of that session's login process
	Key     string // of the plan that it was made by; empty: nobody may join it
	File    *os.File

	id mountfd.ID // of File, where [Held] has looked; zero: not known
}

// Close closes the descriptor.
func (n *Namespace) Close() error { return n.File.Close() }

// OfRecords returns the namespaces of a user's open sessions, the latest first, each of
// them once. They are the caller's to close. The host's own is none of them, nor is that
// of a login process that has not entered its session's yet.
func OfRecords(records *state.Dir, uid uint32, host *os.File) []*Namespace {
	living := records.Living(uid)
	seen := map[mountfd.ID]bool{}
	if id, err := proc.IdentityOf(host); err == nil {
		seen[id] = true
	}
	var found []*Namespace
	for i := len(living) - 1; i >= 0; i-- {
		n := ofRecord(living[i])
		if n == nil {
			continue
		}
		id, err := proc.IdentityOf(n.File)
		if err != nil || seen[id] || !isOf(living[i], id) {
			n.Close()
			continue
		}
		seen[id] = true
		found = append(found, n)
	}
	return found
}

// isOf says whether a namespace that a login process is in is that of its session. The
// record is written first: until the process has entered, and its user can stop it before
// that, it is in the one that it comes from, which may be another user's. That one is there
// beside the session's own, so the two have different numbers.
func isOf(r state.Recorded, id mountfd.ID) bool { return r.Namespace == id.Inode }

// ofRecord opens what the login process of a session is in; nil where that is nothing
// to go by.
func ofRecord(r state.Recorded) *Namespace {
	process, err := proc.OpenStarted(r.PID, r.Start)
	if err != nil {
		return nil
	}
	defer process.Close()
	file, err := process.MountNamespace()
	if err != nil {
		return nil
	}
	// In a namespace that a user made, every path is the user's.
	if !proc.OwnedByUs(file) {
		file.Close()
		return nil
	}
	return &Namespace{Session: r.Name, PID: r.PID, Key: r.Key, File: file}
}

// OfProcesses returns the namespaces of a user's processes, whatever session they were
// started in; none of them can be joined. They are the caller's to close. It looks at
// every process, so it is for the rare case that a user has left something behind which
// nobody else knows of.
func OfProcesses(uid uint32, host *os.File) []*Namespace {
	pids, err := proc.All()
	if err != nil {
		return nil
	}
	seen := map[mountfd.ID]bool{}
	if id, err := proc.IdentityOf(host); err == nil {
		seen[id] = true
	}
	var found []*Namespace
	for _, pid := range pids {
		n, id := ofProcess(pid, uid)
		if n == nil {
			continue
		}
		if seen[id] || !proc.OwnedByUs(n.File) {
			n.Close()
			continue
		}
		seen[id] = true
		found = append(found, n)
	}
	return found
}

func ofProcess(pid int, uid uint32) (*Namespace, mountfd.ID) {
	process, err := proc.Open(pid)
	if err != nil {
		return nil, mountfd.ID{}
	}
	defer process.Close()
	if owner, err := process.Owner(); err != nil || owner != uid {
		return nil, mountfd.ID{}
	}
	file, err := process.MountNamespace()
	if err != nil {
		return nil, mountfd.ID{}
	}
	id, err := proc.IdentityOf(file)
	if err != nil {
		file.Close()
		return nil, mountfd.ID{}
	}
	return &Namespace{PID: pid, File: file}, id
}

// duplicate returns another descriptor, which is the caller's to close.
func duplicate(fd int, name string) (*os.File, error) {
	again, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(again), name), nil
}
