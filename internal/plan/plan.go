// Package plan decides what is to be done for one login.
//
// Facts and a policy go in, a plan comes out: no system call, no clock, no
// global. A plan is data and prints; who reads a file of testdata knows what
// the kernel will be told. It is whole before the first of it is done: carrying
// it out may fail, but never adds to it.
//
// There are two readings of a target. Host is what pid 1 sees there. Caller is
// what the login process sees, which may be a private directory already: the
// user's own (nothing is left to do), or another's (it is taken away first, so
// that mounts never stack).
package plan

import (
	"fmt"
	"slices"
	"strings"

	"gotmpns/internal/policy"
)

// Occupant is what the login process has at a target before the login.
type Occupant int

// The occupants.
const (
	Host   Occupant = iota // what the host has there, or what is none of ours
	Own                    // this user's instance, or this very bind
	Others                 // another user's instance
)

// Facts is all that a plan depends on besides the policy.
type Facts struct {
	Subject    policy.Subject
	Unknown    []string         // groups of the policy that nobody knows
	Places     map[string]Place // by target
	Cwd        string           // of the login process, as a path; empty: not to be had
	PAMEnv     []Variable       // what PAM will set for the session
	ProcessEnv []Variable       // what the login process itself passes on
}

// Variable is an environment variable.
type Variable struct{ Name, Value string }

// Place is a target as it is now.
type Place struct {
	Err        error // why it cannot be used; the rest is empty then
	Directory  bool
	MountPoint bool // on the host a mount begins here
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
	Outcome string // in a few words, for the one line in the log
	Steps   []Step // none: the session stays where the login process is
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

// LeftAlone makes the plan for who is exempt, and says whether this is one: no
// place has to be looked at for it.
func LeftAlone(p policy.Policy, f Facts) (Plan, bool) {
	rule, exempt := firstMatch(p.Exempt, f.Subject)
	plan := Plan{Outcome: fmt.Sprintf("left alone: exempt by %q", rule)}
	plan.remarkUnknown(f)
	return plan, exempt
}

// Make makes the plan for one login.
func Make(p policy.Policy, f Facts) (Plan, error) {
	if plan, exempt := LeftAlone(p, f); exempt {
		return plan, nil
	}
	var plan Plan
	plan.remarkUnknown(f)
	chosen := choose(p, f)
	if chosen.isInPlace() {
		plan.Outcome = chosen.outcome(nil)
		return plan, nil
	}
	if err := chosen.check(p.Propagation); err != nil {
		return Plan{}, err
	}
	plan.Steps = append(plan.Steps, Unshare{})
	plan.propagate(p.Propagation, chosen)
	plan.detach(chosen, p.Propagation)
	plan.attach(chosen)
	plan.chdir(f.Cwd, chosen)
	plan.Env = environment(p.Environment, f, chosen.private)
	plan.Outcome = chosen.outcome(plan.Targets)
	return plan, nil
}

func (p *Plan) remark(format string, args ...any) {
	p.Remarks = append(p.Remarks, fmt.Sprintf(format, args...))
}

func (p *Plan) remarkUnknown(f Facts) {
	for _, name := range f.Unknown {
		p.remark("the configuration names the group %q, which nobody knows here; nobody is counted in it", name)
	}
}

func firstMatch(rules []policy.Rule, s policy.Subject) (policy.Rule, bool) {
	i := slices.IndexFunc(rules, func(r policy.Rule) bool { return r.Matches(s) })
	if i < 0 {
		return policy.Rule{}, false
	}
	return rules[i], true
}

// isFor reads a "for" list: none means everybody.
func isFor(rules []policy.Rule, s policy.Subject) bool {
	if rules == nil {
		return true
	}
	_, matches := firstMatch(rules, s)
	return matches
}

// propagate keeps what the session mounts and what it hides from the host.
func (p *Plan) propagate(mode policy.Propagation, c choice) {
	switch c.resolve(mode) {
	case policy.Shared:
		for _, target := range c.roots() {
			p.Steps = append(p.Steps, Propagate{Path: target, Mode: policy.PropagationPrivate})
		}
	case policy.PropagationPrivate:
		p.Steps = append(p.Steps, Propagate{Path: "/", Mode: policy.PropagationPrivate, Recursive: true})
	default:
		p.Steps = append(p.Steps, Propagate{Path: "/", Mode: policy.Slave, Recursive: true})
	}
}

// detach takes away what another user's session, or another rule, has put
// there. Mounts below one that goes, go with it.
func (p *Plan) detach(c choice, mode policy.Propagation) {
	for _, target := range c.detach {
		if !below(target, c.detach) {
			p.Steps = append(p.Steps, Detach{Target: target})
		}
	}
	if len(c.detach) > 0 && c.resolve(mode) == policy.Shared {
		// What was under it comes to light now, and may be a peer of the host's.
		for _, target := range c.roots() {
			p.Steps = append(p.Steps, Propagate{Path: target, Mode: policy.PropagationPrivate})
		}
	}
}

// attach puts everything in place, outer targets before inner ones.
func (p *Plan) attach(c choice) {
	for _, private := range c.private {
		p.Targets = append(p.Targets, private.Target)
		p.Steps = append(p.Steps, Attach{
			Target:    private.Target,
			Source:    Instance{private},
			Directory: true,
			Inside:    outermost(private.Target, c.private),
			Uncovered: slices.Contains(c.detach, private.Target),
		})
		p.share(private, c.places[private.Target])
	}
	for _, bind := range c.bind {
		p.Targets = append(p.Targets, bind.Target)
		p.Steps = append(p.Steps, Attach{
			Target:    bind.Target,
			Source:    Bind{bind},
			Directory: c.sourceOf(bind).Directory,
			Inside:    outermost(bind.Target, c.private),
			Uncovered: slices.Contains(c.detach, bind.Target),
		})
	}
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

// chdir moves a login process out of a directory that is hidden now, or taken
// away: from there somebody else's files would stay within reach by "..".
func (p *Plan) chdir(cwd string, c choice) {
	for _, target := range slices.Concat(p.Targets, c.detach) {
		if cwd == target || strings.HasPrefix(cwd, target+"/") {
			p.Steps = append(p.Steps, Chdir{Path: target})
			return
		}
	}
}

// outermost returns the innermost private target that path lies below; the
// mount point has to be made inside that instance. Empty: there is none.
func outermost(path string, private []policy.Private) string {
	found := ""
	for _, p := range private {
		if strings.HasPrefix(path, p.Target+"/") && len(p.Target) > len(found) {
			found = p.Target
		}
	}
	return found
}

func below(path string, others []string) bool {
	return slices.ContainsFunc(others, func(other string) bool {
		return strings.HasPrefix(path, other+"/")
	})
}
