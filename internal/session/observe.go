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
}

// observer looks, and changes nothing that anybody else can see.
type observer struct {
	view   *view.View
	store  *instance.Store
	uid    uint32
	places map[string]*place
	keep   func(io.Closer) // what is opened here is used until the answer has gone
}

// observe looks at every target of a policy, also at those that are not for
// this user: the login process may come from a session that has them.
func (o *observer) observe(p policy.Policy) {
	for _, private := range p.Private {
		pl := o.look(private.Target, private.Base)
		if pl.facts.Err == nil {
			pl.look(private.Share, o.keep)
		}
	}
	for _, bind := range p.Bind {
		pl := o.places[bind.Target]
		if pl == nil {
			pl = o.look(bind.Target, "")
		}
		pl.addSource(o.view.Host, bind.Source, o.keep)
	}
}

func (o *observer) look(target, base string) *place {
	pl := &place{sources: map[string]*os.File{}}
	pl.facts.Sources = map[string]plan.Source{}
	o.places[target] = pl
	pl.facts.Err = o.lookAt(pl, target, base)
	if pl.host.Dir != nil {
		o.keep(pl.host.Dir)
	}
	return pl
}

func (o *observer) lookAt(pl *place, target, base string) error {
	caller, err := mountfd.Open(o.view.Caller, target)
	if err != nil {
		return missing(target, err)
	}
	defer caller.Close()
	if pl.caller, err = mountfd.Stat(caller); err != nil {
		return err
	}
	if err := pl.lookAtHost(o.view.Host, target); err != nil {
		return missing(target, err)
	}
	if !o.view.OfInit && pl.caller.MountRoot {
		if err := o.uncover(pl, target, base); err != nil {
			return err
		}
	}
	pl.facts.Directory = pl.host.Info.IsDir()
	pl.facts.MountPoint = pl.host.Info.MountRoot && pl.caller.MountRoot
	pl.facts.Caller = o.occupant(pl, base)
	return nil
}

func (pl *place) lookAtHost(root *os.File, target string) (err error) {
	pl.host, err = instance.OpenTarget(root, target)
	return err
}

// uncover finds out whether the caller, whose view is the only one to be had,
// has an instance at target; the host's view is then what lies below it.
func (o *observer) uncover(pl *place, target, base string) error {
	if _, visible := o.store.OwnerOf(pl.host, base, pl.caller.ID); visible || !o.store.HasBase(target) {
		return nil
	}
	// The base itself is in sight: this is the host's, which nothing covers.
	if o.store.SeesBase(pl.host, base) {
		return nil
	}
	before := pl.host
	undo, err := o.view.Uncover(target)
	if err != nil {
		return err
	}
	if err := pl.lookAtHost(o.view.Host, target); err != nil {
		return err
	}
	if _, ours := o.store.OwnerOf(pl.host, base, pl.caller.ID); ours {
		return nil
	}
	pl.host = before
	return undo()
}

func (o *observer) occupant(pl *place, base string) plan.Occupant {
	if !pl.caller.MountRoot || pl.caller.ID == pl.host.Info.ID {
		return plan.Host
	}
	uid, ours := o.store.OwnerOf(pl.host, base, pl.caller.ID)
	switch {
	case !ours:
		return plan.Host
	case uid == o.uid:
		return plan.Own
	}
	return plan.Others
}

func missing(target string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s; make it, or take it out of the configuration", target)
	}
	return err
}

// look finds out what the host has under the names that an instance shares.
func (pl *place) look(names []string, keep func(io.Closer)) {
	pl.facts.Shares = map[string]plan.Share{}
	pl.shares = map[string]*os.File{}
	for _, name := range names {
		file, err := mountfd.Open(pl.host.Dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		share := plan.Share{Exists: true}
		if err != nil {
			share.Refused = err.Error()
		} else {
			keep(file)
			pl.shares[name] = file
			share.Directory, share.Refused = judge(file)
		}
		pl.facts.Shares[name] = share
	}
}

// judge refuses what a user may have put where a service's sockets belong.
func judge(file *os.File) (directory bool, refused string) {
	info, err := mountfd.Stat(file)
	switch {
	case err != nil:
		return false, err.Error()
	case info.UID >= systemUID:
		return false, fmt.Sprintf("it belongs to uid %d, not to root or a service", info.UID)
	case info.Type != unix.S_IFDIR && info.Type != unix.S_IFSOCK && info.Type != unix.S_IFREG:
		return false, "it is neither a directory nor a socket nor a file"
	}
	return info.IsDir(), ""
}

func (pl *place) addSource(host *os.File, source string, keep func(io.Closer)) {
	file, err := mountfd.Open(host, source)
	facts := plan.Source{Err: err}
	if err == nil {
		keep(file)
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
	return o.places[inside].shares[relative(inside, full)]
}

func relative(inside, full string) string {
	return strings.TrimPrefix(path.Clean(full), inside+"/")
}
