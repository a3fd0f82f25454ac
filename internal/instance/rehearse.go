package instance

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"gotmpns/internal/policy"
	"gotmpns/internal/state"
)

// Rehearse finds out whether [Store.Directory] would succeed. Where that would make an
// instance, or its base as well, Rehearse makes them under a name that no login looks
// for, and removes them: only the file system knows whether it has room.
func (s *Store) Rehearse(target Target, p policy.Private, owner Owner) error {
	dir, err := s.Existing(target, p.Base, owner)
	if err != nil {
		return err
	}
	if dir != nil {
		defer dir.Close()
		return canAttach(dir, target, p.Options)
	}
	b, remove, err := s.rehearseBase(target, p.Base)
	if err != nil {
		return err
	}
	defer remove()
	if err := s.rehearseFilling(target, p, owner); err != nil {
		return fmt.Errorf("cannot make the instance %s/%s: %w", b.dir.Name(), owner.name(), err)
	}
	owner.Session = "none/rehearsal-" + state.Random()
	err = s.create(b, target, policy.Private{}, owner) // without what an administrator has run in a new one
	if err == nil {
		err = canAttach(b.dir, target, p.Options)
	}
	fd := int(b.dir.Fd())
	for name, flags := range map[string]int{owner.link(): 0, owner.name(): unix.AT_REMOVEDIR} {
		if failure := unix.Unlinkat(fd, name, flags); failure != nil && err == nil {
			err = fmt.Errorf("cannot remove %s/%s: %w", b.dir.Name(), name, failure)
		}
	}
	return err
}

// rehearseFilling copies the skeleton to memory, which is given back at once; nothing is
// run.
func (s *Store) rehearseFilling(target Target, p policy.Private, owner Owner) error {
	if err := s.CanFill(p); err != nil || p.Skeleton == "" {
		return err
	}
	owner.Session = "none/none" // nothing is recorded of it
	mount, err := s.NewTmpfs(target, policy.Private{Skeleton: p.Skeleton}, owner)
	if err != nil {
		return err
	}
	return mount.Close()
}

// canAttach says whether a mount of an instance could be made; any directory of the base
// will do.
func canAttach(dir *os.File, target Target, options policy.Options) error {
	mount, err := Attachable(dir, target, options)
	if err != nil {
		return err
	}
	return mount.Close()
}

// rehearseBase opens the base that a login would use, or makes one in the same place;
// remove undoes that.
func (s *Store) rehearseBase(target Target, configured string) (b base, remove func(), err error) {
	b, err = s.existingBase(target, configured)
	if err == nil && b.dir != nil {
		return b, func() { b.dir.Close() }, nil
	}
	parent, name := target.Dir, ""
	if configured == "" {
		name, err = makeBase(target)
	} else {
		parent, name, err = s.makeBeside(configured)
	}
	if err != nil {
		return base{}, nil, err
	}
	remove = func() {
		if b.dir != nil {
			b.dir.Close()
		}
		_ = unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR) // nothing leads to it
		if configured != "" {
			parent.Close()
		}
	}
	if b, err = s.openBaseIn(parent, name); err != nil {
		remove()
	}
	return b, remove, err
}

// makeBeside makes a directory where a configured base would be; parent is the caller's
// to close.
func (s *Store) makeBeside(configured string) (parent *os.File, name string, err error) {
	if parent, err = s.trustedParent(path.Dir(configured)); err != nil {
		return nil, "", err
	}
	name = ".gotmpns-" + state.Random()
	if err := mkdirBase(parent, name); err != nil {
		return nil, "", errors.Join(fmt.Errorf("cannot make the base %s: %w", configured, err), parent.Close())
	}
	return parent, name, nil
}
