// Package policy holds what an administrator may ask for, as plain types.
//
// A Policy says which users are exempt and, for all others, which targets a session
// sees privately: a Private mounts an instance of the user's own over its target, a
// Bind another directory or file. Rules select logins: each compares one property of
// the Subject that logs in. The zero values of the enumerations are not valid;
// Default returns a complete policy.
//
// Nothing here reads a file or calls the system. Package config reads a policy from
// files, package plan computes the steps of a login from it.
package policy

import "slices"

// Policy is all that can be configured.
type Policy struct {
	Exempt      []Rule // these users get no private directories
	ExemptView  ExemptView
	Propagation Propagation
	MountPoints MountPoints
	Environment Environment
	// At a user's first private login since the last reboot, PAM shows one line of what
	// is private and where that is described; later logins of the user show nothing.
	Notify  bool
	Private []Private // several may have one target; see [Policy.Select]
	Bind    []Bind
}

// Private is a target at which each user sees an instance of their own.
type Private struct {
	Target  string // absolute; may begin with ~ and contain $USER, see [Expand]
	Kind    Kind
	Scope   Scope
	Cleanup Cleanup  // of instances of kind directory; a tmpfs goes with its last process
	Base    string   // where the instances are kept; empty: a new directory on the target's own file system; may contain $USER
	Size    uint64   // of a tmpfs, in bytes; 0: see Percent
	Percent uint     // of a tmpfs, of the machine's memory; 0, where Size is 0: the kernel's default
	Inodes  uint64   // of a tmpfs; 0: the kernel's default
	Mode    uint32   // of a tmpfs' root; 0: that of the target. Without write permission for others it belongs to the user
	Share   []string // names below the target that stay the host's
	Options Options
	Create  *Create // nil: a missing target is an error
	// Skeleton is a directory of root's. When an instance is made, its contents are
	// copied into it, with owners and modes as they are, except that root's files
	// become the user's; never into an instance that is there.
	Skeleton string
	// OnCreate is a program of root's that is run when an instance is made, after
	// Skeleton, and never for one that is there. It gets a constructed environment,
	// target and instance as descriptors, and a deadline; the login fails unless it
	// exits with 0, and what has been made of the instance is dropped.
	OnCreate string
	By       By
	// Shared instances are one for each level or context, not for each user in it.
	Shared bool
	// RequireSELinux refuses the login where SELinux is off; otherwise By is ByUser then.
	RequireSELinux bool
	For            []Rule // nil: everybody
	Except         []Rule // not for these, whatever For says
}

// Bind is a target at which sessions see another directory or file.
type Bind struct {
	Source              string
	Target              string // as in Private
	Recursive, ReadOnly bool
	Options             Options
	For, Except         []Rule // as in Private
}

// Options are set on the mount of a target, and of everything that comes with it if
// it is recursive, beside those that the host's target has: they restrict further
// and never lift a restriction.
type Options struct{ NoSUID, NoDev, NoExec bool }

// Names returns the options as mount(8) calls them.
func (o Options) Names() []string {
	var names []string
	for _, option := range [...]struct {
		set  bool
		name string
	}{{o.NoSUID, "nosuid"}, {o.NoDev, "nodev"}, {o.NoExec, "noexec"}} {
		if option.set {
			names = append(names, option.name)
		}
	}
	return names
}

// Create says how a missing target is made on the host. Root makes it where nobody
// but root can write on the way; below the home directory of the user, a process
// with the user's ids does. One that exists is left as it is.
type Create struct {
	Mode uint32
	// Names of the passwd and group database. As Owner, $USER is the user who logs
	// in. An empty Group is the owner's primary group.
	Owner, Group string
}

// Subject is a user who logs in, with the properties that rules compare.
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

// Environment says what happens to TMPDIR, TMP, TEMP and TEMPDIR if they point
// elsewhere than to a private directory.
type Environment string

// The choices: unset them, set TMPDIR to /tmp always, or leave them unchanged.
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

// Scope says which sessions share an instance.
type Scope string

// The scopes.
const (
	User    Scope = "user"    // all sessions of a user
	Session Scope = "session" // none: each session has its own
)

// Cleanup says when an instance is emptied.
type Cleanup string

// The choices.
const (
	AtBoot   Cleanup = "boot"   // at the next reboot, and by systemd-tmpfiles before
	AtLogout Cleanup = "logout" // when the last session has ended and no process uses it
)

// By says which logins share an instance of kind directory.
type By string

// The choices. Where SELinux is off, all of them are ByUser. The level or context is
// that of which the kernel computes the label of a member directory.
const (
	ByUser    By = "user"
	ByLevel   By = "level"   // the same user at the same level
	ByContext By = "context" // the same user in the same context
)

// Default is the policy without any configuration.
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
			By:      ByUser,
		}},
	}
}

// GroupNames lists every group that a rule names, sorted: only in these are users
// looked up.
func (p Policy) GroupNames() []string {
	lists := [][]Rule{p.Exempt}
	for _, private := range p.Private {
		lists = append(lists, private.For, private.Except)
	}
	for _, bind := range p.Bind {
		lists = append(lists, bind.For, bind.Except)
	}
	var names []string
	for _, r := range slices.Concat(lists...) {
		if r.by == byGroup {
			names = append(names, r.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
