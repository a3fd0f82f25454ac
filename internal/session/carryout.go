package session

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"gotmpns/internal/hostmount"
	"gotmpns/internal/instance"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/plan"
	"gotmpns/internal/policy"
	"gotmpns/internal/proc"
	"gotmpns/internal/registry"
	"gotmpns/internal/view"
)

// preparer makes the mounts that a plan attaches, and then the namespace they go into.
type preparer struct {
	*login
	ready   map[string]ready    // by the path of the target
	inside  map[string]*os.File // the instance of each target, for mount points in it
	remarks []string
	// fromCaller: the namespace is a copy of the login process's, so it shows its mounts.
	fromCaller bool
}

// ready is a detached mount and what it goes over.
type ready struct {
	mount *os.File
	onto  mountfd.ID // zero: what a detach brings to light
}

// carryOut answers with a namespace that is made for this session, or with none.
func (l *login) carryOut(p plan.Plan) error {
	if p.Way == nil {
		l.answer.Revoke() // the session has nothing that could be found
		return l.reply(p, nil)
	}
	return p.Way.Accept(way{l, p})
}

// way leads to the namespace of a plan.
type way struct {
	*login
	plan plan.Plan
}

// Join is never met here: what cannot be joined has led to another plan in tryToJoin.
func (w way) Join(join plan.Join) error { return fmt.Errorf("cannot %s", join) }

func (w way) Return(plan.Return) error {
	l, p := w.login, w.plan
	l.answer.Revoke()
	var cwd *os.File
	if start := l.observer.start(p); !start.isRoot() {
		if cwd = l.observer.open(l.view.Host, start); cwd != nil {
			l.answer.keep(cwd)
		}
	}
	// The view's own descriptor is closed with the view.
	host, err := proc.OpenNamespace("/proc/thread-self/ns/mnt")
	if err != nil {
		return err
	}
	l.answer.keep(host)
	return l.reply(p, l.joinStep(host, nil, cwd))
}

func (w way) Create(create plan.Create) error {
	l, p := w.login, w.plan
	if err := l.record(); err != nil {
		return err
	}
	// It concerns the host and all sessions. The target stays the same directory; what was
	// opened of it is as good as before.
	for _, step := range p.OnHost {
		if err := hostmount.Make(l.view.Host, l.answer.state, step.Target); err != nil {
			return err
		}
	}
	prep := preparer{login: l, ready: map[string]ready{}, inside: map[string]*os.File{}, fromCaller: create.FromCaller}
	if err := prep.prepare(p.Steps); err != nil {
		return err
	}
	n, cwd, err := prep.build(p)
	if n != nil {
		l.answer.keep(n.File)
		l.answer.keep(n.Root)
		if n.Cwd != nil {
			l.answer.keep(n.Cwd)
		}
	}
	if err != nil {
		return err
	}
	p.Remarks = append(slices.Clone(p.Remarks), prep.remarks...)
	if err := l.fill(p, n.File); err != nil {
		return err
	}
	l.answer.Namespace = &registry.Namespace{Session: l.answer.Session, PID: l.pid, Key: p.Key, File: n.File}
	root := n.Root
	if l.view.OfInit {
		root = nil // the namespace's own
	}
	return l.reply(p, l.joinStep(n.File, root, cwd))
}

// build makes the namespace; what the working directory is in it comes with it, nil
// where that is the root directory.
func (p *preparer) build(done plan.Plan) (n *view.Namespace, cwd *os.File, err error) {
	start := p.observer.start(done)
	make := func(tree mountfd.Tree) error {
		for _, step := range done.Steps {
			if err := step.Accept(builder{p, tree}); err != nil {
				return err
			}
		}
		if !start.isRoot() {
			// Another directory by now, or none, is no reason to refuse a login.
			cwd = p.observer.open(p.observer.inside(tree.Root), start)
		}
		return nil
	}
	if p.fromCaller {
		n, err = p.view.FromCaller(p.cwdToKeep(start), make)
	} else {
		n, err = p.view.FromHost(make)
	}
	if cwd != nil {
		p.answer.keep(cwd)
	} else if n != nil {
		cwd = n.Cwd
	}
	return n, cwd, err
}

// cwdToKeep is the working directory where the session stays in it.
func (p *preparer) cwdToKeep(start start) *os.File {
	if start.moved {
		return nil
	}
	return p.observer.cwd
}

// builder does the steps of a plan in the new namespace.
type builder struct {
	*preparer
	tree mountfd.Tree
}

func (b builder) Detach(step plan.Detach) error {
	target, err := b.open(step.Target, b.observer.places[step.Target].caller.ID)
	if err != nil {
		return err
	}
	defer target.Close()
	return mountfd.Detach(target)
}

func (b builder) Attach(step plan.Attach) error {
	made, ok := b.ready[step.Target]
	if !ok {
		return nil // optional, and not to be made
	}
	target, err := b.open(step.Target, made.onto)
	if err != nil {
		return err
	}
	defer target.Close()
	return mountfd.Attach(made.mount, target)
}

// open opens what was seen at a path; another file in its place is refused, and so is a
// file system that a user has mounted on the way since.
func (b builder) open(path string, want mountfd.ID) (*os.File, error) {
	if want == (mountfd.ID{}) {
		return mountfd.Open(b.tree.Root, path) // a mount of ours was there, or is a user's own
	}
	f, err := b.tree.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := mountfd.Peek(f)
	if err == nil && info.ID != want {
		err = fmt.Errorf("cannot use %s: it was replaced in the meantime", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (b builder) Propagate(step plan.Propagate) error {
	mount, err := mountfd.Open(b.tree.Root, step.Path)
	if err != nil {
		return err
	}
	defer mount.Close()
	mode := uint64(unix.MS_SLAVE)
	if step.Mode == policy.PropagationPrivate {
		mode = unix.MS_PRIVATE
	}
	err = mountfd.SetPropagation(mount, mode, step.Recursive)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w; it is not a mount point here, as in a chroot", err)
	}
	if err != nil || !step.Peers {
		return err
	}
	return mountfd.SetPropagation(mount, unix.MS_SHARED, step.Recursive)
}

// prepare makes every mount before there is a namespace.
func (p *preparer) prepare(steps []plan.Step) error {
	for _, step := range steps {
		attach, ok := step.(plan.Attach)
		if !ok {
			continue
		}
		if err := p.attach(attach); err != nil {
			return err
		}
	}
	p.removeStale(steps)
	return nil
}

// removeStale removes the mount points of earlier sessions that this one does not need.
// They are root's, and in the way of files that the user wants to have there. In another
// session that is open, something may be mounted on them.
func (p *preparer) removeStale(steps []plan.Step) {
	alone := func() bool { return len(p.answer.state.Living(p.request.UID)) <= 1 }
	wanted := map[string][]string{}
	for _, step := range steps {
		if attach, ok := step.(plan.Attach); ok && attach.Inside != "" {
			wanted[attach.Inside] = append(wanted[attach.Inside], relativePath(attach.Inside, attach.Target))
		}
	}
	for _, private := range p.policy.Private {
		if inside := p.inside[private.Target]; inside != nil {
			instance.RemoveStale(inside, wanted[private.Target], private.Share, alone)
		}
	}
}

func (p *preparer) attach(step plan.Attach) error {
	onto, err := p.mountPoint(step)
	if err != nil {
		if step.Optional {
			p.remarks = append(p.remarks, fmt.Sprintf("%s is not shared: %v", step.Target, err))
			return nil
		}
		return err
	}
	source := source{preparer: p, inside: step.Inside}
	err = step.Source.Accept(&source)
	if source.mount != nil {
		p.answer.keep(source.mount)
	}
	if err != nil {
		return err
	}
	p.ready[step.Target] = ready{source.mount, onto}
	return nil
}

// mountPoint says what the mount goes over.
func (p *preparer) mountPoint(step plan.Attach) (mountfd.ID, error) {
	pl := p.observer.places[step.Target]
	switch {
	case step.Inside != "":
		return instance.MountPoint(p.inside[step.Inside], relativePath(step.Inside, step.Target), step.Directory)
	case step.Uncovered:
		return mountfd.ID{}, nil
	case p.fromCaller:
		return pl.caller.ID, nil
	}
	return pl.host.Info.ID, nil
}

// source makes the mount that shows what is to be attached.
type source struct {
	*preparer
	inside string   // the private target it is attached in
	mount  *os.File // the result, also of one that fails half way
}

func (s *source) Instance(i plan.Instance) (err error) {
	s.mount, err = s.instance(i.Private)
	return err
}

func (s *source) Bind(b plan.Bind) (err error) {
	s.mount, err = s.bind(s.observer.places[b.Target].sources[b.Source], b.Bind)
	return err
}

func (s *source) Shared(shared plan.Shared) (err error) {
	s.mount, err = s.bind(s.observer.shareAt(s.inside, shared.Path), policy.Bind{})
	return err
}

func (l *login) owner(private policy.Private) instance.Owner {
	owner := instance.Owner{UID: l.request.UID, GID: l.request.GID, User: l.request.User}
	if private.Scope == policy.Session {
		owner.Session = l.answer.Session
	}
	pl := l.observer.places[private.Target]
	owner.At, owner.Label, owner.LabelInside = pl.facts.At, pl.label, pl.labelInside
	owner.Shared = private.Shared && owner.At != "" // without SELinux, it is the user's
	return owner
}

// instance makes a mount of the user's own directory or tmpfs. What is mounted in it is
// seen by containers and sandboxes of the session, and by nobody else.
func (p *preparer) instance(private policy.Private) (*os.File, error) {
	mount, err := p.instanceOf(private)
	if err != nil {
		return mount, err
	}
	if err := mountfd.SetPropagation(mount, unix.MS_PRIVATE, false); err != nil || p.policy.Propagation == policy.PropagationPrivate {
		return mount, err
	}
	return mount, mountfd.SetPropagation(mount, unix.MS_SHARED, false)
}

func (p *preparer) instanceOf(private policy.Private) (*os.File, error) {
	target := p.observer.places[private.Target].host
	if private.Kind == policy.Tmpfs {
		mount, err := p.tmpfs(target, private)
		p.inside[private.Target] = mount
		return mount, err
	}
	dir, err := p.answer.store.Directory(target, private, p.owner(private))
	if err != nil {
		return nil, err
	}
	p.answer.keep(dir)
	p.inside[private.Target] = dir
	return instance.Attachable(dir, target, private.Options)
}

// tmpfs takes the one that another session of the user has, or makes one.
func (p *preparer) tmpfs(target instance.Target, private policy.Private) (*os.File, error) {
	owner := p.owner(private)
	if owner.Session == "" {
		mark, err := p.answer.store.TmpfsMark(target.Path, owner)
		if err != nil {
			return nil, err
		}
		mount, err := p.findTmpfs(target, private, mark)
		if mount != nil || err != nil {
			return mount, err
		}
	}
	return p.answer.store.NewTmpfs(target, private, owner)
}

// findTmpfs looks where it can be: in the namespaces of the user's sessions and, where
// all of these have ended and no broker knows better, of the user's processes: a
// detached tmux may be all that is left.
func (p *preparer) findTmpfs(target instance.Target, private policy.Private, mark string) (*os.File, error) {
	if mark == "" {
		return nil, nil
	}
	for _, n := range p.joinable {
		mount, err := p.answer.store.CloneTmpfs(n.File, p.view.Host.Table, target, private.Options, mark)
		if mount != nil || err != nil {
			return mount, err
		}
	}
	if len(p.joinable) > 0 || p.host.Remembers {
		return nil, nil
	}
	for _, n := range registry.OfProcesses(p.request.UID, p.view.HostNamespace()) {
		p.answer.keep(n.File)
		mount, err := p.answer.store.CloneTmpfs(n.File, p.view.Host.Table, target, private.Options, mark)
		if mount != nil || err != nil {
			return mount, err
		}
	}
	return nil, nil
}

// bind makes a mount of a file of the host's. What the host mounts below it
// later comes in, unless nothing at all is to come in.
func (p *preparer) bind(file *os.File, how policy.Bind) (*os.File, error) {
	mount, err := mountfd.Clone(file, how.Recursive)
	if err != nil {
		return nil, err
	}
	attributes := mountfd.FlagsNamed(how.Options.Names())
	if how.ReadOnly {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	if err := mountfd.AddFlags(mount, attributes, how.Recursive); err != nil {
		return mount, err
	}
	if p.policy.Propagation == policy.PropagationPrivate {
		return mount, mountfd.SetPropagation(mount, unix.MS_PRIVATE, how.Recursive)
	}
	if err := mountfd.SetPropagation(mount, unix.MS_SLAVE, how.Recursive); err != nil {
		return mount, err
	}
	return mount, mountfd.SetPropagation(mount, unix.MS_SHARED, how.Recursive)
}
