package session

import (
	"errors"
	"os"

	"gotmpns/internal/instance"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/plan"
)

// This file is about the login process: where it comes from, what it holds, and what
// becomes of its working directory.

// origin says which namespace the login process is in. What bears the mark of another
// user is that user's, whether or not a session is recorded for it: a session ends, and
// leaves processes behind.
func (l *login) origin() plan.Origin {
	switch {
	case l.view.InHost:
		return plan.FromHost
	case !l.view.OfInit:
		return plan.FromElsewhere
	case l.observer.isAnothers():
		return plan.FromOthers
	case l.isInSessionOf(l.request.UID):
		return plan.FromOwn
	}
	l.observer.lookAtTable()
	if len(l.observer.strayed) > 0 {
		return plan.FromOthers
	}
	return plan.FromElsewhere
}

// isAnothers says that another user's own instance was seen. Those that several users
// share tell nothing.
func (o *observer) isAnothers() bool {
	for uid := range o.strayed {
		if uid != instance.NoUID {
			return true
		}
	}
	return false
}

// lookAtTable looks for instances of others at any path, such as at a target that the
// configuration had when their session began, or below what a user has mounted over it.
func (o *observer) lookAtTable() {
	owners, err := instance.InTable(o.view.Caller)
	if err != nil {
		owners = []uint32{instance.NoUID} // not known, so it may be anybody's
	}
	for _, uid := range owners {
		if uid != o.uid {
			o.strayed[uid] = true
		}
	}
}

// isInSessionOf compares with the namespaces of one user's sessions.
func (l *login) isInSessionOf(uid uint32) bool {
	found := false
	for _, n := range l.host.Namespaces(l.answer.state, uid, l.view.HostNamespace()) {
		found = found || l.view.IsCaller(n.File)
		n.Close()
	}
	return found
}

// holds returns another user whose session the login process itself has open: a server
// that serves several users in one process. Empty: it has none.
func (l *login) holds() string {
	for uid := range l.observer.strayed {
		for _, r := range l.answer.state.Living(uid) {
			if r.PID == l.pid {
				return r.User
			}
		}
	}
	return ""
}

// lookAtCwd finds out where the login process is, without asking a user's own file
// system: root may not enter that, or would wait indefinitely.
func (o *observer) lookAtCwd() {
	cwd, err := o.view.Cwd()
	if err != nil {
		return // not known: the session starts in /
	}
	o.keep(cwd)
	o.cwd, o.cwdFacts.Path = cwd, cwd.Name()
	if o.cwdFacts.Path == "/" && o.view.InHost {
		o.cwdFacts.OnHost = true
		return
	}
	switch err := o.withRoots(o.view.Caller).Trust(cwd); {
	case errors.Is(err, mountfd.ErrUsers):
		o.cwdFacts.Refused = mountfd.ErrUsers.Error()
		return
	case err != nil:
		o.cwdFacts.Refused = detached
		return
	}
	place := o.open(o.view.Host, start{path: o.cwdFacts.Path})
	if o.cwdFacts.OnHost = place != nil; place != nil {
		o.keep(place)
	}
}

// detached is about a mount that is in no table, such as one that its user has unmounted
// lazily: nothing says whose it is.
const detached = "its file system was unmounted, and may be a user's own (FUSE)"

// withRoots adds what root answers for in any case: in a chroot, no table has the mount
// that the root directory lies on.
func (o *observer) withRoots(tree mountfd.Tree) mountfd.Tree {
	for _, root := range [...]*os.File{o.view.Caller.Root, o.view.Host.Root} {
		if info, err := mountfd.Peek(root); err == nil {
			tree.Known = append(tree.Known, info.Device)
		}
	}
	return tree
}

// start is where a session starts: where the login process is, or where the plan moves
// it to.
type start struct {
	path  string
	moved bool // another directory than the login process's, so it only has to be there
}

func (o *observer) start(p plan.Plan) start {
	switch {
	case p.Chdir != "":
		return start{p.Chdir, true}
	case o.cwdFacts.Path == "":
		return start{"/", true}
	}
	return start{o.cwdFacts.Path, false}
}

// isRoot says that the session starts where a namespace begins anyway.
func (s start) isRoot() bool { return s.path == "/" }

// open opens the start of a session in a tree; nil where the tree has no such directory,
// or another one at that path.
func (o *observer) open(tree mountfd.Tree, s start) *os.File {
	place, err := tree.Open(s.path)
	if err != nil {
		return nil
	}
	info, err := mountfd.Peek(place)
	if err != nil || !info.IsDir() || !s.moved && !o.isCwd(info.ID) {
		place.Close()
		return nil
	}
	return place
}

func (o *observer) isCwd(id mountfd.ID) bool {
	info, err := mountfd.Peek(o.cwd)
	return err == nil && info.ID == id
}

// inside is the tree of a namespace of the user's: what is known of the host's targets
// helps to tell their mounts from a user's own.
func (o *observer) inside(root *os.File) mountfd.Tree {
	tree := mountfd.Tree{Root: root, Table: o.view.Host.Table}
	for _, pl := range o.places {
		if pl.host.Dir != nil {
			tree.Known = append(tree.Known, pl.host.Info.Device)
		}
	}
	return tree
}
