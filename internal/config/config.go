// Package config reads the configuration: one file, and then the drop-ins of
// the directory beside it, /etc/security/gotmpns.d/*.toml, in the order of their
// names.
//
// What no file says is as in [policy.Default]. A later file overrides the plain
// keys, and exempt as a whole. The tables [[private]] and [[bind]] are added up; the
// first file that has one replaces the built-in list, and one with a target that an
// earlier file has named replaces that. A mistake is an error with file and line,
// and every mistake of a file is told at once: silently doing something else
// would be found out by the wrong person.
//
// A file that others than root can write, or that is none, is refused without
// being opened: this is read by root, in every login.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"gotmpns/internal/policy"
)

// DefaultPath is the configuration that may be missing.
const DefaultPath = "/etc/security/gotmpns.toml"

// Load reads the configuration at path and its drop-ins. The error is an
// [*Errors] where files have mistakes in them.
func Load(path string) (policy.Policy, error) {
	return loader{owner: 0, optional: path == DefaultPath}.load(path)
}

// Check says what is wrong with a configuration that is no file yet. The error is an
// [*Errors], and has no file's name in it.
func Check(text []byte) error {
	file, err := decode("", text)
	if err != nil {
		return err
	}
	m := merger{policy: policy.Default()}
	m.add(file)
	return m.check()
}

// loader is what differs between a login and a test.
type loader struct {
	owner    uint32 // to whom files have to belong
	optional bool   // the first file may be missing
}

func (l loader) load(path string) (policy.Policy, error) {
	m := merger{policy: policy.Default()}
	err := l.add(&m, path)
	if err != nil && (!l.optional || !errors.Is(err, fs.ErrNotExist)) {
		return policy.Policy{}, err
	}
	directory := strings.TrimSuffix(path, ".toml") + ".d"
	names, err := l.dropIns(directory)
	if err != nil {
		return policy.Policy{}, err
	}
	for _, name := range names {
		if err := l.add(&m, directory+"/"+name); err != nil {
			return policy.Policy{}, err
		}
	}
	return m.policy, m.check()
}

func (l loader) add(m *merger, path string) error {
	text, err := l.read(path)
	if err != nil {
		return err
	}
	file, err := decode(path, text)
	if err != nil {
		return err
	}
	m.add(file)
	return nil
}

// merger adds file to file.
type merger struct {
	policy      policy.Policy
	privateFrom []origin // where each entry stands, for errors
	bindFrom    []origin
	hasPrivate  bool
}

type origin struct {
	file string
	line int
}

func (m *merger) add(f *file) {
	if f.exempt != nil {
		m.policy.Exempt = *f.exempt
	}
	if f.propagation != "" {
		m.policy.Propagation = f.propagation
	}
	if f.environment != "" {
		m.policy.Environment = f.environment
	}
	if f.private != nil && !m.hasPrivate {
		m.hasPrivate = true
		m.policy.Private = nil
	}
	for i, p := range f.private {
		m.drop(p.Target, f.path)
		m.policy.Private = append(m.policy.Private, p)
		m.privateFrom = append(m.privateFrom, f.privateFrom[i])
	}
	m.policy.Bind = append(m.dropBinds(f), f.bind...)
	m.bindFrom = append(m.bindFrom, f.bindFrom...)
}

// drop forgets what an earlier file says of a target; twice in one file is for check.
func (m *merger) drop(target, file string) {
	for i, p := range m.policy.Private {
		if p.Target == target && m.privateFrom[i].file != file {
			m.policy.Private = slices.Delete(m.policy.Private, i, i+1)
			m.privateFrom = slices.Delete(m.privateFrom, i, i+1)
			return
		}
	}
}

func (m *merger) dropBinds(f *file) []policy.Bind {
	var kept []policy.Bind
	var from []origin
	for i, b := range m.policy.Bind {
		if !slices.ContainsFunc(f.bind, func(n policy.Bind) bool { return n.Target == b.Target }) {
			kept = append(kept, b)
			from = append(from, m.bindFrom[i])
		}
	}
	m.bindFrom = from
	return kept
}

// Errors is all that is wrong with the configuration.
type Errors struct{ Problems []string }

// tell bounds an error: it goes into the log as one line.
const tell = 5

func (e *Errors) Error() string {
	if len(e.Problems) <= tell {
		return strings.Join(e.Problems, "; ")
	}
	return strings.Join(e.Problems[:tell], "; ") + fmt.Sprintf("; and %d more", len(e.Problems)-tell)
}

func (e *Errors) add(at origin, format string, args ...any) {
	place := at.file
	if at.line > 0 {
		place = fmt.Sprintf("%s:%d", at.file, at.line)
	}
	e.Problems = append(e.Problems, place+": "+fmt.Sprintf(format, args...))
}

func (e *Errors) orNil() error {
	if len(e.Problems) == 0 {
		return nil
	}
	return e
}
