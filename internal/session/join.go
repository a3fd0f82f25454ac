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
	e := expectation{login: l, inside: attach.Inside}
	if err := attach.Source.Accept(&e); err != nil || e.shown == (shown{}) {
		return shown{}, err
	}
	e.path = attach.Target
	return e.shown, nil
}

// expectation finds out what a namespace shows that has a source attached.
type expectation struct {
	*login
	inside string // the private target it is attached in
	shown         // the result; zero where it is to be made first
}

func (e *expectation) Bind(b plan.Bind) error {
	return e.file(e.observer.places[b.Target].sources[b.Source])
}

func (e *expectation) Shared(s plan.Shared) error {
	return e.file(e.observer.shareAt(e.inside, s.Path))
}

func (e *expectation) Instance(i plan.Instance) (err error) {
	owner := e.owner(i.Private)
	if i.Kind == policy.Tmpfs {
		e.mark, err = e.answer.store.TmpfsMark(i.Target, owner)
		return err
	}
	dir, err := e.answer.store.Existing(e.observer.places[i.Target].host, i.Base, owner)
	if dir == nil || err != nil {
		return err
	}
	e.answer.keep(dir)
	return e.file(dir)
}

func (e *expectation) file(f *os.File) error {
	info, err := mountfd.Stat(f)
	e.id = info.ID
	return err
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
