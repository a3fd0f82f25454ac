package session

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/instance"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/plan"
	"gotmpns/internal/policy"
	"gotmpns/internal/selinux"
	"gotmpns/internal/view"
)

// systemUID is where users begin: what root or a system service has put into
// a shared place is believed, what a user has put there is not.
const systemUID = 1000

// place is a target with the files that were looked at: what is attached later
// is what was judged, not what has its name by then.
type place struct {
	facts   plan.Place
	host    instance.Target
	caller  mountfd.Info
	shares  map[string]*os.File
	sources map[string]*os.File
	label   string // SELinux label of the instance; empty: the target's
	// What a skeleton's copies in the instance are labelled as; empty: the policy's.
	labelInside string
}

// observer looks, and changes nothing that anybody else can see.
type observer struct {
	view     *view.View
	store    *instance.Store
	uid      uint32
	movable  bool // whether others than root can move a target is asked
	selinux  selinux.FS
	places   map[string]*place
	cwd      *os.File        // of the login process, as a place; nil: not known
	strayed  map[uint32]bool // other users whose instances the caller has
	keep     func(io.Closer) // what is opened here is used until the answer has gone
	cwdFacts plan.Cwd
}

// gather returns all that the plan depends on, and reduces the policy to what is for this
// login.
func (l *login) gather() (plan.Facts, error) {
	if err := l.observe(); err != nil {
		return plan.Facts{}, err
	}
	// Where it is not known, later mounts might be missed.
	shared, _ := l.view.Host.IsShared(l.view.Host.Root)
	return plan.Facts{
		Subject:    l.subject,
		Unknown:    l.unknown,
		Places:     l.observer.facts(),
		Origin:     l.origin(),
		HostShared: shared,
		Joinable:   l.findJoinable(),
		Holds:      l.holds(),
		Cwd:        l.observer.cwdFacts,
		PAMEnv:     variables(l.request.PAMEnv),
		ProcessEnv: variables(l.request.ProcessEnv),
	}, nil
}

// observe looks at the targets of this login, and at where the login process is.
func (l *login) observe() (err error) {
	if l.policy, err = l.config.Select(l.subject, l.request.Home); err != nil {
		return err
	}
	if l.answer.store == nil {
		l.answer.store = instance.NewStore(l.view, l.answer.state)
		l.answer.store.Confined = l.host.Confined
	}
	l.observer = observer{
		view: l.view, store: l.answer.store, uid: l.request.UID, selinux: selinux.Host(),
		movable: l.policy.MountPoints == policy.MakeMountPoints,
		places:  map[string]*place{}, strayed: map[uint32]bool{}, keep: l.answer.keep,
	}
	o := &l.observer
	o.observe(l.policy)
	o.observeOthers(l.config)
	o.lookAtCwd()
	return nil
}

// observe looks at the targets of a policy that is for this login.
func (o *observer) observe(p policy.Policy) {
	for _, private := range p.Private {
		pl := o.look(private.Target, private.Base)
		switch {
		case pl.facts.Err == nil:
			o.lookAtShares(pl, private.Share)
		case pl.host.Dir == nil && private.Create != nil && errors.Is(pl.facts.Err, fs.ErrNotExist):
			o.lookAtMissing(pl, private.Target)
		}
		if pl.facts.Err == nil && !pl.facts.Missing {
			pl.facts.Err = o.lookAtContext(pl, private)
		}
		if pl.facts.Err == nil && !pl.facts.Missing && private.Skeleton != "" {
			pl.labelInside, pl.facts.Err = o.labelInside(pl)
		}
	}
	for _, bind := range p.Bind {
		o.addSource(o.look(bind.Target, ""), bind.Source)
	}
}

// lookAtContext finds out which instance a login in this context gets.
func (o *observer) lookAtContext(pl *place, private policy.Private) error {
	if private.By == policy.ByUser || private.By == "" {
		return nil
	}
	if !o.selinux.IsOn() {
		if private.RequireSELinux {
			return errors.New("SELinux is off, and the configuration has require_selinux = true")
		}
		pl.facts.Remark = fmt.Sprintf("%s is private by user, not by %s: SELinux is off", private.Target, private.By)
		return nil
	}
	label, err := instance.LabelOf(pl.host)
	if err != nil {
		return err
	}
	login := o.view.SELinuxContext()
	if label == "" || login == "" {
		return errors.New("it, or the login process, has no SELinux label")
	}
	by := o.selinux.ByContext
	if private.By == policy.ByLevel {
		by = o.selinux.ByLevel
	}
	found, err := by(login, label)
	pl.facts.At, pl.label = found.Key, found.Label
	return err
}

// labelInside returns what the user's own files in the instance are labelled as.
func (o *observer) labelInside(pl *place) (string, error) {
	label := pl.label
	if label == "" {
		var err error
		if label, err = instance.LabelOf(pl.host); err != nil {
			return "", err
		}
	}
	return o.labelCreated(label)
}

// labelIn returns the label of what the user's session creates in a directory.
func (o *observer) labelIn(parent *os.File) (string, error) {
	if o.view.SELinuxContextOfSession() == "" {
		return "", nil
	}
	label, err := instance.LabelOf(instance.Target{Dir: parent})
	if err != nil {
		return "", err
	}
	return o.labelCreated(label)
}

// labelCreated returns the label of what the user's session creates in a directory with
// the label parent. It is the parent's where the context of the session is not known yet:
// that of a login program is none of a user's.
func (o *observer) labelCreated(parent string) (string, error) {
	login := o.view.SELinuxContextOfSession()
	if parent == "" || login == "" || !o.selinux.IsOn() {
		return parent, nil
	}
	return o.selinux.Created(login, parent)
}

// observeOthers looks at the targets that are not for this user, which the session has
// that the login process comes from. What ~ and $USER are there is not known.
func (o *observer) observeOthers(p policy.Policy) {
	if o.view.InHost {
		return
	}
	for _, private := range p.Private {
		if !policy.IsVariable(private.Target) {
			o.look(private.Target, private.Base)
		}
	}
	for _, bind := range p.Bind {
		if !policy.IsVariable(bind.Target) {
			o.addSource(o.look(bind.Target, ""), bind.Source)
		}
	}
}

// look looks at a target once, however many tables have it.
func (o *observer) look(target, base string) *place {
	if pl := o.places[target]; pl != nil {
		return pl
	}
	pl := &place{sources: map[string]*os.File{}}
	pl.facts.Sources = map[string]plan.Source{}
	o.places[target] = pl
	pl.facts.Err = o.lookAt(pl, target, base)
	if pl.host.Dir != nil {
		o.keep(pl.host.Dir)
	}
	return pl
}

func (o *observer) lookAt(pl *place, target, base string) (err error) {
	if pl.host, err = instance.OpenTarget(o.view.Host, target); err != nil {
		return missing(target, err)
	}
	uid := pl.host.Info.UID
	pl.host.Foreign = uid != 0 && uid != o.uid && o.view.Host.CanBeReplaced(target)
	pl.caller = pl.host.Info
	if !o.view.InHost {
		if err := o.lookAtCaller(pl, target, base); err != nil {
			return err
		}
	}
	pl.facts.Directory = pl.host.Info.IsDir()
	pl.facts.MountPoint = pl.host.Info.MountRoot
	pl.facts.Movable = o.movable && o.view.Host.CanBeReplaced(target)
	if pl.facts.MountPoint {
		pl.facts.Carrier = target
	} else if pl.facts.Carrier, err = o.carrier(target); err != nil {
		return err
	}
	pl.facts.Flags, err = flagsOf(pl.host.Dir)
	return err
}

// lookAtMissing is for a target that is to be created: it will be like its parent.
func (o *observer) lookAtMissing(pl *place, target string) {
	parent, err := o.view.Host.Open(path.Dir(target))
	if err != nil {
		pl.facts.Err = missing(path.Dir(target), err)
		return
	}
	defer parent.Close()
	facts := plan.Place{Missing: true, Directory: true, Movable: o.movable && o.view.Host.CanBeReplaced(target), Sources: pl.facts.Sources}
	if facts.Carrier, facts.Err = o.carrier(target); facts.Err == nil {
		facts.Flags, facts.Err = flagsOf(parent)
	}
	pl.facts = facts
}

// lookAtCaller finds out what the login process has at the target.
func (o *observer) lookAtCaller(pl *place, target, base string) error {
	tree := o.view.Caller
	tree.Known = []uint64{pl.host.Info.Device}
	caller, err := tree.Open(target)
	if errors.Is(err, mountfd.ErrUsers) {
		pl.caller = mountfd.Info{} // whatever is there is none of ours
		return nil
	}
	if err != nil {
		return missing(target, err)
	}
	defer caller.Close()
	if pl.caller, err = mountfd.Peek(caller); err != nil {
		return err
	}
	if !pl.caller.MountRoot || o.view.OfInit && pl.caller.ID == pl.host.Info.ID {
		return nil
	}
	uid, ours := o.store.OwnerOf(tree, caller, pl.host, base)
	switch {
	case !ours:
		return nil
	case uid == o.uid && !pl.caller.Removed:
		pl.facts.Caller = plan.Own
	case uid == o.uid:
		pl.facts.Caller = plan.Others // nothing can be made in it: a new one takes its place
	default:
		pl.facts.Caller = plan.Others
		o.strayed[uid] = true
	}
	if o.view.OfInit {
		return nil
	}
	return o.uncover(pl, target)
}

// uncover is for a caller whose view is the only one available: the host's view of the
// target is then what lies below the instance.
func (o *observer) uncover(pl *place, target string) (err error) {
	if _, err := o.view.Uncover(target); err != nil {
		return err
	}
	pl.host.Dir.Close()
	pl.host, err = instance.OpenTarget(o.view.Host, target)
	return err
}

// carrier returns the mount point of the mount that the parent of a target lies on.
func (o *observer) carrier(target string) (string, error) {
	for at := path.Dir(target); at != "/"; at = path.Dir(at) {
		dir, err := o.view.Host.Open(at)
		if err != nil {
			return "", err
		}
		info, err := mountfd.Peek(dir)
		dir.Close()
		if err != nil || info.MountRoot {
			return at, err
		}
	}
	return "/", nil
}

// flagsOf names the restrictions of the mount that a target lies on.
func flagsOf(dir *os.File) (string, error) {
	flags, err := mountfd.Flags(dir)
	return strings.Join(mountfd.FlagNames(flags), ","), err
}

func missing(target string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &missingError{target}
	}
	return err
}

// missingError is [fs.ErrNotExist] for a target.
type missingError struct{ path string }

func (m *missingError) Error() string {
	return fmt.Sprintf("there is no %s; create it, or remove it from the configuration", m.path)
}

func (m *missingError) Is(err error) bool { return err == fs.ErrNotExist }

// lookAtShares finds out what the host has under the names that an instance shares.
func (o *observer) lookAtShares(pl *place, names []string) {
	pl.facts.Shares = map[string]plan.Share{}
	pl.shares = map[string]*os.File{}
	for _, name := range names {
		file, err := o.view.Host.OpenBelow(pl.host.Dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		share := plan.Share{Exists: true}
		if err != nil {
			share.Refused = err.Error()
		} else {
			o.keep(file)
			pl.shares[name] = file
			share.Directory, share.Refused = judge(file)
		}
		pl.facts.Shares[name] = share
	}
}

// judge refuses what a user may have put where a service's sockets belong. A socket
// itself is another one after the service has been restarted, its directory is not.
func judge(file *os.File) (directory bool, refused string) {
	info, err := mountfd.Stat(file)
	switch {
	case err != nil:
		return false, err.Error()
	case info.UID >= systemUID:
		return false, fmt.Sprintf("it belongs to uid %d, not to root or a service", info.UID)
	case info.Type == unix.S_IFSOCK:
		return false, "it is a socket, which a restart of its service replaces; share the directory that it is in"
	case info.Type != unix.S_IFDIR && info.Type != unix.S_IFREG:
		return false, "it is neither a directory nor a file"
	}
	return info.IsDir(), ""
}

func (o *observer) addSource(pl *place, source string) {
	if _, looked := pl.facts.Sources[source]; looked {
		return
	}
	file, err := o.view.Host.Open(source)
	facts := plan.Source{Err: err}
	if err == nil {
		o.keep(file)
		var info mountfd.Info
		info, facts.Err = mountfd.Stat(file)
		facts.Directory = info.IsDir()
		facts.InPlace = pl.facts.Err == nil && pl.caller.MountRoot && info.ID == pl.caller.ID &&
			pl.caller.ID != pl.host.Info.ID
	}
	pl.sources[source] = file
	pl.facts.Sources[source] = facts
}

func (o *observer) facts() map[string]plan.Place {
	facts := make(map[string]plan.Place, len(o.places))
	for target, pl := range o.places {
		facts[target] = pl.facts
	}
	return facts
}

// shareAt returns what the host has at the path of a share.
func (o *observer) shareAt(inside, full string) *os.File {
	return o.places[inside].shares[relativePath(inside, full)]
}

func relativePath(inside, full string) string {
	return strings.TrimPrefix(path.Clean(full), inside+"/")
}
