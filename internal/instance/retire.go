package instance

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/state"
)

// gone begins the name of what was an instance and is being removed. Nobody looks
// for it under that name but who removes it.
const gone = ".gone-"

// Idle is an instance of kind directory that may be nobody's at the moment.
type Idle struct {
	Owner
	Path string // on the host
	name string // in the base; it begins with gone where nobody can have it any more
}

// Gone says that this is the rest of an instance whose removal was cut short.
func (i Idle) Gone() bool { return strings.HasPrefix(i.name, gone) }

// NotEmpty lists the instances of a target that have something in them, and the
// rests of others. What is set aside, for a uid that has changed hands, is not
// among them: it may be wanted.
func (s *Store) NotEmpty(target Target, configured string) ([]Idle, error) {
	b, err := s.existingBase(target, configured)
	if err != nil || b.dir == nil {
		return nil, err
	}
	defer b.dir.Close()
	return b.notEmpty()
}

func (b base) notEmpty() ([]Idle, error) {
	names, err := b.names()
	if err != nil {
		return nil, err
	}
	var found []Idle
	for _, name := range names {
		idle := Idle{name: name, Path: b.dir.Name() + "/" + name}
		uid, ok := uidOf(name)
		_, rest, _ := strings.Cut(name, ".")
		switch {
		case idle.Gone():
		case !ok || strings.HasPrefix(rest, "old-") || isEmpty(b.dir, name):
			continue
		default:
			idle.Owner = Owner{UID: uid, Session: rest}
		}
		found = append(found, idle)
	}
	return found, nil
}

func isEmpty(parent *os.File, name string) bool {
	dir, err := mountfd.ReadDir(parent, name)
	if err != nil {
		return true // not a directory: nothing of ours
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(1)
	return len(names) == 0
}

// Retire takes an instance out of use, if stillIdle says so while nobody can be
// given it, and returns the base and the name under which it is to be removed. An
// empty name means that it is in use. The base is the caller's to close.
//
// A session that comes later gets a fresh instance: it never waits for the removal.
func (s *Store) Retire(target Target, configured string, idle Idle, stillIdle func() bool) (*os.File, string, error) {
	b, err := s.existingBase(target, configured)
	if err != nil || b.dir == nil {
		return nil, "", err
	}
	if idle.Gone() {
		return b.dir, idle.name, nil
	}
	name, err := s.retire(b, idle, stillIdle)
	if name == "" {
		b.dir.Close()
		return nil, "", err
	}
	return b.dir, name, nil
}

func (s *Store) retire(b base, idle Idle, stillIdle func() bool) (string, error) {
	unlock, err := s.state.LockUser(idle.UID, lockAtMost)
	if err != nil {
		return "", err
	}
	defer unlock()
	if !stillIdle() {
		return "", nil
	}
	fd, name := int(b.dir.Fd()), gone+state.Random()
	err = unix.Renameat2(fd, idle.name, fd, name, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.ENOENT):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("cannot take %s out of use: %w", idle.Path, err)
	}
	_ = unix.Unlinkat(fd, idle.name+".user", 0) // whose name it was; without it a new one is made as well
	return name, nil
}

// EachInUse calls use with every instance of a target that has something in it, as
// a place that is open until use returns.
func (s *Store) EachInUse(target Target, configured string, use func(dir *os.File)) error {
	b, err := s.existingBase(target, configured)
	if err != nil || b.dir == nil {
		return err
	}
	defer b.dir.Close()
	idle, err := b.notEmpty()
	if err != nil {
		return err
	}
	for _, i := range idle {
		dir, err := mountfd.OpenDir(b.dir, i.name)
		if err != nil {
			continue // gone meanwhile
		}
		use(dir)
		dir.Close()
	}
	return nil
}
