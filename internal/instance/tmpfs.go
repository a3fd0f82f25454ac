package instance

import (
	"fmt"
	"iter"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"gotmpns/internal/account"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
)

// TmpfsSource is what a mount table calls a tmpfs of ours.
const TmpfsSource = "gotmpns"

// Tmpfs returns a mount of the owner's instance of kind tmpfs, detached.
//
// A tmpfs lives as long as somebody has it mounted, and nobody has it but the
// sessions themselves: the host's table of mounts stays as it is, and the memory
// is free again with the last process. So the second session gets it from the
// namespace of a process of the first one. The lock is held from making to
// [Store.Close], which comes after the login process has committed, so that the
// next login finds it.
func (s *Store) Tmpfs(target Target, p policy.Private, owner Owner) (*os.File, error) {
	if owner.Session == "" {
		if err := s.LockUser(owner.UID); err != nil {
			return nil, err
		}
		mount, err := s.findTmpfs(target, owner)
		if mount != nil || err != nil {
			return mount, err
		}
	}
	return s.newTmpfs(target, p, owner)
}

func (s *Store) newTmpfs(target Target, p policy.Private, owner Owner) (*os.File, error) {
	flags, err := mountfd.Flags(target.Dir)
	if err != nil {
		return nil, err
	}
	label, err := labelOf(target)
	if err != nil {
		return nil, err
	}
	mount, err := mountfd.NewTmpfs(mountfd.Tmpfs{
		Size: p.Size, Inodes: p.Inodes,
		Mode: target.Info.Mode, UID: target.Info.UID, GID: target.Info.GID,
		Flags: flags, SELinuxLabel: label, SourceInTable: TmpfsSource,
	})
	if err != nil {
		return nil, err
	}
	info, err := mountfd.Stat(mount)
	if err != nil {
		return nil, err
	}
	s.Hold = s.Hold || owner.Session == ""
	return mount, s.state.SetTmpfs(state.Tmpfs{
		Target: target.Path, UID: owner.UID, User: owner.User, Session: owner.Session, ID: info.ID,
	})
}

// findTmpfs looks for the recorded tmpfs where it can be: in the user's
// sessions, and then in any process at all, for a detached tmux may be all that
// is left of them.
func (s *Store) findTmpfs(target Target, owner Owner) (*os.File, error) {
	record, ok := s.state.Tmpfs(target.Path, owner.UID)
	if !ok {
		return nil, nil
	}
	if record.User != owner.User {
		same, err := account.IsNameOf(owner.UID, record.User)
		if err != nil || !same {
			return nil, err
		}
	}
	for _, pids := range [...]iter.Seq[int]{s.state.PIDs(owner.UID), s.state.Processes()} {
		for pid := range pids {
			mount, err := s.cloneFrom(pid, target, record.ID)
			if mount != nil || err != nil {
				return mount, err
			}
		}
	}
	return nil, nil
}

// cloneFrom makes a mount of what a process has at target, where that is the
// instance. Whatever is in the way means: not from this one; only not getting
// back to the host's view is an error.
func (s *Store) cloneFrom(pid int, target Target, id mountfd.ID) (mount *os.File, err error) {
	proc := "/proc/" + strconv.Itoa(pid)
	fd, err := unix.Open(proc+"/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil
	}
	ns := os.NewFile(uintptr(fd), proc)
	defer ns.Close()
	// Before any path is looked up: in a namespace that a user made, every path
	// is the user's, and may lead to a file system that never answers.
	if !view.OwnedByUs(ns) || !shows(proc, target, id) {
		return nil, nil
	}
	err = s.view.In(ns, func(root *os.File) { mount = cloneHere(root, target, id) })
	return mount, err
}

func cloneHere(root *os.File, target Target, id mountfd.ID) *os.File {
	dir, err := mountfd.OpenDir(root, target.Path)
	if err != nil {
		return nil
	}
	defer dir.Close()
	info, err := mountfd.Stat(dir)
	if err != nil || info.ID != id || info.UID != target.Info.UID || info.Mode != target.Info.Mode {
		return nil
	}
	mount, err := mountfd.Clone(dir, false)
	if err != nil {
		return nil
	}
	return mount
}

// shows looks from outside, through /proc/PID/root, before anything is entered.
func shows(proc string, target Target, id mountfd.ID) bool {
	fd, err := unix.Open(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	root := os.NewFile(uintptr(fd), proc+"/root")
	defer root.Close()
	dir, err := mountfd.OpenDir(root, target.Path)
	if err != nil {
		return false
	}
	defer dir.Close()
	info, err := mountfd.Stat(dir)
	return err == nil && info.ID == id && info.MountRoot
}

// Attachable makes a detached mount of an instance of kind directory, with the
// attributes that the target's own mount has.
func Attachable(dir *os.File, target Target) (*os.File, error) {
	flags, err := mountfd.Flags(target.Dir)
	if err != nil {
		return nil, err
	}
	mount, err := mountfd.Clone(dir, false)
	if err != nil {
		return nil, err
	}
	if err := mountfd.SetAttr(mount, flags, unix.MS_PRIVATE, false); err != nil {
		mount.Close()
		return nil, fmt.Errorf("%w (for %s)", err, target.Path)
	}
	return mount, nil
}
