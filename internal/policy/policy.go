// Package policy holds what an administrator may ask for, as plain types.
//
// A Policy says who is left alone (Exempt) and, for everybody else, which
// targets a session gets privately: a Private is an instance of the user's own
// over its target, a Bind shows some other directory or file there. Rules say
// for whom: each looks at one property of the Subject who logs in. The zero
// values of the enumerations are not valid; Default shows a whole policy.
//
// Nothing here reads a file or asks the system. Where the words come from is
// the business of package config, what follows from them that of package plan.
package policy

import "slices"

// Policy is all that can be configured.
type Policy struct {
	Exempt      []Rule // these users get no private directories
	ExemptView  ExemptView
	Propagation Propagation
	MountPoints MountPoints
	Environment Environment
	Private     []Private
	Bind        []Bind
}

// Private is a target that everybody sees an instance of his own at.
type Private struct {
	Target string
	Kind   Kind
	Scope  Scope
	// Of instances of kind directory; a tmpfs goes with its last process.
	Cleanup Cleanup
	Base    string   // where the instances are kept; empty: a new directory on the target's own file system
	Size    uint64   // of a tmpfs, in bytes; 0: the kernel's default
	Inodes  uint64   // of a tmpfs; 0: the kernel's default
	Share   []string // names below the target that stay the host's
	For     []Rule   // nil: everybody
}

// Bind is a target at which sessions see another directory or file.
type Bind struct {
	Source, Target      string
	Recursive, ReadOnly bool
	For                 []Rule // nil: everybody
}

// Subject is who logs in, as far as a rule can look at it.
type Subject struct {
	User           string
	UID            uint32
	Shell, Service string
	Groups         []string // those of Policy.GroupNames that the user is in
}

// Propagation says which mounts and unmounts are passed on between the host and
// a session.
type Propagation string

// The propagations. Auto cuts off the targets and nothing else: a target that is a
// mount point is made private in the session; for a target that is not, the mount
// that carries it, and that mount alone, becomes a slave of the host's. Every other
// mount stays a peer of the host's, if it is one.
const (
	Auto               Propagation = "auto"
	Shared             Propagation = "shared"  // both ways, except for the targets, each of which is a mount point
	Slave              Propagation = "slave"   // from the host into the session only, for all mounts
	PropagationPrivate Propagation = "private" // neither way, for all mounts
)

// MountPoints says what happens on the host to a target that is not a mount point.
type MountPoints string

// The choices. With MakeMountPoints such a target is bound onto itself on the host,
// once, and the bind is recorded so that removal can undo it: then Auto makes no
// mount a slave. Its price is paid by programs of the host: rename(2) and link(2)
// across the target's edge fail with EXDEV.
const (
	LeaveMountPoints MountPoints = "leave"
	MakeMountPoints  MountPoints = "make"
)

// ExemptView says where the session of an exempt user is who comes from another
// user's private session, as root does by sudo.
type ExemptView string

// The views: the mount namespace of the login process as it is, or the host's.
const (
	CallerView ExemptView = "caller"
	HostView   ExemptView = "host"
)

// Environment says what becomes of TMPDIR, TMP, TEMP and TEMPDIR when they
// point past the private directory.
type Environment string

// What can become of them.
const (
	Unset Environment = "unset"
	Set   Environment = "set"
	Keep  Environment = "keep"
)

// Kind says what an instance is made of.
type Kind string

// The kinds.
const (
	Directory Kind = "directory"
	Tmpfs     Kind = "tmpfs"
)

// Scope says who shares an instance.
type Scope string

// The scopes.
const (
	User    Scope = "user"    // all sessions of a user
	Session Scope = "session" // nobody: each session has its own
)

// Cleanup says when an instance is emptied.
type Cleanup string

// The times.
const (
	AtBoot   Cleanup = "boot"   // left to the next boot and to the age-based cleaner
	AtLogout Cleanup = "logout" // when the last session has ended and no process has it mounted
)

// Default is what holds where nothing is configured.
func Default() Policy {
	return Policy{
		Exempt: []Rule{
			{source: "uid<1000", by: byUID, low: 0, high: 999},
			{source: "uid=65534", by: byUID, low: 65534, high: 65534},
			// One smbd opens sessions of several users, so none of them may move it.
			{source: "service:samba", by: byService, name: "samba"},
		},
		ExemptView:  CallerView,
		Propagation: Auto,
		MountPoints: LeaveMountPoints,
		Environment: Unset,
		Private: []Private{{
			Target:  "/tmp",
			Kind:    Directory,
			Scope:   User,
			Cleanup: AtBoot,
			Share:   []string{".X11-unix", ".ICE-unix"},
		}},
	}
}

// GroupNames lists every group that a rule names, sorted: the only ones that
// somebody has to be looked up in.
func (p Policy) GroupNames() []string {
	var names []string
	add := func(rules []Rule) {
		for _, r := range rules {
			if r.by == byGroup {
				names = append(names, r.name)
			}
		}
	}
	add(p.Exempt)
	for _, private := range p.Private {
		add(private.For)
	}
	for _, bind := range p.Bind {
		add(bind.For)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
