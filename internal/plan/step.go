package plan

import (
	"fmt"
	"strings"

	"gotmpns/internal/policy"
)

// Way is how a session gets its mount namespace: by [Join], [Return] or [Create].
//
// Ways, steps and sources are closed sets. Code that carries them out is a visitor with a
// method for each member, so it does not compile without a new one.
type Way interface {
	fmt.Stringer
	Accept(WayVisitor) error
}

// WayVisitor has a method for each [Way].
type WayVisitor interface {
	Join(Join) error
	Return(Return) error
	Create(Create) error
}

// Step is one thing to do in a namespace that is made: [Propagate], [Detach] or [Attach].
type Step interface {
	fmt.Stringer
	Accept(StepVisitor) error
}

// StepVisitor has a method for each [Step].
type StepVisitor interface {
	Propagate(Propagate) error
	Detach(Detach) error
	Attach(Attach) error
}

// AttachSource is what a mount shows: an [Instance], a [Bind] or a [Shared].
type AttachSource interface {
	fmt.Stringer
	Accept(SourceVisitor) error
}

// SourceVisitor has a method for each [AttachSource].
type SourceVisitor interface {
	Instance(Instance) error
	Bind(Bind) error
	Shared(Shared) error
}

// Join enters the namespace of another session of the user.
type Join struct {
	Session string // the name of its record
	User    string
	PID     int
	Shows   []Attach // what it must still have
}

// Return goes back to the host's namespace.
type Return struct{}

// Create makes a mount namespace: a copy of the host's, or of the login process's.
type Create struct{ FromCaller bool }

// Propagate sets what mounts and unmounts are passed on: policy.Slave takes
// the host's and gives none back, policy.PropagationPrivate does neither.
type Propagate struct {
	Path      string
	Mode      policy.Propagation
	Recursive bool
	Peers     bool // then made shared again, in a peer group of the session's own
}

// Detach detaches the mount on a target.
type Detach struct{ Target string }

// Attach puts a mount over a target.
type Attach struct {
	Target    string
	Source    AttachSource
	Directory bool
	Flags     string // that the mount gets: of the target's own mount, and by options
	Inside    string // the private target in whose instance the mount point is made
	Uncovered bool   // it goes over what a Detach has brought to light
	Optional  bool   // where it cannot be made ready, the login goes on without
}

// Instance is the user's own directory or tmpfs, or one that all users at a level or in
// a context share.
type Instance struct {
	policy.Private
	At string // as in [Place]
}

// Bind is a directory or file of the host's, by a rule.
type Bind struct{ policy.Bind }

// Shared is what the host has at a shared name.
type Shared struct{ Path string }

// MakeTarget creates a target that is missing on the host.
type MakeTarget struct {
	Target string
	policy.Create
}

// MakeMountPoint binds a target onto itself on the host.
type MakeMountPoint struct{ Target string }

// Accept calls the method of v for this way.
func (j Join) Accept(v WayVisitor) error { return v.Join(j) }

// Accept calls the method of v for this way.
func (r Return) Accept(v WayVisitor) error { return v.Return(r) }

// Accept calls the method of v for this way.
func (c Create) Accept(v WayVisitor) error { return v.Create(c) }

// Accept calls the method of v for this step.
func (p Propagate) Accept(v StepVisitor) error { return v.Propagate(p) }

// Accept calls the method of v for this step.
func (d Detach) Accept(v StepVisitor) error { return v.Detach(d) }

// Accept calls the method of v for this step.
func (a Attach) Accept(v StepVisitor) error { return v.Attach(a) }

// Accept calls the method of v for this source.
func (i Instance) Accept(v SourceVisitor) error { return v.Instance(i) }

// Accept calls the method of v for this source.
func (b Bind) Accept(v SourceVisitor) error { return v.Bind(b) }

// Accept calls the method of v for this source.
func (s Shared) Accept(v SourceVisitor) error { return v.Shared(s) }

func (j Join) String() string {
	return fmt.Sprintf("join the namespace of %s's session %d", j.User, j.PID)
}

func (Return) String() string { return "return to the host's mount namespace" }

func (m MakeMountPoint) String() string {
	return "make " + m.Target + " a mount point on the host, by binding it onto itself"
}

func (m MakeTarget) String() string {
	owner := m.Owner
	if owner == "$USER" {
		owner = "the user"
	}
	if m.Group != "" {
		owner += ":" + m.Group
	}
	return fmt.Sprintf("create %s on the host with mode %#o for %s", m.Target, m.Mode, owner)
}

func (c Create) String() string {
	if c.FromCaller {
		return "copy the mount namespace of the login process"
	}
	return "copy the host's mount namespace"
}

func (p Propagate) String() string {
	text := fmt.Sprintf("set propagation of %s to %s", p.Path, p.Mode)
	if p.Recursive {
		text += ", recursively"
	}
	if p.Peers {
		text += ", and share it within the session"
	}
	return text
}

func (d Detach) String() string { return "detach the mount on " + d.Target }

func (a Attach) String() string {
	text := fmt.Sprintf("attach %s to %s", a.Source, a.Target)
	if a.Flags != "" {
		text += " with " + a.Flags
	}
	if a.Inside != "" {
		text += ", inside the instance of " + a.Inside
	}
	if a.Optional {
		text += ", if possible"
	}
	return text
}

func (i Instance) String() string {
	whose := "the user's"
	if i.Scope == policy.Session {
		whose = "the session's"
	}
	if i.Shared && i.At != "" {
		whose = "the shared"
	}
	text := fmt.Sprintf("%s %s", whose, i.Kind)
	if i.At != "" {
		text += " at " + i.At
	}
	switch {
	case i.Size != 0:
		text += fmt.Sprintf(" of %d bytes", i.Size)
	case i.Percent != 0:
		text += fmt.Sprintf(" of %d%% of the memory", i.Percent)
	}
	if i.Inodes != 0 {
		text += fmt.Sprintf(" with %d inodes", i.Inodes)
	}
	if i.Mode != 0 {
		text += fmt.Sprintf(" with mode %#o", i.Mode)
	}
	if i.Base != "" {
		text += " in " + i.Base
	}
	return text
}

func (b Bind) String() string {
	var how []string
	if b.Recursive {
		how = append(how, "with all below it")
	}
	if b.ReadOnly {
		how = append(how, "read-only")
	}
	text := "the host's " + b.Source
	if how != nil {
		text += " " + strings.Join(how, ", ")
	}
	return text
}

func (s Shared) String() string { return "the host's " + s.Path }

func (s Setting) String() string {
	if s.Unset {
		return "unset " + s.Name
	}
	return "set " + s.Name + "=" + s.Value
}

// Actions are what is done for the session, in order and in words.
func (p Plan) Actions() []string {
	var all []string
	for _, target := range p.Missing {
		all = append(all, target.String())
	}
	for _, target := range p.OnHost {
		all = append(all, target.String())
	}
	if p.Way != nil {
		all = append(all, p.Way.String())
	}
	for _, step := range p.Steps {
		all = append(all, step.String())
	}
	if p.Chdir != "" {
		all = append(all, "change directory to "+p.Chdir)
	}
	return all
}

// String prints the whole plan, a line for each action.
func (p Plan) String() string {
	var text strings.Builder
	fmt.Fprintln(&text, p.Outcome)
	if p.Own != "" {
		fmt.Fprintln(&text, "  a namespace of its own: "+p.Own)
	}
	for _, action := range p.Actions() {
		fmt.Fprintln(&text, "  "+action)
	}
	for _, setting := range p.Env {
		fmt.Fprintln(&text, "  "+setting.String())
	}
	for _, remark := range p.Remarks {
		fmt.Fprintln(&text, "  remark: "+remark)
	}
	return text.String()
}
