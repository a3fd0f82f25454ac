package plan

import (
	"fmt"
	"strings"

	"gotmpns/internal/policy"
)

// Step is one thing to do. The steps are done in order, by the login process.
type Step interface{ fmt.Stringer }

// Unshare gives the login process a mount namespace of its own.
type Unshare struct{}

// Propagate sets what mounts and unmounts are passed on: policy.Slave takes
// the host's and gives none back, policy.Private does neither.
type Propagate struct {
	Path      string
	Mode      policy.Propagation
	Recursive bool
}

// Detach takes away the mount on a target.
type Detach struct{ Target string }

// Attach puts a mount over a target.
type Attach struct {
	Target    string
	Source    AttachSource
	Directory bool
	Inside    string // the private target in whose instance the mount point is made
	Uncovered bool   // a Detach brings to light what it goes over
	Optional  bool   // where it cannot be made ready, the login goes on without
}

// AttachSource is what a mount shows: an [Instance], a [Bind] or a [Shared].
type AttachSource interface{ fmt.Stringer }

// Instance is the user's own directory or tmpfs.
type Instance struct{ policy.Private }

// Bind is a directory or file of the host's, by a rule.
type Bind struct{ policy.Bind }

// Shared is what the host has at a shared name.
type Shared struct{ Path string }

// Chdir changes the working directory.
type Chdir struct{ Path string }

func (Unshare) String() string { return "unshare the mount namespace" }

func (p Propagate) String() string {
	if p.Recursive {
		return fmt.Sprintf("make %s and all mounts below it %s", p.Path, p.Mode)
	}
	return fmt.Sprintf("make the mount at %s %s", p.Path, p.Mode)
}

func (d Detach) String() string { return "take away the mount on " + d.Target }

func (a Attach) String() string {
	text := fmt.Sprintf("attach %s to %s", a.Source, a.Target)
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
	text := fmt.Sprintf("%s %s", whose, i.Kind)
	if i.Size != 0 {
		text += fmt.Sprintf(" of %d bytes", i.Size)
	}
	if i.Inodes != 0 {
		text += fmt.Sprintf(" with %d inodes", i.Inodes)
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

func (c Chdir) String() string { return "change directory to " + c.Path }

func (s Setting) String() string {
	if s.Unset {
		return "unset " + s.Name
	}
	return "set " + s.Name + "=" + s.Value
}

// String prints the whole plan, a line for each step.
func (p Plan) String() string {
	var text strings.Builder
	fmt.Fprintln(&text, p.Outcome)
	for _, step := range p.Steps {
		fmt.Fprintln(&text, "  "+step.String())
	}
	for _, setting := range p.Env {
		fmt.Fprintln(&text, "  "+setting.String())
	}
	for _, remark := range p.Remarks {
		fmt.Fprintln(&text, "  remark: "+remark)
	}
	return text.String()
}
