// Package check says what is fine, what is not, and what to do about it.
//
//	system files and tables -> System -> findings
//
// [Read] gathers, and judges nothing; what it could not read is missing in the
// System, with the reason. Everything else here is pure: a System goes in, findings
// come out, as plain data that the command prints. So each judgement is a row in a
// table.
package check

import (
	"slices"
	"time"

	"gotmpns/internal/mounts"
	"gotmpns/internal/pamconf"
	"gotmpns/internal/policy"
)

// Level says how bad it is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Notice  Level = "notice"  // works, but an administrator should know
	Problem Level = "problem" // does not work, or not as it is meant to
)

// Finding is one thing that was looked at.
type Finding struct {
	ID      string `json:"id"` // stable: gotmpns(1) lists them
	Level   Level  `json:"level"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	Advice  string `json:"advice,omitempty"` // what to do
	File    string `json:"file,omitempty"`   // the file that the finding is about
}

// System is what the findings depend on.
type System struct {
	Root       bool // seen with root's eyes
	ConfigPath string
	Draft      bool // the file at ConfigPath is not the one that logins use
	Defaults   bool // there is no file at ConfigPath, and need not be one
	Policy     policy.Policy
	ConfigErr  error
	Refused    error    // why logins would be refused to which some table applies; nil where that is unknown, too
	NotSeen    []string // what could not be looked at, and why
	Kernel     Kernel
	Mounts     mounts.Table      // of the host; nil: not available
	Targets    map[string]Target // by path, those of the policy
	Sources    map[string]Target // of its binds
	Shares     map[string]bool   // whether the host has a path that is shared
	Files      []File            // that make up the module
	Stacks     pamconf.Stacks
	Profile    bool            // pam-auth-update has a profile for the module
	Workers    map[string]File // programs that stacks name with worker=, by path
	Tmpfiles   map[string]Part // the files of tmpfiles.d that take effect, by name; nil: nobody reads them
	Units      map[string]Unit // services of the system, by name
	SSHD       []Part          // sshd_config with what it includes, in order; nil: there is none
	Kerberos   []Part          // krb5.conf with what it includes, in order; nil: there is none
	Namespace  []Part          // namespace.conf and namespace.d
	SELinux    bool            // enforcing, and the worker lacks the label of the module's policy
	Unknown    []policy.Rule   // rules with a name that nobody has
	Homes      []Home          // below a target that is private for their owner
	Leftovers  Leftovers
	Sessions   []Session // open ones, of root's view only
	Outside    []Outside // processes that see the host's targets although their users get private ones
	Changed    time.Time // when the configuration was last changed; zero: unknown, or there is none
	Broker     Broker
}

// Session is an open session.
type Session struct {
	User, Service string
	PID           int
	Since         time.Time
	Removed       bool // a private directory of it has been removed on the host
}

// Outside are the processes of one user in the host's mount namespace.
type Outside struct {
	User  string
	UID   uint32
	Count int
	Named []string // those that start others: user managers and terminal multiplexers, with their pids
}

// Broker is what the service manager says of the broker.
type Broker struct {
	Installed bool   // as a unit of a running systemd; the rest is empty otherwise
	Socket    string // the state of its socket: active, inactive, failed
	Service   string // and of the service
	Restarts  int    // by itself, since it was started
	Replaced  bool   // its program is not the one that is installed
}

// Kernel is what was found out about the kernel.
type Kernel struct {
	Release  string
	Refused  []string // system calls that are missing or forbidden
	Admin    bool     // CAP_SYS_ADMIN is there
	Filtered bool     // this process has a filter of system calls
}

// Target is a path as it is on the host.
type Target struct {
	Err       string // why it cannot be used
	Missing   bool   // that is why
	Behind    string // the path without symbolic links, where these are why
	Directory bool
	UID       uint32
	Mode      uint32
	Open      Opening
}

// Opening is where others than root can make a target, or part of its path; the zero
// value: nowhere.
type Opening struct {
	Dir    string // which they can write to
	Sticky bool   // and not replace what root owns in it
	Entry  string // what they can make or replace
}

// File is an installed file.
type File struct {
	Path string
	Err  string
	UID  uint32
	Mode uint32
}

// Part is a file, or what it has before, between or after the files that it includes.
type Part struct{ Path, Text string }

// Unit is a unit of systemd with its drop-ins.
type Unit struct {
	Path   string // of the unit itself
	Text   string
	Exempt bool // the configuration exempts logins by its PAMName= and User=
}

// Home is a home directory below a target.
type Home struct{ User, Path, Target string }

// Leftovers is what earlier sessions have left.
type Leftovers struct {
	Records int      // of sessions whose process has gone
	Bases   []string // that no record knows
	Aside   []string // instances of earlier owners of a uid
	Unknown []string // instances of users who are not known any more
}

// All judges everything, in the order in which one would fix it.
func All(s System) []Finding {
	return slices.Concat(
		Configuration(s), kernel(s), notSeen(s), module(s), targets(s), configured(s), propagation(s), stacks(s),
		tmpfiles(s), clashes(s), broker(s), sessions(s), leftovers(s),
	)
}

// Fine says that there is no problem among findings.
func Fine(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == Problem })
}

// Count counts the findings of a level.
func Count(findings []Finding, level Level) int {
	n := 0
	for _, f := range findings {
		if f.Level == level {
			n++
		}
	}
	return n
}
