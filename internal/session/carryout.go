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
	switch step := firstStep(p).(type) {
	case nil:
		l.answer.Revoke() // the session has nothing that could be found
		return l.reply(p, nil)
	case plan.Return:
		l.answer.Revoke()
		return l.returnToHost(p)
	case plan.Create:
		return l.create(p, step)
	default:
		return fmt.Errorf("cannot carry out the step %q: it is unknown here", step)
	}
}

func (l *login) returnToHost(p plan.Plan) error {
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

func (l *login) create(p plan.Plan, create plan.Create) error {
	if err := l.record(); err != nil {
		return err
	}
	for _, step := range p.OnHost {
		if err := l.onHost(step); err != nil {
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

// onHost does what concerns the host and all sessions. The target stays the same
// directory; what was opened of it is as good as before.
func (l *login) onHost(step plan.Step) error {
	if step, ok := step.(plan.MakeMountPoint); ok {
		return hostmount.Make(l.view.Host, l.answer.state, step.Target)
	}
	return fmt.Errorf("cannot carry out the step %q: it is unknown here", step)
}

// build makes the namespace; what the working directory is in it comes with it, nil
// where that is the root directory.
func (p *preparer) build(done plan.Plan) (n *view.Namespace, cwd *os.File, err error) {
	start := p.observer.start(done)
	make := func(tree mountfd.Tree) error {
		for _, step := range done.Steps {
			if err := p.step(tree, step); err != nil {
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

// step does one thing in the new namespace.
func (p *preparer) step(tree mountfd.Tree, step plan.Step) error {
	switch step := step.(type) {
	case plan.Create, plan.Chdir:
		return nil // it is there; and the login process has to move itself
	case plan.Propagate:
		return p.propagate(tree, step)
	case plan.Detach:
		target, err := p.open(tree, step.Target, p.observer.places[step.Target].caller.ID)
		if err != nil {
			return err
		}
		defer target.Close()
		return mountfd.Detach(target)
	case plan.Attach:
		made, ok := p.ready[step.Target]
		if !ok {
			return nil // optional, and not to be made
		}
		target, err := p.open(tree, step.Target, made.onto)
		if err != nil {
			return err
		}
		defer target.Close()
		return mountfd.Attach(made.mount, target)
	}
	return fmt.Errorf("cannot carry out the step %q: it is unknown here", step)
}

// open opens what was seen at a path; another file in its place is refused, and so is a
// file system that a user has mounted on the way since.
func (p *preparer) open(tree mountfd.Tree, path string, want mountfd.ID) (*os.File, error) {
	if want == (mountfd.ID{}) {
		return mountfd.Open(tree.Root, path) // a mount of ours was there, or is a user's own
	}
	f, err := tree.Open(path)
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

func (p *preparer) propagate(tree mountfd.Tree, step plan.Propagate) error {
	mount, err := mountfd.Open(tree.Root, step.Path)
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
			wanted[attach.Inside] = append(wanted[attach.Inside], relative(attach.Inside, attach.Target))
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
	mount, err := p.mount(step)
	if mount != nil {
		p.answer.keep(mount)
	}
	if err != nil {
		return err
	}
	p.ready[step.Target] = ready{mount, onto}
	return nil
}

// mountPoint says what the mount goes over.
func (p *preparer) mountPoint(step plan.Attach) (mountfd.ID, error) {
	pl := p.observer.places[step.Target]
	switch {
	case step.Inside != "":
		return instance.MountPoint(p.inside[step.Inside], relative(step.Inside, step.Target), step.Directory)
	case step.Uncovered:
		return mountfd.ID{}, nil
	case p.fromCaller:
		return pl.caller.ID, nil
	}
	return pl.host.Info.ID, nil
}

func (p *preparer) mount(step plan.Attach) (*os.File, error) {
	switch source := step.Source.(type) {
	case plan.Instance:
		return p.instance(source.Private)
	case plan.Bind:
		return p.bind(p.observer.places[source.Target].sources[source.Source], source.Bind)
	case plan.Shared:
		return p.bind(p.observer.shareAt(step.Inside, source.Path), policy.Bind{})
	}
	return nil, fmt.Errorf("cannot attach %s: it is unknown here", step.Source)
}

func (l *login) owner(private policy.Private) instance.Owner {
	owner := instance.Owner{UID: l.request.UID, GID: l.request.GID, User: l.request.User}
	if private.Scope == policy.Session {
		owner.Session = l.answer.Session
	}
	pl := l.observer.places[private.Target]
	owner.At, owner.Label = pl.facts.At, pl.label
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
