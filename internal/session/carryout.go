package session

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/instance"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/plan"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/internal/wire"
)

// preparer makes the attachments of a plan, one after the other.
type preparer struct {
	*login
	inside  map[string]*os.File // the instance of each target, for mount points in it
	entries []wire.Entry
	remarks []string
}

// carryOut turns a plan into a reply.
func (l *login) carryOut(p plan.Plan) error {
	prep := preparer{login: l, inside: map[string]*os.File{}, remarks: p.Remarks}
	if err := prep.prepare(p); err != nil {
		return err
	}
	for _, setting := range p.Env {
		prep.entries = append(prep.entries, wire.Env{Text: envText(setting)})
	}
	if l.answer.store != nil {
		prep.remarks = append(prep.remarks, l.answer.store.Remarks...)
		l.answer.store.Done()
	}
	l.answer.Reply.Entries = append(prep.logs(p), prep.entries...)
	return nil
}

func envText(s plan.Setting) string {
	if s.Unset {
		return s.Name
	}
	return s.Name + "=" + s.Value
}

// logs comes first in the reply: whatever the commit meets, this is in the journal.
func (p *preparer) logs(done plan.Plan) []wire.Entry {
	entries := []wire.Entry{wire.Summary{Text: done.Outcome}}
	who := fmt.Sprintf("%s (uid %d): ", p.request.User, p.request.UID)
	for _, remark := range p.remarks {
		entries = append(entries, wire.Log{Priority: wire.Notice, Text: who + remark})
	}
	if p.request.Debug {
		for line := range strings.Lines(done.String()) {
			entries = append(entries, wire.Log{Priority: wire.Debug, Text: who + strings.TrimRight(line, "\n")})
		}
	}
	return entries
}

func (p *preparer) prepare(done plan.Plan) error {
	if len(done.Targets) > 0 {
		if err := p.record(done.Targets); err != nil {
			return err
		}
	}
	if makesTmpfs(done) {
		if err := p.answer.store.LockUser(p.request.UID); err != nil {
			return err
		}
	}
	for _, step := range done.Steps {
		if err := p.step(step); err != nil {
			return err
		}
	}
	return nil
}

// makesTmpfs says whether a plan has a tmpfs that the user's sessions share.
func makesTmpfs(done plan.Plan) bool {
	return slices.ContainsFunc(done.Steps, func(step plan.Step) bool {
		attach, ok := step.(plan.Attach)
		if !ok {
			return false
		}
		source, ok := attach.Source.(plan.Instance)
		return ok && source.Kind == policy.Tmpfs && source.Scope == policy.User
	})
}

// record claims the session: from now on it can be found, and when its process
// has gone, swept.
func (p *preparer) record(targets []string) error {
	name, err := p.answer.state.NewName(p.pid)
	if err != nil {
		return err
	}
	p.answer.Session = name
	p.entries = append(p.entries, wire.Record{Name: name})
	return p.answer.state.SetSession(state.Session{
		Name: name, UID: p.request.UID, User: p.request.User, Service: p.request.Service,
		TTY: p.request.TTY, RHost: p.request.RHost, Targets: targets,
	})
}

func (p *preparer) step(step plan.Step) error {
	switch step := step.(type) {
	case plan.Unshare:
		p.entries = append(p.entries, wire.Unshare{})
	case plan.Propagate:
		p.entries = append(p.entries, wire.Propagate{
			Path: step.Path, Propagation: propagation(step.Mode), Recursive: step.Recursive,
		})
	case plan.Detach:
		id := p.observer.places[step.Target].caller.ID
		p.entries = append(p.entries, wire.Detach{Path: step.Target, Device: id.Device, Inode: id.Inode})
	case plan.Chdir:
		p.entries = append(p.entries, wire.Chdir{Path: step.Path})
	case plan.Attach:
		return p.attach(step)
	default:
		return fmt.Errorf("cannot carry out the step %q: it is unknown here", step)
	}
	return nil
}

func propagation(mode policy.Propagation) wire.Propagation {
	if mode == policy.PropagationPrivate {
		return wire.Private
	}
	return wire.Slave
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
	p.entries = append(p.entries, wire.Attach{
		Path: step.Target, Device: onto.Device, Inode: onto.Inode,
		Descriptor: uint32(len(p.answer.Attachments)), Directory: step.Directory,
	})
	p.answer.Attachments = append(p.answer.Attachments, mount)
	if len(p.answer.Attachments) > wire.AttachmentsMax {
		return fmt.Errorf("cannot attach more than %d directories and files in one session", wire.AttachmentsMax)
	}
	return nil
}

// mountPoint says what the attachment goes over, so that the login process can
// tell whether it still is there.
func (p *preparer) mountPoint(step plan.Attach) (mountfd.ID, error) {
	switch {
	case step.Inside != "":
		return instance.MountPoint(p.inside[step.Inside], relative(step.Inside, step.Target), step.Directory)
	case step.Uncovered:
		return mountfd.ID{}, nil
	}
	return p.observer.places[step.Target].caller.ID, nil
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

func (p *preparer) instance(private policy.Private) (*os.File, error) {
	target := p.observer.places[private.Target].host
	owner := instance.Owner{UID: p.request.UID, User: p.request.User}
	if private.Scope == policy.Session {
		owner.Session = p.answer.Session
	}
	if private.Kind == policy.Tmpfs {
		mount, err := p.answer.store.Tmpfs(target, private, owner)
		p.inside[private.Target] = mount
		return mount, err
	}
	dir, err := p.answer.store.Directory(target, private.Base, owner)
	if err != nil {
		return nil, err
	}
	p.answer.keep(dir)
	p.inside[private.Target] = dir
	return instance.Attachable(dir, target)
}

// bind makes a mount of a file of the host's. What the host mounts below it
// later comes in, unless nothing at all is to come in.
func (p *preparer) bind(file *os.File, how policy.Bind) (*os.File, error) {
	mount, err := mountfd.Clone(file, how.Recursive)
	if err != nil {
		return nil, err
	}
	var attributes, propagation uint64 = 0, unix.MS_SLAVE
	if how.ReadOnly {
		attributes = unix.MOUNT_ATTR_RDONLY
	}
	if p.policy.Propagation == policy.PropagationPrivate {
		propagation = unix.MS_PRIVATE
	}
	return mount, mountfd.SetAttr(mount, attributes, propagation, how.Recursive)
}
