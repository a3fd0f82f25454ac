// Package config reads the configuration: one file, and then the drop-ins of
// the directory beside it, /etc/security/gotmpns.d/*.toml, in the order of their
// names. What a vendor has in /usr/share/gotmpns comes below that: its file is read
// where /etc has none, its drop-ins unless /etc has one of the same name, which may
// be empty.
//
// What no file says is as in [policy.Default]. A later file overrides the plain
// keys, and exempt as a whole. The tables [[private]] and [[bind]] are added up; the
// first file that has one replaces the built-in list, and tables with a target
// replace those that earlier files have for it. A mistake is an error with file and
// line, and all mistakes of a file are reported at once.
//
// A file that others than root can write, or that is not a regular file, is refused
// without being opened: root reads this in every login.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"gotmpns/internal/policy"
)

const (
	// DefaultPath is the configuration that may be missing.
	DefaultPath = "/etc/security/gotmpns.toml"
	// VendorPath is read in its place then.
	VendorPath = "/usr/share/gotmpns/gotmpns.toml"
)

// Load reads the configuration at path and its drop-ins; only for [DefaultPath],
// those of the vendor are read as well. The error is an [*Errors] where files have
// mistakes in them.
func Load(path string) (policy.Policy, error) {
	return loaderFor(path).load(path)
}

// Check finds what is wrong with a configuration that is not a file yet. The error is
// an [*Errors], without the name of a file.
func Check(text []byte) error {
	file, err := decodeFile("", text)
	if err != nil {
		return err
	}
	m := newMerger()
	m.add(file)
	_, err = m.merged()
	return err
}

// loader is what differs between a login and a test.
type loader struct {
	owner  uint32 // to whom files have to belong
	vendor string // the file below the first one, which may then be missing; or nothing
}

func loaderFor(path string) loader {
	if path == DefaultPath {
		return loader{owner: 0, vendor: VendorPath}
	}
	return loader{owner: 0}
}

func (l loader) load(path string) (policy.Policy, error) {
	m := newMerger()
	if err := l.addFirst(m, path); err != nil {
		return policy.Policy{}, err
	}
	files, err := l.dropIns(path)
	if err != nil {
		return policy.Policy{}, err
	}
	for _, file := range files {
		if err := l.add(m, file); err != nil {
			return policy.Policy{}, err
		}
	}
	return m.merged()
}

// addFirst reads the file at path, or else the vendor's, or neither.
func (l loader) addFirst(m *merger, path string) error {
	err := l.add(m, path)
	if l.vendor == "" || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.add(m, l.vendor); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// dropIns lists the drop-ins of the file at path and of the vendor's, in the order
// of their names. The vendor's do not count where path has one of the same name.
func (l loader) dropIns(path string) ([]string, error) {
	byName := map[string]string{}
	for _, directory := range l.directories(path) {
		names, err := l.namesIn(directory)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			byName[name] = directory + "/" + name
		}
	}
	var files []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		files = append(files, byName[name])
	}
	return files, nil
}

// directories lists where drop-ins can be, the ones that count more last.
func (l loader) directories(path string) []string {
	var directories []string
	for _, file := range []string{l.vendor, path} {
		if file != "" {
			directories = append(directories, strings.TrimSuffix(file, ".toml")+".d")
		}
	}
	return directories
}

func (l loader) add(m *merger, path string) error {
	text, err := l.read(path)
	if err != nil {
		return err
	}
	file, err := decodeFile(path, text)
	if err != nil {
		return err
	}
	m.add(file)
	return nil
}

// merger adds file to file.
type merger struct {
	policy  policy.Policy // but for the tables
	private []placed[policy.Private]
	bind    []placed[policy.Bind]
	builtIn bool // private is the built-in list
}

// placed is a table of the configuration, and where its target is written.
type placed[T any] struct {
	table T
	from  origin
}

type origin struct {
	file string
	line int
}

func newMerger() *merger {
	m := &merger{policy: policy.Default(), builtIn: true}
	for _, p := range m.policy.Private {
		m.private = append(m.private, placed[policy.Private]{table: p})
	}
	return m
}

func (m *merger) add(f *file) {
	if f.exempt != nil {
		m.policy.Exempt = *f.exempt
	}
	m.policy.ExemptView = cmp.Or(f.exemptView, m.policy.ExemptView)
	m.policy.Propagation = cmp.Or(f.propagation, m.policy.Propagation)
	m.policy.MountPoints = cmp.Or(f.mountPoints, m.policy.MountPoints)
	m.policy.Environment = cmp.Or(f.environment, m.policy.Environment)
	if f.notify != nil {
		m.policy.Notify = *f.notify
	}
	if f.hasPrivate && (m.builtIn || len(f.private) == 0) {
		m.builtIn, m.private = false, nil
	}
	if f.hasBind && len(f.bind) == 0 {
		m.bind = nil
	}
	m.private = replace(m.private, f.private, func(p policy.Private) string { return p.Target })
	m.bind = replace(m.bind, f.bind, func(b policy.Bind) string { return b.Target })
}

// replace adds the tables of a later file, and drops those of earlier files that
// have a target of one of them.
func replace[T any](earlier, later []placed[T], target func(T) string) []placed[T] {
	earlier = slices.DeleteFunc(earlier, func(e placed[T]) bool {
		return slices.ContainsFunc(later, func(l placed[T]) bool { return target(l.table) == target(e.table) })
	})
	return append(earlier, later...)
}

// merged returns the whole policy, or an [*Errors].
func (m *merger) merged() (policy.Policy, error) {
	p := m.policy
	p.Private, p.Bind = tablesOf(m.private), tablesOf(m.bind)
	return p, m.validate(p)
}

func tablesOf[T any](all []placed[T]) []T {
	var tables []T
	for _, one := range all {
		tables = append(tables, one.table)
	}
	return tables
}

// Errors lists all mistakes of the configuration.
type Errors struct{ Problems []string }

// shown bounds the text of an error, which is logged as one line.
const shown = 5

func (e *Errors) Error() string {
	if len(e.Problems) <= shown {
		return strings.Join(e.Problems, "; ")
	}
	return strings.Join(e.Problems[:shown], "; ") + fmt.Sprintf("; and %d more", len(e.Problems)-shown)
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
