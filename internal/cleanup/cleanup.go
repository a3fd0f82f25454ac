// Package cleanup empties the instances of those who have logged out, for
// targets with cleanup = "logout".
//
// An instance is due when its user has no session with a living login process,
// and no process at all has it mounted: a detached tmux keeps it. Whatever is due
// is first taken out of use, while nobody can be given it, and then removed at
// leisure under another name; a login that comes in between gets a fresh one.
//
// The broker does this when a session ends, a worker within a moment as it passes,
// and "gotmpns clean" when it is told to. They may do it at the same time.
package cleanup

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"gotmpns/internal/instance"
	"gotmpns/internal/mounts"
	"gotmpns/internal/policy"
	"gotmpns/internal/proc"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
)

// Due is an instance that can be emptied.
type Due struct {
	Target string
	instance.Idle
	private policy.Private
	place   instance.Target
}

// Cleaner looks for what is due, on the thread that has the view.
type Cleaner struct {
	view    *view.View
	records *state.Dir
	store   *instance.Store
	policy  policy.Policy
}

// New makes a cleaner for one pass or several.
func New(v *view.View, records *state.Dir, p policy.Policy) *Cleaner {
	return &Cleaner{view: v, records: records, store: instance.NewStore(v, records), policy: p}
}

// Wanted says whether a policy has anything to be cleaned up at all.
func Wanted(p policy.Policy) bool {
	for _, private := range p.Private {
		if isFor(private) {
			return true
		}
	}
	return false
}

func isFor(p policy.Private) bool {
	return p.Kind == policy.Directory && p.Cleanup == policy.AtLogout
}

// Find returns what is due. The targets' places in it are open until [Close].
func (c *Cleaner) Find() ([]Due, error) {
	var found []Due
	var errs error
	living := c.living()
	for _, private := range c.policy.Private {
		if !isFor(private) {
			continue
		}
		idle, err := c.findIn(private, living)
		errs = errors.Join(errs, err)
		found = append(found, idle...)
	}
	return c.unmounted(found), errs
}

func (c *Cleaner) findIn(private policy.Private, living living) ([]Due, error) {
	place, err := instance.OpenTarget(c.view.Host, private.Target)
	if err != nil {
		return nil, err
	}
	all, err := c.store.NotEmpty(place, private.Base)
	var found []Due
	for _, idle := range all {
		if idle.Gone() || !living.has(idle.Owner) {
			found = append(found, Due{private.Target, idle, private, place})
		}
	}
	if found == nil {
		place.Dir.Close()
	}
	return found, err
}

// Close closes the places of what [Cleaner.Find] has found.
func Close(due []Due) {
	for _, d := range due {
		_ = d.place.Dir.Close() // several may have the same
	}
}

// Empty removes one instance, unless somebody has come to use it since; done says
// whether it was. stop may end it early, which is no error: the rest is due another
// time.
func (c *Cleaner) Empty(d Due, stop func() bool) (done bool, err error) {
	base, name, err := c.store.Retire(d.place, d.private.Base, d.Idle, func() bool {
		return !c.living().has(d.Owner) && len(c.unmounted([]Due{d})) == 1
	})
	if name == "" {
		return false, err
	}
	defer base.Close()
	err = removeTree(base, name, stop)
	if errors.Is(err, errStopped) {
		return false, nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", base.Name(), err)
	}
	return err == nil, err
}

// living is who has a session, and the sessions.
type living struct {
	users    map[uint32]bool
	sessions map[string]bool
}

func (l living) has(owner instance.Owner) bool {
	if owner.Session != "" {
		return l.sessions[owner.Session]
	}
	return l.users[owner.UID]
}

func (c *Cleaner) living() living {
	l := living{users: map[uint32]bool{}, sessions: map[string]bool{}}
	for _, session := range c.records.Sessions() {
		if session.Lives() {
			l.users[session.UID] = true
			l.sessions[session.Name] = true
		}
	}
	return l
}

// unmounted leaves out what some process has mounted, in whatever mount namespace
// and wherever there. When in doubt, it is mounted.
func (c *Cleaner) unmounted(due []Due) []Due {
	if len(due) == 0 {
		return nil
	}
	host, err := mounts.Read("/proc/1")
	if err != nil {
		return nil
	}
	seen := map[uint64]bool{}
	pids, err := proc.All()
	if err != nil {
		return nil
	}
	for _, pid := range pids {
		proc := "/proc/" + strconv.Itoa(pid)
		var st unix.Stat_t
		if unix.Stat(proc+"/ns/mnt", &st) != nil || seen[st.Ino] {
			continue
		}
		table, err := mounts.Read(proc)
		if err != nil || len(table) == 0 {
			continue // it has ended; another may have the same namespace
		}
		seen[st.Ino] = true
		due = notIn(due, host, table)
	}
	return due
}

// notIn leaves out what a table of mounts shows.
func notIn(due []Due, host, table mounts.Table) []Due {
	var kept []Due
	for _, d := range due {
		if d.Gone() || !host.Shows(d.Path, table) {
			kept = append(kept, d)
		}
	}
	return kept
}

// Never is the stop of one who has time.
func Never() bool { return false }
