package instance

import (
	"os"

	"gotmpns/internal/account"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
)

// TmpfsSource is what a mount table calls a tmpfs of ours.
const TmpfsSource = "gotmpns"

// NewTmpfs makes the owner's instance of kind tmpfs, as a detached mount. A tmpfs
// lives as long as somebody has it mounted, and nobody has it but the sessions
// themselves: the host's table of mounts stays as it is, and the memory is free again
// with the last process.
func (s *Store) NewTmpfs(target Target, p policy.Private, owner Owner) (*os.File, error) {
	if s.Confined && isFilled(p) {
		return nil, ErrConfined
	}
	flags, err := flagsFor(target, p.Options)
	if err != nil {
		return nil, err
	}
	label, err := LabelOf(target)
	if err != nil {
		return nil, err
	}
	want := target.pattern(owner)
	how := mountfd.Tmpfs{
		Size: p.Size, Percent: p.Percent, Inodes: p.Inodes,
		Mode: want.mode, UID: want.uid, GID: want.gid,
		Flags: flags, SELinuxLabel: label, SourceInTable: TmpfsSource,
	}
	if p.Mode != 0 {
		how.Mode = p.Mode
	}
	if p.Mode != 0 && p.Mode&writableByAll == 0 {
		how.UID, how.GID = owner.UID, owner.GID
	}
	mount, err := mountfd.NewTmpfs(how)
	if err != nil {
		return nil, err
	}
	mark := owner.mark()
	marked, err := markRoot(mount, mark)
	if err != nil {
		mount.Close()
		return nil, err
	}
	if mount, err = s.fillTmpfs(target, p, owner, mount); err != nil {
		return nil, err
	}
	if owner.Session != "" {
		return mount, nil
	}
	if !marked {
		s.remark("%s is this session's alone, not shared with the user's other sessions: "+
			"a tmpfs cannot be recognized in a container with a user namespace of its own", target.Path)
		return mount, nil
	}
	return mount, s.state.SetTmpfs(state.Tmpfs{Target: target.Path, UID: owner.UID, User: owner.User, Mark: mark})
}

// writableByAll is the permission without which a tmpfs belongs to its user.
const writableByAll = 0o002

// markRoot: a tmpfs without a mark could not be distinguished from another one, which may
// have its device number by then.
func markRoot(mount *os.File, mark string) (bool, error) {
	root, err := mountfd.ReadDir(mount, ".")
	if err != nil {
		return false, err
	}
	defer root.Close()
	return mountfd.SetMark(root, mark)
}

// TmpfsMark returns the mark of the tmpfs that the owner's sessions share; empty where
// none is recorded, or where it was made for somebody who had the uid before.
func (s *Store) TmpfsMark(target string, owner Owner) (string, error) {
	record, ok := s.state.Tmpfs(target, owner.UID)
	if !ok {
		return "", nil
	}
	if record.User != owner.User {
		same, err := account.IsNameOf(owner.UID, record.User)
		if err != nil || !same {
			return "", err
		}
	}
	return record.Mark, nil
}

// CloneTmpfs makes a detached mount of the tmpfs with that mark, if a namespace of the
// user's has it at the target; nil where it has not. Its options are those that a new
// one would have. Only not getting back to the
// host's view is an error.
func (s *Store) CloneTmpfs(namespace *os.File, table string, target Target, options policy.Options, mark string) (mount *os.File, err error) {
	err = s.view.In(namespace, func(root *os.File) {
		mount = cloneMarked(mountfd.Tree{Root: root, Table: table}, target, mark)
	})
	if mount == nil || err != nil {
		return mount, err
	}
	flags, err := flagsFor(target, options)
	if err == nil {
		err = mountfd.SetFlags(mount, flags)
	}
	if err != nil {
		mount.Close()
		return nil, err
	}
	return mount, nil
}

func cloneMarked(tree mountfd.Tree, target Target, mark string) *os.File {
	dir, err := tree.Open(target.Path)
	if err != nil {
		return nil
	}
	defer dir.Close()
	if mark == "" || mountfd.Mark(dir) != mark {
		return nil
	}
	mount, err := mountfd.Clone(dir, false)
	if err != nil {
		return nil
	}
	return mount
}
