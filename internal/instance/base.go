package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/state"
)

// base is the open base of one target, and the name to call it by.
type base struct {
	dir  *os.File
	info mountfd.Info
}

// names lists what is in a base.
func (b base) names() ([]string, error) {
	readable, err := mountfd.ReadDir(b.dir, ".")
	if err != nil {
		return nil, err
	}
	defer readable.Close()
	return readable.Readdirnames(-1)
}

// configuredBase opens a base that the administrator names. Nobody but root
// may be able to replace any directory on the way to it.
func (s *Store) configuredBase(name string) (base, error) {
	parent, err := s.trustedParent(path.Dir(name))
	if err != nil {
		return base{}, err
	}
	defer parent.Close()
	last := path.Base(name)
	if err := mkdirBase(parent, last); err != nil && !errors.Is(err, unix.EEXIST) {
		return base{}, fmt.Errorf("cannot make the base %s: %w", name, err)
	}
	return s.openBaseIn(parent, last)
}

// namedBase is [Store.configuredBase] without making anything.
func (s *Store) namedBase(name string) (base, error) {
	parent, err := s.trustedParent(path.Dir(name))
	if err != nil {
		return base{}, err
	}
	defer parent.Close()
	return s.openBaseIn(parent, path.Base(name))
}

// openBaseIn opens a base and makes sure that it is root's alone.
func (s *Store) openBaseIn(parent *os.File, name string) (base, error) {
	dir, err := s.view.Host.OpenBelow(parent, name)
	if err != nil {
		return base{}, err
	}
	info, err := mountfd.Stat(dir)
	if err == nil {
		if why := whyUnfit(info); why != "" {
			err = fmt.Errorf("cannot use the base %s: %s; it has to belong to root with mode 0700", dir.Name(), why)
		}
	}
	if err != nil {
		dir.Close()
		return base{}, err
	}
	return base{dir, info}, nil
}

// trustedParent opens the directory that a configured base is in.
func (s *Store) trustedParent(name string) (*os.File, error) {
	parent, err := s.view.Host.OpenTrusted(name)
	if err != nil {
		return nil, fmt.Errorf("cannot use the base in %s: %w", name, err)
	}
	return parent, nil
}

// whyUnfit says why a directory cannot be a base.
func whyUnfit(info mountfd.Info) string {
	switch {
	case !info.IsDir():
		return "it is not a directory"
	case info.UID != 0:
		return fmt.Sprintf("it belongs to uid %d", info.UID)
	case info.Mode != 0o700:
		return fmt.Sprintf("its mode is %#o", info.Mode)
	}
	return ""
}

// randomBase opens the base on the target's own file system, which only the
// record knows by name; where that no longer fits, a new one is made. Two logins
// that do so at once make two: the first one recorded is used by both.
func (s *Store) randomBase(target Target) (base, error) {
	b, name, why := s.recordedBase(target)
	if b.dir != nil {
		return b, nil
	}
	if why != "" {
		s.remark("the base of %s is replaced: %s; what was in it is out of reach", target.Path, why)
	}
	return s.newBase(target, name)
}

// SeesBase says whether the base of a target is to be found there.
func (s *Store) SeesBase(target Target, configured string) bool {
	b, err := s.existingBase(target, configured)
	if err != nil || b.dir == nil {
		return false
	}
	b.dir.Close()
	return true
}

// HasBase says that target has had a base on its own file system since boot.
func (s *Store) HasBase(target string) bool { return s.state.Base(target) != "" }

// recordedBase returns no base where there is none to be used; name is what is
// recorded, and why says why that does not fit.
func (s *Store) recordedBase(target Target) (b base, name, why string) {
	name = s.state.Base(target.Path)
	if name == "" {
		return base{}, "", ""
	}
	// Where others could rename root's directory, it proves nothing.
	if err := canHoldBase(target); err != nil {
		return base{}, name, err.Error()
	}
	b, err := s.openBaseIn(target.Dir, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return base{}, name, name + " is gone"
	case err != nil:
		return base{}, name, err.Error()
	case b.info.MountRoot:
		b.dir.Close()
		return base{}, name, "something is mounted on " + name
	}
	return b, name, ""
}

// newBase makes a base instead of a stale one, or takes the one that another login
// has just made.
func (s *Store) newBase(target Target, stale string) (base, error) {
	if err := canHoldBase(target); err != nil {
		return base{}, err
	}
	made, err := makeBase(target)
	if err != nil {
		return base{}, err
	}
	name, err := s.state.SetBase(target.Path, stale, made)
	if name != made {
		// Nobody knows it yet: it is ours to take back.
		_ = unix.Unlinkat(int(target.Dir.Fd()), made, unix.AT_REMOVEDIR)
	}
	if err != nil {
		return base{}, err
	}
	// Without it, the base would be out of reach after a reboot: no reason to refuse.
	if err := s.state.RememberTarget(target.Path); err != nil {
		s.remark("the base of %s will not be found after a reboot: %v", target.Path, err)
	}
	return s.openBaseIn(target.Dir, name)
}

func makeBase(target Target) (string, error) {
	const tries = 8
	for range tries {
		name := prefix + state.Random()
		err := mkdirBase(target.Dir, name)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("cannot make the base %s/%s: %w", target.Path, name, err)
		}
		return name, nil
	}
	return "", fmt.Errorf("cannot make a base in %s: all %d names tried were taken", target.Path, tries)
}

// mkdirBase makes a directory with just this mode: in one with the set-group-ID bit, it
// would have that bit as well. Others can rename nothing of root's there.
func mkdirBase(parent *os.File, name string) error {
	const mode = 0o700
	if err := unix.Mkdirat(int(parent.Fd()), name, mode); err != nil {
		return err
	}
	return unix.Fchmodat(int(parent.Fd()), name, mode, 0)
}

// canHoldBase wants a directory in which only root can rename root's own.
func canHoldBase(target Target) error {
	switch {
	case target.Info.UID != 0:
		return fmt.Errorf("cannot keep instances in %s: it belongs to uid %d, not to root; name a base for it in the configuration",
			target.Path, target.Info.UID)
	case target.Info.Mode&mountfd.WritableByOthers != 0 && target.Info.Mode&unix.S_ISVTX == 0:
		return fmt.Errorf("cannot keep instances in %s: others can write to it and its mode %#o has no sticky bit; "+
			"run \"chmod +t %s\" or name a base for it in the configuration", target.Path, target.Info.Mode, target.Path)
	}
	return nil
}
