package session

import (
	"os"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/plan"
	"gotmpns/internal/policy"
	"gotmpns/internal/registry"
	"gotmpns/internal/wire"
)

// join answers with the namespace of another session, if that shows now what this login
// would get; false means that it does not.
func (l *login) join(p plan.Plan, step plan.Join) (bool, error) {
	n := l.joinable[step.Session]
	expected, err := l.expect(step.Shows)
	if expected == nil || err != nil {
		return false, err
	}
	if err := l.record(); err != nil {
		return false, err
	}
	cwd, fits, err := l.look(n, expected, l.observer.start(p))
	if cwd != nil {
		l.answer.keep(cwd)
	}
	if !fits || err != nil {
		return false, err
	}
	if err := l.fill(p, n.File); err != nil {
		return false, err
	}
	l.answer.Namespace = n
	return true, l.reply(p, l.joinStep(n.File, nil, cwd))
}

// joinStep names descriptors by their place in the answer; root and cwd may be nil.
func (l *login) joinStep(namespace, root, cwd *os.File) *wire.Join {
	index := func(f *os.File) uint32 {
		if f == nil {
			return wire.None
		}
		l.answer.Descriptors = append(l.answer.Descriptors, f)
		return uint32(len(l.answer.Descriptors) - 1)
	}
	return &wire.Join{Namespace: index(namespace), Root: index(root), Cwd: index(cwd)}
}

// shown is what a namespace has to show at a path: a file that is open here, so that its
// identity is nobody else's, or a tmpfs with a mark.
type shown struct {
	path string
	id   mountfd.ID
	mark string
}

// expect says what a namespace has to show; nil where something is to be made first.
func (l *login) expect(attaches []plan.Attach) ([]shown, error) {
	var all []shown
	for _, attach := range attaches {
		s, err := l.expectOne(attach)
		if err != nil || s == (shown{}) {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (l *login) expectOne(attach plan.Attach) (shown, error) {
	file := (*os.File)(nil)
	switch source := attach.Source.(type) {
	case plan.Bind:
		file = l.observer.places[source.Target].sources[source.Source]
	case plan.Shared:
		file = l.observer.shareAt(attach.Inside, source.Path)
	case plan.Instance:
		owner := l.owner(source.Private)
		if source.Kind == policy.Tmpfs {
			mark, err := l.answer.store.TmpfsMark(source.Target, owner)
			if mark == "" || err != nil {
				return shown{}, err
			}
			return shown{path: attach.Target, mark: mark}, nil
		}
		dir, err := l.answer.store.Existing(l.observer.places[source.Target].host, source.Base, owner)
		if dir == nil || err != nil {
			return shown{}, err
		}
		l.answer.keep(dir)
		file = dir
	}
	info, err := mountfd.Stat(file)
	return shown{path: attach.Target, id: info.ID}, err
}

// look looks from inside, which is where the login process will be, and opens the
// working directory there. It goes nowhere a user answers for.
func (l *login) look(n *registry.Namespace, expected []shown, start start) (place *os.File, fits bool, err error) {
	err = l.view.In(n.File, func(root *os.File) {
		tree := l.observer.inside(root)
		fits = l.isOnHost(root)
		for _, s := range expected {
			fits = fits && s.isIn(tree)
			tree.Known = append(tree.Known, s.id.Device)
		}
		if fits && !start.isRoot() {
			place = l.observer.open(tree, start)
			fits = place != nil
		}
	})
	return place, fits, err
}

// isOnHost says that the root directory of a namespace is the host's.
func (l *login) isOnHost(root *os.File) bool {
	one, err := mountfd.Peek(root)
	if err != nil {
		return false
	}
	other, err := mountfd.Peek(l.view.Host.Root)
	return err == nil && one.ID == other.ID
}

func (s shown) isIn(tree mountfd.Tree) bool {
	tree.Known = append(tree.Known, s.id.Device)
	place, err := tree.Open(s.path)
	if err != nil {
		return false
	}
	defer place.Close()
	info, err := mountfd.Peek(place)
	switch {
	case err != nil || !info.MountRoot:
		return false
	case s.mark != "":
		return mountfd.Mark(place) == s.mark
	}
	return info.ID == s.id
}
