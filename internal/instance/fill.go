package instance

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gotmpns/internal/fill"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
)

// ErrConfined says that this process may not run programs, nor take a user's ids: a
// worker has to be asked.
var ErrConfined = errors.New("this login has to be prepared by a worker: the broker neither runs programs nor takes a user's ids")

// fill puts the skeleton into a new instance, and runs the program for it. dir is the
// instance, open for reading.
func (s *Store) fill(target Target, p policy.Private, owner Owner, dir *os.File) error {
	job := s.job(target, owner, dir)
	if p.Skeleton != "" {
		if err := fill.Copy(s.view.Host, p.Skeleton, job); err != nil {
			return err
		}
	}
	if p.OnCreate == "" {
		return nil
	}
	mount, err := mountfd.Clone(dir, false)
	if err != nil {
		return err
	}
	defer mount.Close()
	return s.run(target, p.OnCreate, mount, job)
}

// fillDirectory fills an instance that has not its name yet; what the program has made of
// it has to be one that the next login would accept.
func (s *Store) fillDirectory(b base, name string, target Target, p policy.Private, owner Owner) error {
	dir, err := mountfd.ReadDir(b.dir, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := s.fill(target, p, owner, dir); err != nil {
		return err
	}
	return verifyInstance(dir, b, target, owner)
}

func (s *Store) job(target Target, owner Owner, dir *os.File) fill.Job {
	job := fill.Job{Target: target.Path, HostDir: target.Dir, Instance: dir, User: "root", Label: owner.LabelInside}
	if !owner.Shared {
		job.User, job.UID, job.GID = owner.User, owner.UID, owner.GID
	}
	return job
}

// fillTmpfs is [Store.fill] for a detached mount. A program needs it attached, and what
// is attached cannot be detached again: so another mount of it is returned. The one that
// is given is closed in any case.
func (s *Store) fillTmpfs(target Target, p policy.Private, owner Owner, mount *os.File) (*os.File, error) {
	dir, err := mountfd.ReadDir(mount, ".")
	if err != nil {
		mount.Close()
		return nil, err
	}
	defer dir.Close()
	job := s.job(target, owner, dir)
	if p.Skeleton != "" {
		if err := fill.Copy(s.view.Host, p.Skeleton, job); err != nil {
			mount.Close()
			return nil, err
		}
	}
	if p.OnCreate == "" {
		return mount, nil
	}
	defer mount.Close()
	var again *os.File
	err = s.runThen(target, p.OnCreate, mount, job, func(attached *os.File) (err error) {
		again, err = mountfd.Clone(attached, false)
		return err
	})
	if err != nil && again != nil {
		again.Close()
		again = nil
	}
	return again, err
}

func (s *Store) run(target Target, name string, mount *os.File, job fill.Job) error {
	return s.runThen(target, name, mount, job, func(*os.File) error { return nil })
}

// runThen runs a program in a mount namespace of its own, in which the target is the
// instance already, and nothing that it mounts reaches the host.
func (s *Store) runThen(target Target, name string, mount *os.File, job fill.Job, then func(attached *os.File) error) error {
	program, err := fill.OpenProgram(s.view.Host, name)
	if err != nil {
		return err
	}
	defer program.Close()
	namespace, err := s.view.FromHost(func(tree mountfd.Tree) error {
		if err := mountfd.SetPropagation(tree.Root, unix.MS_SLAVE, true); err != nil {
			return err
		}
		if err := attachAt(tree, target, mount); err != nil {
			return err
		}
		if err := program.Run(job); err != nil {
			return err
		}
		attached, err := tree.Open(target.Path)
		if err != nil {
			return err
		}
		defer attached.Close()
		return then(attached)
	})
	if namespace != nil {
		namespace.Close()
	}
	return err
}

func attachAt(tree mountfd.Tree, target Target, mount *os.File) error {
	place, err := tree.Open(target.Path)
	if err != nil {
		return err
	}
	defer place.Close()
	info, err := mountfd.Peek(place)
	if err != nil {
		return err
	}
	if info.ID != target.Info.ID {
		return fmt.Errorf("cannot use %s: it was replaced in the meantime", target.Path)
	}
	return mountfd.Attach(mount, place)
}

// CanFill says whether the skeleton and the program of a target can be used, as far as
// that is known before.
func (s *Store) CanFill(p policy.Private) error {
	if p.Skeleton != "" {
		skeleton, err := fill.OpenSkeleton(s.view.Host, p.Skeleton)
		if err != nil {
			return err
		}
		skeleton.Close()
	}
	if p.OnCreate != "" {
		program, err := fill.OpenProgram(s.view.Host, p.OnCreate)
		if err != nil {
			return err
		}
		program.Close()
	}
	return nil
}

// isFilled says that a new instance does not begin empty.
func isFilled(p policy.Private) bool { return p.Skeleton != "" || p.OnCreate != "" }
