// Package plan decides what is to be done for one login.
//
// Facts and a policy go in, a plan comes out: no system call, no clock, no
// global. A plan is data and prints: a file of testdata shows what the kernel will be
// asked for. It is whole before the first of it is done: carrying it out may fail, but
// never adds to it.
//
// A session gets a mount namespace in one of three ways. It joins one that an earlier
// session of the user made by the same plan (the plan's key says what is the same).
// Or one is made for it, as a copy of the host's namespace. Or, where the login process
// comes from a namespace that is neither the host's nor another user's, such as that of a
// sandboxed service, as a copy of that. What another user has is never copied: it may
// show what nobody here looks for.
//
// There are two readings of a target. Host is what pid 1 sees there. Caller is
// what the login process sees, which may be a private directory already: the
// user's own (nothing is left to do), or another's (mounts never stack).
package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gotmpns/internal/paths"
	"gotmpns/internal/policy"
)

// Occupant is what the login process has at a target before the login.
type Occupant int

// The occupants.
const (
	Host   Occupant = iota // what the host has there, or what is none of ours
	Own                    // this user's instance, or this very bind
	Others                 // another user's instance, or one of the user's own that was removed
)

// Origin is the mount namespace that the login process comes from.
type Origin int

// The origins.
const (
	FromHost      Origin = iota
	FromOwn              // of a session of this user's
	FromOthers           // of another user's session, or of what is left of one
	FromElsewhere        // a service's own, a container's, one that root made
)

// Facts is all that a plan depends on besides the policy.
type Facts struct {
	Subject    policy.Subject
	Unknown    []string         // groups of the policy that nobody knows
	Places     map[string]Place // by target
	Origin     Origin
	HostShared bool        // the host's / passes mounts on, so that a namespace stays up to date
	Joinable   []Namespace // of this user, the latest first
	Holds      string      // another user whose session this process itself has open; empty: none
	Cwd        Cwd
	PAMEnv     []Variable // what PAM will set for the session
	ProcessEnv []Variable // what the login process itself passes on
}

// Namespace is one that an earlier session of the user has.
type Namespace struct {
	Session string // the name of that session's record
	PID     int    // of its login process
	Key     string // of the plan that it was made by
	Unfit   bool   // it was looked at, and does not show any more what it was made with
}

// Cwd is the working directory of the login process.
type Cwd struct {
	Path    string // empty: not known
	OnHost  bool   // the host has the same directory at that path
	Refused string // why it cannot be kept; empty: it can
}

// Variable is an environment variable.
type Variable struct{ Name, Value string }

// Place is a target as it is now.
type Place struct {
	Err        error // why it cannot be used; the rest is empty then
	Missing    bool  // the host has no such directory, and its parent: the rest is as if it had
	Directory  bool
	MountPoint bool   // on the host a mount begins here
	Movable    bool   // others than root can put something else in its place; looked at for mount_points = "make"
	Carrier    string // the mount point of the host's mount that it lies on
	Flags      string // of that mount: such as "nosuid,nodev"
	At         string // the SELinux level or context of the instance that this login gets; empty: any
	Remark     string // about it, for the log; empty: none
	Caller     Occupant
	Shares     map[string]Share  // by name below the target
	Sources    map[string]Source // of the binds onto this target, by the path of each
}

// Share is what the host has at a shared name.
type Share struct {
	Exists    bool
	Directory bool
	Refused   string // why it is not to be trusted; empty: it is
}

// Source is what a bind shows.
type Source struct {
	Err       error
	Directory bool
	InPlace   bool // the caller has exactly this mounted at the target
}

// Plan is what to do.
type Plan struct {
	Outcome string           // in a few words, for the one line in the log
	Missing []MakeTarget     // created on the host first; the plan is made again then
	OnHost  []MakeMountPoint // made on the host before: once, not for each session
	Way     Way              // to the session's namespace; nil: it stays where the login process is
	Steps   []Step           // done in a namespace that is made, in order
	Chdir   string           // where the session starts; empty: where the login process is
	Key     string           // what a later plan has to agree in to join; empty: none may
	Own     string           // why the session gets a namespace of its own; empty: it joins one, or none is made
	Env     []Setting
	Targets []string // that the session sees privately
	Remarks []string // for the log: nothing failed, but somebody should know
}

// Setting is a change of the session's environment.
type Setting struct {
	Name  string
	Value string
	Unset bool
}

// Error says that the policy cannot be fulfilled for this login.
type Error struct {
	Target string
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("cannot make %s private: %s", e.Target, e.Reason) }

// HeldError says that the login process itself has a session of another user open. A
// process has one mount namespace: that session would become this user's, or this user
// would be in that one's directories.
type HeldError struct{ By string }

func (e *HeldError) Error() string {
	return fmt.Sprintf("cannot open a session in this process: it has a session of %s open, and a process has one mount namespace; "+
		"start it in another process, or, for a server that serves several users in one process, add its service to exempt", e.By)
}

// inHost ends the outcome of a session that leaves the namespace it comes from.
const inHost = ", in the host's mount namespace"

// Exempt makes the plan for an exempt user, and says whether this is one: no
// place has to be looked at for it.
func Exempt(p policy.Policy, subject policy.Subject, unknown []string) (Plan, bool) {
	rule, exempt := firstMatch(p.Exempt, subject)
	plan := Plan{Outcome: fmt.Sprintf("skipped: exempt by %q", rule)}
	plan.remarkUnknown(unknown)
	return plan, exempt
}

// returnToHost is for an exempt user who is to be in the host's namespace and comes from
// somebody's session.
func (p *Plan) returnToHost(policy policy.Policy, f Facts) error {
	chosen := chooseTables(policy, f)
	chosen.private, chosen.bind = nil, nil
	switch {
	case f.Origin != FromOwn && f.Origin != FromOthers:
		return nil
	case f.Holds != "":
		return &HeldError{f.Holds}
	}
	p.Way = Return{}
	f.Origin = FromOthers // the host's view it is, wherever the login process is
	p.cwd(f, chosen)
	p.Outcome += inHost
	return nil
}

// Make makes the plan for one login.
func Make(p policy.Policy, f Facts) (Plan, error) {
	if plan, exempt := Exempt(p, f.Subject, f.Unknown); exempt {
		if p.ExemptView == policy.HostView {
			return plan, plan.returnToHost(p, f)
		}
		return plan, nil
	}
	var plan Plan
	plan.remarkUnknown(f.Unknown)
	chosen := chooseTables(p, f)
	switch {
	case f.Origin != FromOthers && chosen.isInPlace():
		plan.Outcome = chosen.outcome(nil)
		return plan, nil
	case f.Holds != "":
		return Plan{}, &HeldError{f.Holds}
	}
	if err := chosen.check(p.Propagation); err != nil {
		return Plan{}, err
	}
	plan.makeTargets(chosen)
	plan.cwd(f, chosen)
	if len(chosen.targets()) == 0 && f.keepsHostView(chosen) {
		plan.Way = Return{}
		plan.Outcome = chosen.outcome(nil)
		if len(chosen.detach) == 0 {
			plan.Outcome += inHost
		}
		return plan, nil
	}
	plan.settle(f, chosen)
	return plan, nil
}

// settle decides between the user's namespace and one to be made.
func (p *Plan) settle(f Facts, c choice) {
	p.create(f, c)
	p.Env = environmentSettings(c.policy.Environment, f, c.private)
	p.Outcome = c.outcome(p.Targets)
	key, own := p.key(f, c)
	p.Own = own
	if own == "" {
		p.Key = key
		p.Own = p.join(f, key)
	}
}

// join takes the namespace that was made by the same steps, or says why there is none.
func (p *Plan) join(f Facts, key string) (own string) {
	unfit := false
	for _, n := range f.Joinable {
		switch {
		case n.Key == key && n.Unfit:
			unfit = true
		case n.Key == key:
			p.Way = Join{Session: n.Session, User: f.Subject.User, PID: n.PID, Shows: p.Shows()}
			p.Steps = nil
			return ""
		}
	}
	switch {
	case unfit:
		return "what the user's other sessions see has changed since they began"
	case len(f.Joinable) == 0:
		return "the first session"
	}
	return "the other sessions were made by another configuration, group, service or state of the host"
}

// Shows returns what the session has to have: what is attached for it, or what is there
// already in the namespace that it joins.
func (p Plan) Shows() []Attach {
	if join, ok := p.Way.(Join); ok {
		return join.Shows
	}
	var all []Attach
	for _, step := range p.Steps {
		if attach, ok := step.(Attach); ok {
			all = append(all, attach)
		}
	}
	return all
}

// key is what makes two sessions fit for one namespace: the steps by which it is made.
// Otherwise it says why the session has to have its own.
func (p *Plan) key(f Facts, c choice) (key, own string) {
	switch {
	case !f.keepsHostView(c):
		return "", "the login comes from a namespace of its own, or its working directory is in no other"
	case !f.HostShared:
		return "", "/ is not shared on this host, so later mounts would be missed"
	case c.policy.Propagation == policy.PropagationPrivate:
		return "", `propagation = "private"`
	case slices.ContainsFunc(c.private, func(p policy.Private) bool { return p.Scope == policy.Session }):
		return "", `scope = "session"`
	}
	var text strings.Builder
	fmt.Fprintln(&text, p.Way)
	for _, step := range p.Steps {
		fmt.Fprintln(&text, step)
	}
	return text.String(), ""
}

// create is for a namespace that nobody has yet.
func (p *Plan) create(f Facts, c choice) {
	fromCaller := !f.keepsHostView(c)
	if !fromCaller {
		p.makeMountPoints(&c)
	}
	p.Way = Create{FromCaller: fromCaller}
	p.propagate(c, fromCaller)
	if fromCaller {
		p.detach(c)
	}
	p.attach(c, fromCaller)
}

// keepsHostView says that the session's namespace can be the host's or a copy of it,
// and need not be one of the login process's.
func (f Facts) keepsHostView(c choice) bool {
	switch f.Origin {
	case FromOthers:
		return true
	case FromElsewhere:
		return false
	}
	return f.Cwd.OnHost || f.Cwd.Refused != "" || f.Cwd.Path == "" || c.hides(f.Cwd.Path) != ""
}

func (p *Plan) remark(format string, args ...any) {
	p.Remarks = append(p.Remarks, fmt.Sprintf(format, args...))
}

func (p *Plan) remarkUnknown(groups []string) {
	for _, name := range groups {
		p.remark("unknown group %q in the configuration; treating it as empty", name)
	}
}

func firstMatch(rules []policy.Rule, s policy.Subject) (policy.Rule, bool) {
	i := slices.IndexFunc(rules, func(r policy.Rule) bool { return r.Matches(s) })
	if i < 0 {
		return policy.Rule{}, false
	}
	return rules[i], true
}

// makeTargets is for targets that are missing on the host.
func (p *Plan) makeTargets(c choice) {
	for _, private := range c.private {
		if c.places[private.Target].Missing && private.Create != nil {
			p.Missing = append(p.Missing, MakeTarget{Target: private.Target, Create: *private.Create})
		}
	}
}

// makeMountPoints is for mount_points = "make": then no mount that carries a target has to
// become a slave.
func (p *Plan) makeMountPoints(c *choice) {
	places := maps.Clone(c.places)
	for _, target := range c.roots() {
		place := places[target]
		if !c.canBecomeMountPoint(place) {
			continue
		}
		p.OnHost = append(p.OnHost, MakeMountPoint{Target: target})
		place.MountPoint = true
		places[target] = place
	}
	c.places = places
}

// propagate keeps what the session hides from the host. Mounts that are slaves, or
// private, are made shared again among the session's own, so that containers and
// sandboxes in it see what is mounted in it later.
func (p *Plan) propagate(c choice, fromCaller bool) {
	mode := c.policy.Propagation
	if fromCaller && mode != policy.PropagationPrivate {
		// What is detached in a copy must not go where it was copied from.
		mode = policy.Slave
	}
	switch mode {
	case policy.PropagationPrivate:
		p.Steps = append(p.Steps, Propagate{Path: "/", Mode: policy.PropagationPrivate, Recursive: true})
	case policy.Slave:
		p.Steps = append(p.Steps, Propagate{Path: "/", Mode: policy.Slave, Recursive: true, Peers: true})
	default:
		p.cutOff(c)
	}
}

// cutOff concerns the targets alone: one that is a mount point is private in the
// session, and for one that is not, the mount that carries it, and only that one, takes
// the host's mounts and gives none back.
func (p *Plan) cutOff(c choice) {
	for _, target := range c.roots() {
		step := Propagate{Path: c.places[target].Carrier, Mode: policy.Slave, Peers: true}
		if c.places[target].MountPoint {
			step = Propagate{Path: target, Mode: policy.PropagationPrivate, Peers: true}
		}
		if !slices.Contains(p.Steps, Step(step)) {
			p.Steps = append(p.Steps, step)
		}
	}
}

// detach detaches what another user's session, or another rule, has put
// there. Mounts below one that goes, go with it.
func (p *Plan) detach(c choice) {
	for _, target := range c.detach {
		if !below(target, c.detach) {
			p.Steps = append(p.Steps, Detach{Target: target})
		}
	}
}

// attach puts everything in place, outer targets before inner ones.
func (p *Plan) attach(c choice, fromCaller bool) {
	uncovered := func(target string) bool { return fromCaller && slices.Contains(c.detach, target) }
	for _, private := range c.private {
		p.Targets = append(p.Targets, private.Target)
		p.Steps = append(p.Steps, Attach{
			Target:    private.Target,
			Source:    Instance{private, c.places[private.Target].At},
			Directory: true,
			Flags:     stricter(c.places[private.Target].Flags, private.Options),
			Inside:    innermostTarget(private.Target, c.private),
			Uncovered: uncovered(private.Target),
		})
		if remark := c.places[private.Target].Remark; remark != "" {
			p.remark("%s", remark)
		}
		p.share(private, c.places[private.Target])
	}
	for _, bind := range c.bind {
		p.Targets = append(p.Targets, bind.Target)
		p.Steps = append(p.Steps, Attach{
			Target:    bind.Target,
			Source:    Bind{bind},
			Directory: c.sourceOf(bind).Directory,
			Flags:     stricter("", bind.Options),
			Inside:    innermostTarget(bind.Target, c.private),
			Uncovered: uncovered(bind.Target),
		})
	}
}

// stricter adds options to the flags of a mount, and removes none.
func stricter(flags string, options policy.Options) string {
	for _, name := range options.Names() {
		if !slices.Contains(strings.Split(flags, ","), name) {
			flags = strings.TrimPrefix(flags+","+name, ",")
		}
	}
	return flags
}

// share brings the host's sockets into an instance.
func (p *Plan) share(private policy.Private, place Place) {
	for _, name := range private.Share {
		share := place.Shares[name]
		path := private.Target + "/" + name
		switch {
		case !share.Exists:
			continue
		case share.Refused != "":
			p.remark("the host's %s is not shared: %s", path, share.Refused)
			continue
		}
		p.Steps = append(p.Steps, Attach{
			Target:    path,
			Source:    Shared{Path: path},
			Directory: share.Directory,
			Inside:    private.Target,
			Optional:  true,
		})
	}
}

// cwd moves a login process out of a directory that is hidden now, or
// detached: from there another user's files would stay within reach by "..".
func (p *Plan) cwd(f Facts, c choice) {
	switch hidden := c.hides(f.Cwd.Path); {
	case hidden != "":
		p.Chdir = hidden
	case f.Cwd.Refused != "":
		p.Chdir = "/"
		p.remark("the session starts in /, not in %s: %s", f.Cwd.Path, f.Cwd.Refused)
	case f.Origin == FromOthers && !f.Cwd.OnHost && f.Cwd.Path != "":
		p.Chdir = "/"
		p.remark("the session starts in /, not in %s: the host has no such directory", f.Cwd.Path)
	}
}

// innermostTarget returns the innermost private target that path lies below; the
// mount point has to be made inside that instance. Empty: there is none.
func innermostTarget(path string, private []policy.Private) string {
	found := ""
	for _, p := range private {
		if paths.IsBelow(path, p.Target) && len(p.Target) > len(found) {
			found = p.Target
		}
	}
	return found
}

func below(path string, others []string) bool {
	return slices.ContainsFunc(others, func(other string) bool {
		return paths.IsBelow(path, other)
	})
}
