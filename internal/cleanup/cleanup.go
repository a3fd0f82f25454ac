// Package cleanup removes directories that nobody uses any more: the instances of
// users who have logged out, for targets with cleanup = "logout"; instances that were
// left half made; and, where an administrator asks for it, the other kinds of [Kind].
//
// Nothing is removed while somebody uses it: a session of the user, by the records in
// /run/gotmpns/sessions, or any process, by whatever namespace or root directory (package
// usage); a detached tmux keeps it. A login may come at any moment, and never waits:
//
//	a login     writes its record, then looks for its instance
//	a clean-up  looks who uses it     without a lock: this may take long
//	            renames the instance  under the lock of its user, for a moment
//	            reads the records     and gives it back if there is one
//	            looks who uses it     without a lock, and gives it back if somebody does
//	            removes it
//
// So either the login finds a new instance, or the clean-up finds the record. The
// broker and "gotmpns clean" may clean up at the same time.
package cleanup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/instance"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/internal/usage"
	"gotmpns/internal/view"
)

// Kind is a kind of what can be removed.
type Kind int

const (
	// AtLogout: instances of targets with cleanup = "logout" whose users have no session.
	AtLogout Kind = iota
	// Unfinished: instances that a login has left half made, and the rest of removals.
	Unfinished
	// Unused: instances of any target whose users have no session.
	Unused
	// Aside: the files of users who had a uid before its owner of today.
	Aside
	// UnknownUser: instances of uids that the name service does not know.
	UnknownUser
	// OrphanedBase: bases that no record leads to, with everything in them.
	OrphanedBase
	// OldBase: those of them that were made before the host was booted.
	OldBase
)

// Always are the kinds that are removed without being asked for.
var Always = []Kind{AtLogout, Unfinished, OldBase}

// halfMadeAfter is when an instance that is being made counts as left half made.
const halfMadeAfter = time.Hour

// Due is a directory that can be removed.
type Due struct {
	Kind   Kind
	Target string
	Path   string // on the host
	UID    uint32 // [instance.NoUID] where it is not known
	place  instance.Target
	base   *instance.Base // nil: the directory is one itself
	entry  instance.Entry
	orphan string // its name below the target
	fresh  bool   // retired by this pass: it may be given back
}

// Options says where the clean-up looks and what it takes for used.
type Options struct {
	View    *view.View
	Records *state.Dir
	Policy  policy.Policy
	// Finder is one that the caller keeps for several passes; it may be nil.
	Finder *usage.Finder
	// Known are the namespaces of sessions that the caller holds open; it may be nil.
	Known usage.Known
	// Exists says whether the name service knows a uid; it is needed for UnknownUser.
	Exists func(uid uint32) (bool, error)
	// Wait is how long to wait for another clean-up at most.
	Wait time.Duration
	// SecondTimeout is how long the directories of one user may take after that; 0 leaves what
	// there is of them to another pass.
	SecondTimeout time.Duration
	// Stop ends a pass early, without an error: the rest is due another time. It is
	// asked again and again, on several goroutines; nil means never.
	Stop func() bool
}

// Cleaner makes one pass or several, on the thread that has the view. It holds open
// what it has found last, until it looks again; the caller closes it.
type Cleaner struct {
	Options
	store  *instance.Store
	own    *usage.Finder // nil: the caller's
	opened []interface{ Close() }
	kept   []uint32
	left   []Due         // what took too long
	spent  time.Duration // on the removal itself
	booted func() time.Time
	young  time.Duration // for a base
}

// New makes a cleaner, where all that may use a directory can be seen.
func New(o Options) (*Cleaner, error) {
	if err := o.Records.SeesProcesses(); err != nil {
		return nil, err
	}
	c := &Cleaner{store: instance.NewStore(o.View, o.Records), booted: bootTime, young: instance.YoungBase}
	if o.Finder == nil {
		var err error
		if o.Finder, err = usage.New(); err != nil {
			return nil, err
		}
		c.own = o.Finder
	}
	if o.Known == nil {
		o.Known = usage.Nobodys
	}
	if o.Stop == nil {
		o.Stop = never
	}
	c.Options = o
	return c, nil
}

// never is a stop for callers that have time.
func never() bool { return false }

// Close ends the use of the cleaner, and of what it has found.
func (c *Cleaner) Close() {
	c.release()
	if c.own != nil {
		c.own.Close()
	}
}

// release closes what was found, and lets another clean-up at it.
func (c *Cleaner) release() {
	for _, o := range c.opened {
		o.Close()
	}
	c.opened = nil
}

// Wanted says whether the sessions' end makes anything due by a policy.
func Wanted(p policy.Policy) bool {
	for _, private := range p.Private {
		if atLogout(private) {
			return true
		}
	}
	return false
}

func atLogout(p policy.Private) bool {
	return p.Kind == policy.Directory && p.Cleanup == policy.AtLogout
}

// Find returns what is due and not used now, of some kinds.
func (c *Cleaner) Find(kinds ...Kind) ([]Due, error) {
	return c.find(kinds, func(base *instance.Base, _ policy.Private) ([]instance.Entry, error) { return base.Entries() })
}

// FindUsers returns what the end of a session of each of these users has made due. It
// opens nothing of other users.
func (c *Cleaner) FindUsers(users map[uint32]bool) ([]Due, error) {
	return c.find([]Kind{AtLogout}, func(base *instance.Base, private policy.Private) ([]instance.Entry, error) {
		if private.Scope == policy.Session {
			return base.OfSessions(users)
		}
		if private.By != policy.ByUser && private.By != "" {
			return base.OfContexts(users)
		}
		return base.OfUsers(users), nil
	})
}

type lister func(*instance.Base, policy.Private) ([]instance.Entry, error)

func (c *Cleaner) find(kinds []Kind, list lister) ([]Due, error) {
	c.release()
	c.kept = nil
	var found []Due
	var errs error
	for _, private := range c.tables() {
		if private.Kind != policy.Directory || policy.IsVariable(private.Base) || !atLogout(private) && slices.Equal(kinds, []Kind{AtLogout}) {
			continue
		}
		some, err := c.findIn(private, kinds, list)
		errs = errors.Join(errs, err)
		for _, d := range some {
			if !c.hasSession(d) {
				found = append(found, d)
			}
		}
	}
	// The rest of an earlier removal may take long: it comes last.
	slices.SortStableFunc(found, func(a, b Due) int { return cmp.Compare(rest(a), rest(b)) })
	unused, err := c.unused(found)
	return unused, errors.Join(errs, unlessStopped(err))
}

// tables are those of the configuration, and one for each target that it no longer has and
// that has had a base.
func (c *Cleaner) tables() []policy.Private {
	tables := slices.Clone(c.Policy.Private)
	for _, target := range c.Records.Targets() {
		if !c.isConfigured(target) {
			tables = append(tables, policy.Private{Target: target, Kind: policy.Directory, Scope: policy.User, Cleanup: policy.AtBoot})
		}
	}
	return tables
}

func (c *Cleaner) isConfigured(target string) bool {
	return slices.ContainsFunc(c.Policy.Private, func(p policy.Private) bool { return p.Target == target })
}

func rest(d Due) int {
	if d.entry.Kind == instance.Retired {
		return 1
	}
	return 0
}

func (c *Cleaner) findIn(private policy.Private, kinds []Kind, list lister) ([]Due, error) {
	place, err := c.openTarget(private)
	if errors.Is(err, fs.ErrNotExist) && (private.Create != nil || !c.isConfigured(private.Target)) {
		return nil, nil // with a directory that was removed, its base has gone
	}
	if err != nil {
		return nil, err
	}
	found, orphaned := c.orphans(place, private, kinds)
	base, err := c.store.OpenBase(place, private.Base)
	if err != nil || base == nil {
		return found, errors.Join(orphaned, err)
	}
	c.opened = append(c.opened, base)
	if err := base.Lock(c.Wait); err != nil {
		return found, errors.Join(orphaned, err)
	}
	entries, err := list(base, private)
	all := []error{orphaned, err}
	for _, e := range entries {
		kind, err := c.kindOf(base, e, private, kinds)
		all = append(all, err)
		if kind != none {
			found = append(found, Due{Kind: kind, Target: private.Target, Path: e.Path, UID: e.UID,
				place: place, base: base, entry: e})
		}
	}
	return found, errors.Join(all...)
}

// openTarget opens a target, unless that is another one for each user: its instances are
// in a base of their own.
func (c *Cleaner) openTarget(private policy.Private) (instance.Target, error) {
	if policy.IsVariable(private.Target) {
		return instance.Target{Path: private.Target}, nil
	}
	place, err := instance.OpenTarget(c.View.Host, private.Target)
	if err == nil {
		c.opened = append(c.opened, closing{place.Dir})
	}
	return place, err
}

// none is the kind of an entry that is not asked for.
const none Kind = -1

type closing struct{ file *os.File }

func (c closing) Close() { _ = c.file.Close() }

func (c *Cleaner) kindOf(base *instance.Base, e instance.Entry, private policy.Private, kinds []Kind) (Kind, error) {
	for _, kind := range kinds {
		is, err := c.is(kind, base, e, private)
		if is || err != nil {
			return kindIf(is, kind), err
		}
	}
	return none, nil
}

func kindIf(is bool, kind Kind) Kind {
	if is {
		return kind
	}
	return none
}

func (c *Cleaner) is(kind Kind, base *instance.Base, e instance.Entry, private policy.Private) (bool, error) {
	switch kind {
	case AtLogout:
		return e.Kind == instance.InUse && atLogout(private) && isLeft(base, e), nil
	case Unused:
		return e.Kind == instance.InUse && isLeft(base, e), nil
	case Unfinished:
		return e.Kind == instance.Retired || e.Kind == instance.Unfinished && base.Age(e) > halfMadeAfter, nil
	case Aside:
		return e.Kind == instance.Aside, nil
	case UnknownUser:
		return c.isUnknown(e)
	}
	return false, nil
}

// isLeft says whether an instance has anything to be removed: an empty one is as good
// as a new one for the next login of its user, but one of a single session has no
// next login.
func isLeft(base *instance.Base, e instance.Entry) bool {
	return e.Session != "" || !base.IsEmpty(e)
}

func (c *Cleaner) isUnknown(e instance.Entry) (bool, error) {
	if e.Kind != instance.InUse {
		return false, nil
	}
	if c.Exists == nil {
		return false, errors.New("cannot look for instances of unknown users: there is no name service to ask")
	}
	known, err := c.Exists(e.UID)
	return !known && err == nil, err
}

// orphans finds bases. Where an administrator has named the base, there is but one.
func (c *Cleaner) orphans(place instance.Target, private policy.Private, kinds []Kind) (found []Due, err error) {
	all, old := slices.Contains(kinds, OrphanedBase), slices.Contains(kinds, OldBase)
	if private.Base != "" || !all && !old {
		return nil, nil
	}
	orphans, err := c.store.Orphans(place)
	if err != nil {
		return nil, err
	}
	booted := c.booted()
	for _, o := range orphans {
		if time.Since(o.Made) < c.young {
			continue // a login may be about to record it
		}
		kind := OrphanedBase
		if o.Made.Before(booted) {
			kind = OldBase
		}
		if kind == OldBase || all {
			found = append(found, Due{Kind: kind, Target: private.Target, Path: o.Path, UID: instance.NoUID,
				place: place, orphan: o.Name})
		}
	}
	return found, nil
}

// bootTime is the zero value where it cannot be found out.
func bootTime() time.Time {
	var since unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &since) != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(since.Nano()))
}

// hasSession says whether a session of an instance's user is open, or that session
// whose alone the instance is.
func (c *Cleaner) hasSession(d Due) bool {
	if d.base == nil || d.entry.Kind != instance.InUse {
		return false
	}
	for _, session := range c.Records.Living(d.UID) {
		if d.entry.Session == "" || fileOf(session.Name) == d.entry.Session {
			return true
		}
	}
	return false
}

// fileOf is the last part of a record's name: the name of an instance has no slash.
func fileOf(record string) string { return record[strings.LastIndexByte(record, '/')+1:] }

// unused leaves out what some process uses.
func (c *Cleaner) unused(due []Due) ([]Due, error) {
	used, err := c.uses(due)
	if err != nil {
		used = slices.Repeat([]bool{true}, len(due)) // as far as anybody knows
	}
	var unused []Due
	for i, d := range due {
		if !used[i] {
			unused = append(unused, d)
		} else if d.UID != instance.NoUID {
			c.kept = append(c.kept, d.UID)
		}
	}
	return unused, err
}

// Kept are the users of what [Cleaner.Find] or [Cleaner.FindUsers] has left out because a
// process uses it, though no session does: nobody reports when that process ends.
func (c *Cleaner) Kept() []uint32 { return c.kept }

// treesAtOnce bounds how many directories are open for one search.
const treesAtOnce = 500

// An unknown user is the same number in both packages, or this does not compile.
var _ = [1]struct{}{}[usage.NoUID-instance.NoUID]

// uses says which of these some process uses. One that cannot be opened is used, as
// far as anybody knows.
func (c *Cleaner) uses(due []Due) ([]bool, error) {
	used := make([]bool, 0, len(due))
	for some := range slices.Chunk(due, treesAtOnce) {
		these, err := c.usesSome(some)
		if err != nil {
			return nil, err
		}
		used = append(used, these...)
	}
	return used, nil
}

func (c *Cleaner) usesSome(due []Due) ([]bool, error) {
	used := make([]bool, len(due))
	var trees []usage.Tree
	var which []int
	for i, d := range due {
		dir, err := d.open()
		if err != nil {
			used[i] = true
			continue
		}
		defer dir.Close()
		trees, which = append(trees, usage.Tree{Dir: dir, UID: d.UID}), append(which, i)
	}
	found, err := c.Finder.Uses(trees, c.Known, c.Stop)
	for i, use := range found {
		used[which[i]] = use.Any()
	}
	return used, err
}

func (d Due) open() (*os.File, error) {
	if d.base != nil {
		return d.base.Open(d.entry)
	}
	fd, err := unix.Openat(int(d.place.Dir.Fd()), d.orphan, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", d.Path, err)
	}
	return os.NewFile(uintptr(fd), d.Path), nil
}
