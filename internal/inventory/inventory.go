// Package inventory lists the sessions that are open, the instances of their users,
// and where they are on the host.
//
// [Take] is root's: it reads the records in /run/gotmpns and compares them with
// the mount tables of the processes that they name. [Own] is everybody's: it has
// nothing but one's own processes to go by. Both only look.
package inventory

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/instance"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/mounts"
	"gotmpns/internal/policy"
	"gotmpns/internal/proc"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
)

// Inventory is what there is.
type Inventory struct {
	Sessions  []Session  // the oldest first
	Instances []Instance // by target, then as they are found
	Ended     int        // records of sessions whose process has gone
	Strays    []string   // directories that look like a base, and are none that is recorded
	Partial   bool       // only what the caller's own processes show
	host      mounts.Table
	records   *state.Dir // of Take only
}

// Session is an open session.
type Session struct {
	Name      string // of its record; empty: its record cannot be read
	User      string
	UID       uint32
	Service   string // of PAM; empty: not known
	TTY       string
	RHost     string
	PID       int // of the login process, or the caller's own first process in it
	Since     time.Time
	Namespace uint64 // that the login process is in, as in /proc/PID/ns/mnt; 0: not to be found out
	Why       string // why it has a namespace of its own; empty: it is the user's first, or joined one
	Places    []Place
	Proc      string       // the directory in /proc of a thread that is in the session's namespace; empty: none is
	table     mounts.Table // of [Own] only: it would be large for thousands of sessions
	start     string       // of the process PID
}

// Place is a target in a session.
type Place struct {
	Target string
	Kind   Kind
	Host   string // its path on the host; empty: no path of the host leads there
	Reach  string // a path by which root reaches it from the host
	device string // of a tmpfs that [Take] has found
}

// Kind says what a session has at a target.
type Kind string

// The kinds. Directory and Tmpfs are as in package policy.
const (
	Directory Kind = "directory"
	Tmpfs     Kind = "tmpfs"
	Bind      Kind = "bind"
	Gone      Kind = "gone"    // the session has nothing mounted there any more
	Removed   Kind = "removed" // its directory has been removed on the host
	Unknown   Kind = "unknown" // the login process itself is no longer in a namespace of the host's making
)

// Instance is a user's own directory or tmpfs for a target.
type Instance struct {
	User    string // whom it was made for; empty: not known
	UID     uint32
	Session string // not empty: for one session alone
	Target  string
	Kind    Kind
	Aside   bool   // set aside: of somebody who had the uid before
	Host    string // its path on the host; of a tmpfs, by way of a process
	Usage   instance.Usage
}

// Want says how much of an inventory is needed. The zero value has every user, and does
// not look into their directories.
type Want struct {
	UID   *uint32 // of one user alone; nil: of all
	Usage bool    // what is in the instances is added up, which reads them
}

func (w Want) wants(uid uint32) bool { return w.UID == nil || *w.UID == uid }

// Take makes the inventory of the whole machine, as root, from the view of the
// host. It binds the calling goroutine to its thread and moves that into the
// namespace of pid 1 (see [view.Enter]).
func Take(p policy.Policy, want Want) (Inventory, error) {
	v, err := view.Enter(os.Getpid())
	if err != nil {
		return Inventory{}, err
	}
	records, err := state.Look(v.Host.Root)
	if err != nil {
		return Inventory{}, err
	}
	t := taker{
		view: v, store: instance.NewStore(v, records), want: want,
		seen: map[string]bool{}, directory: map[string]bool{},
		Inventory: Inventory{records: records},
	}
	if t.host, err = mounts.Read("/proc/thread-self"); err != nil {
		return Inventory{}, err
	}
	t.instances(p)
	t.sessions()
	return t.Inventory, nil
}

type taker struct {
	view  *view.View
	store *instance.Store
	want  Want
	seen  map[string]bool // devices of tmpfs that are listed
	// directory has the paths of the instances that are directories.
	directory map[string]bool
	known     sync.Map // of a Place by where
	Inventory
}

// where is a target in a namespace. Its number is no other's during one inventory: all
// sessions that are looked at were there when it began.
type where struct {
	namespace uint64
	target    string
}

// instances looks at the targets of the configuration, and at those which an
// earlier one has left a base for.
func (t *taker) instances(p policy.Policy) {
	bases := t.records.Bases()
	type place struct{ target, base string }
	listed := map[place]bool{} // several tables can have one place
	for _, private := range p.Private {
		if at := (place{private.Target, private.Base}); !listed[at] {
			listed[at] = true
			t.directories(private.Target, private.Base)
		}
		if private.Base == "" {
			delete(bases, private.Target)
		}
	}
	for target := range bases {
		t.directories(target, "")
	}
}

func (t *taker) directories(path, base string) {
	target, ok := t.target(path)
	if !ok {
		return
	}
	if target.Dir != nil {
		t.strays(target)
	} else if base == "" {
		return
	}
	list, err := t.store.List(target, base, t.want.wants, t.want.Usage)
	if err != nil {
		return // no base to be looked into: "gotmpns check" says why
	}
	for _, l := range list {
		t.directory[l.Path] = true
		t.Instances = append(t.Instances, Instance{
			User: l.User, UID: l.UID, Session: l.Session, Target: path, Kind: Directory,
			Aside: l.Aside, Host: l.Path, Usage: l.Usage,
		})
	}
}

// strays finds bases that no record leads to, as the clean-up does.
func (t *taker) strays(target instance.Target) {
	orphans, _ := t.store.Orphans(target)
	for _, o := range orphans {
		if time.Since(o.Made) >= instance.YoungBase && !slices.Contains(t.Strays, o.Path) {
			t.Strays = append(t.Strays, o.Path)
		}
	}
}

// tmpfs lists those of a session that no other session has been seen with.
func (t *taker) tmpfs(s Session) {
	for _, p := range s.Places {
		if p.Kind != Tmpfs || t.seen[p.device] {
			continue
		}
		t.seen[p.device] = true
		found := Instance{User: s.User, UID: s.UID, Target: p.Target, Kind: Tmpfs, Host: p.Reach}
		if !t.isShared(s.UID, p) {
			found.Session = s.Name
		}
		var st unix.Statfs_t
		if t.want.Usage && unix.Statfs(p.Reach, &st) == nil {
			found.Usage.Bytes = (st.Blocks - st.Bfree) * uint64(st.Bsize)
		}
		t.Instances = append(t.Instances, found)
	}
}

// isShared says whether a tmpfs is the one of all sessions of the user.
func (t *taker) isShared(uid uint32, p Place) bool {
	record, ok := t.records.Tmpfs(p.Target, uid)
	if !ok {
		return false
	}
	dir, err := os.Open(p.Reach)
	if err != nil {
		return false
	}
	defer dir.Close()
	return mountfd.Mark(dir) == record.Mark
}

// target opens a target. One that is another path for each user has no directory of its own:
// its instances are found by their base.
func (t *taker) target(path string) (instance.Target, bool) {
	if policy.IsVariable(path) {
		return instance.Target{Path: path}, true
	}
	target, err := instance.OpenTarget(t.view.Host, path)
	return target, err == nil
}

// sessions looks at several of them at once: what takes long is the kernel's printing of
// mount tables. All that it reads is in /proc, which [view.Enter] has checked from where
// the other threads are.
func (t *taker) sessions() {
	records, host := t.recorded(), namespaceOf("/proc/thread-self")
	found := make([]*Session, len(records))
	var taken atomic.Int64
	var readers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for i := taken.Add(1) - 1; i < int64(len(records)); i = taken.Add(1) - 1 {
				found[i] = t.session(records[i], host)
			}
		}()
	}
	readers.Wait()
	for _, s := range found {
		if s == nil {
			t.Ended++
			continue
		}
		t.Sessions = append(t.Sessions, *s)
		t.tmpfs(*s)
	}
}

// session looks at a session; nil: it has ended.
func (t *taker) session(r state.Recorded, host uint64) *Session {
	process, err := proc.OpenStarted(r.PID, r.Start)
	if err != nil {
		return nil
	}
	defer process.Close()
	s := Session{
		Name: r.Name, User: r.User, UID: r.UID, Service: r.Service, TTY: r.TTY, RHost: r.RHost,
		PID: r.PID, Since: r.Since, Why: r.Why, start: r.Start,
	}
	s.find(r, host)
	s.Places = t.places(s, r.Targets)
	if _, err := process.Identity("ns/mnt"); err != nil { // then the pid may be another's by now
		return nil
	}
	return &s
}

func (t *taker) recorded() []state.Recorded {
	if t.want.UID != nil {
		return t.records.Living(*t.want.UID)
	}
	return t.records.Sessions()
}

// find finds the thread of the login process that has the session's namespace:
// a host with threads may have opened the session in any of them. One that a user
// has made is not looked into: what it says is the user's word.
func (s *Session) find(r state.Recorded, host uint64) {
	// Mostly it is the main thread, which has the number of the process.
	tasks := "/proc/" + strconv.Itoa(s.PID) + "/task/"
	if s.isIn(tasks+strconv.Itoa(s.PID), r, host) {
		return
	}
	entries, err := os.ReadDir(tasks)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if s.isIn(tasks+entry.Name(), r, host) {
			return
		}
	}
}

// isIn says whether a thread has the namespace of the session, and notes it.
func (s *Session) isIn(thread string, r state.Recorded, host uint64) bool {
	ns, err := proc.OpenNamespace(thread + "/ns/mnt")
	if err != nil {
		return false
	}
	defer ns.Close()
	id, err := proc.IdentityOf(ns)
	if err != nil || id.Inode == host || !proc.OwnedByUs(ns) {
		return false
	}
	s.Namespace = id.Inode
	if !isSessions(r, id.Inode) {
		return false
	}
	s.Proc = thread
	return true
}

// isSessions says whether a namespace that the login process is in is that of its session.
// A process that was stopped before it entered that is where it comes from, which may be
// another user's session; a service may have a sandbox. Records of version 0.1 name
// none, and those that are not filled have no targets.
func isSessions(r state.Recorded, namespace uint64) bool {
	return r.Namespace == namespace || r.Namespace == 0 && len(r.Targets) > 0
}

// places looks up the targets of a session. Sessions that share a namespace have the same
// at a target: their table is read once.
func (t *taker) places(s Session, targets []string) []Place {
	var places []Place
	var table mounts.Table
	for _, target := range targets {
		at := where{s.Namespace, target}
		known, isKnown := t.known.Load(at)
		switch {
		case s.Proc == "":
			places = append(places, Place{Target: target, Kind: Unknown})
			continue
		case isKnown:
			places = append(places, known.(Place))
			continue
		case table == nil:
			table, _ = mounts.ReadAlong(s.Proc, targets...)
		}
		p := t.place(s.Proc, table, target)
		t.known.Store(at, p)
		places = append(places, p)
	}
	return places
}

func (t *taker) place(thread string, table mounts.Table, target string) Place {
	m := table.At(target)
	if m == nil || m.Mountpoint != target {
		return Place{Target: target, Kind: Gone}
	}
	p := Place{Target: target, Kind: Bind, Reach: thread + "/root" + target}
	if mounts.IsRemoved(m) {
		p.Kind = Removed
		return p
	}
	if host, ok := table.Same(target, t.host); ok {
		p.Host, p.Reach = host, host
	}
	switch {
	case m.FSType == "tmpfs" && m.Source == instance.TmpfsSource && m.Root == "/":
		p.Kind, p.device = Tmpfs, fmt.Sprintf("%d:%d", m.Major, m.Minor)
	case t.directory[p.Host]:
		p.Kind = Directory
	}
	return p
}

// namespaceOf returns the number of a process's mount namespace, and 0 where
// that is not available.
func namespaceOf(proc string) uint64 {
	var st unix.Stat_t
	if unix.Stat(proc+"/ns/mnt", &st) != nil {
		return 0
	}
	return st.Ino
}
