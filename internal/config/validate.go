package config

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"unicode"

	"gotmpns/internal/policy"
)

// reader turns a document into policies and collects what is wrong with it.
type reader struct {
	path   string
	errors Errors
}

func (r *reader) errorf(line int, format string, args ...any) {
	r.errors.add(origin{r.path, line}, format, args...)
}

func (r *reader) read(doc document) *file {
	f := &file{path: r.path, hasPrivate: doc.Private.isSet, hasBind: doc.Bind.isSet}
	if doc.Exempt.isSet() {
		rules := r.rules(doc.Exempt.value)
		f.exempt = &rules
	}
	f.exemptView = choose(r, "exempt_view", doc.ExemptView, "", policy.CallerView, policy.HostView)
	f.propagation = choose(r, "propagation", doc.Propagation,
		"", policy.Auto, policy.Shared, policy.Slave, policy.PropagationPrivate)
	f.mountPoints = choose(r, "mount_points", doc.MountPoints, "", policy.LeaveMountPoints, policy.MakeMountPoints)
	f.environment = choose(r, "environment", doc.Environment, "", policy.Unset, policy.Set, policy.Keep)
	for i, table := range doc.Private.all {
		header := doc.Private.lines[i]
		from := origin{r.path, cmp.Or(table.Target.line, header)}
		f.private = append(f.private, placed[policy.Private]{r.private(header, table), from})
	}
	for i, table := range doc.Bind.all {
		header := doc.Bind.lines[i]
		from := origin{r.path, cmp.Or(table.Target.line, header)}
		f.bind = append(f.bind, placed[policy.Bind]{r.bind(header, table), from})
	}
	return f
}

// choose takes one of a few words; a missing one is the default.
func choose[T ~string](r *reader, key string, s setting[string], missing T, known ...T) T {
	if !s.isSet() {
		return missing
	}
	if slices.Contains(known, T(s.value)) {
		return T(s.value)
	}
	words := make([]string, 0, len(known))
	for _, word := range known {
		words = append(words, string(word))
	}
	r.errorf(s.line, "%s = %q is not valid; valid values are %s%s", key, s.value,
		strings.Join(words, ", "), didYouMean(s.value, words))
	return missing
}

func (r *reader) rules(texts []value) []policy.Rule {
	rules := make([]policy.Rule, 0, len(texts))
	for _, text := range texts {
		rule, err := policy.ParseRule(text.text)
		if err != nil {
			r.errorf(text.line, "%v", err)
		}
		rules = append(rules, rule)
	}
	return rules
}

func (r *reader) rulesOrNil(s setting[[]value]) []policy.Rule {
	if !s.isSet() {
		return nil
	}
	return r.rules(s.value)
}

func (r *reader) private(header int, t privateTable) policy.Private {
	p := byDefault(t.Target.value)
	r.target(header, t.Target, policy.UnfitForPrivate)
	p.Kind = choose(r, "kind", t.Kind, p.Kind, policy.Directory, policy.Tmpfs)
	p.Scope = choose(r, "scope", t.Scope, p.Scope, policy.User, policy.Session)
	p.Cleanup = choose(r, "cleanup", t.Cleanup, p.Cleanup, policy.AtBoot, policy.AtLogout)
	if t.Cleanup.isSet() && p.Kind == policy.Tmpfs {
		r.errorf(t.Cleanup.line, `cleanup applies to directories, and this target has kind = "tmpfs", which is gone with the user's last process; remove it`)
	}
	p.For = r.rulesOrNil(t.For)
	r.share(t.Share, &p)
	r.base(t.Base, &p)
	r.limits(t, &p)
	return p
}

// target checks the target of a table; header is the line that a missing one is
// reported for.
func (r *reader) target(header int, target setting[string], unfit func(string) string) {
	if !target.isSet() {
		r.errorf(header, "target is missing; add target = \"/PATH\"")
		return
	}
	if why := cmp.Or(unfitPath(target.value), unfit(target.value)); why != "" {
		r.errorf(target.line, "target = %q %s", target.value, why)
	}
}

// byDefault is a target that has nothing but its name: as the built-in one, but the
// sockets of X11 are in /tmp alone.
func byDefault(target string) policy.Private {
	p := policy.Default().Private[0]
	if target != p.Target {
		p.Target, p.Share = target, nil
	}
	return p
}

func (r *reader) share(names setting[[]value], p *policy.Private) {
	if !names.isSet() {
		return
	}
	p.Share = make([]string, 0, len(names.value))
	for _, name := range names.value {
		if why := unfitShare(name.text); why != "" {
			r.errorf(name.line, "share has %q, which %s", name.text, why)
		}
		p.Share = append(p.Share, name.text)
	}
}

func (r *reader) base(base setting[string], p *policy.Private) {
	switch {
	case !base.isSet():
		return
	case p.Kind == policy.Tmpfs:
		r.errorf(base.line, `base is where directories are kept, and this target has kind = "tmpfs"; remove one of the two`)
	case unfitPath(base.value) != "":
		r.errorf(base.line, "base = %q %s", base.value, unfitPath(base.value))
	case policy.IsBelow(base.value, p.Target):
		r.errorf(base.line, "base = %q is below its own target, where the private directory would hide it", base.value)
	}
	p.Base = base.value
}

// mostInodes is the largest nr_inodes that tmpfs takes: it counts 1 KiB for each.
const mostInodes = uint64(math.MaxUint) / 1024

func (r *reader) limits(t privateTable, p *policy.Private) {
	if t.Size.isSet() {
		size, why := parseSize(t.Size.value)
		if why != "" {
			r.errorf(t.Size.line, "size = %s %s", t.Size.value.source(), why)
		}
		p.Size = size
	}
	if t.Inodes.isSet() {
		r.inodes(t.Inodes, p)
	}
	if p.Kind == policy.Directory && (t.Size.isSet() || t.Inodes.isSet()) {
		r.errorf(cmp.Or(t.Size.line, t.Inodes.line),
			`size and inodes limit a tmpfs, and this target has kind = "directory"; use quotas of the file system instead`)
	}
}

func (r *reader) inodes(s setting[int64], p *policy.Private) {
	least := int64(2 + len(p.Share)) // the directory itself, what is shared, and one file
	switch {
	case s.value < 0:
		r.errorf(s.line, "inodes = %d is not a positive number", s.value)
	case s.value == 0:
		r.errorf(s.line, "inodes must not be zero")
	case s.value < least:
		r.errorf(s.line, "inodes = %d is too small; it must be at least %d", s.value, least)
	case uint64(s.value) > mostInodes:
		r.errorf(s.line, "inodes = %d is too large; it must be at most %d", s.value, mostInodes)
	}
	p.Inodes = uint64(s.value)
}

func (r *reader) bind(header int, t bindTable) policy.Bind {
	if !t.Source.isSet() {
		r.errorf(header, "source is missing; add source = \"/PATH\"")
	} else if why := unfitPath(t.Source.value); why != "" {
		r.errorf(t.Source.line, "source = %q %s", t.Source.value, why)
	}
	r.target(header, t.Target, policy.UnfitForBind)
	return policy.Bind{
		Source: t.Source.value, Target: t.Target.value, Recursive: t.Recursive.value, ReadOnly: t.ReadOnly.value,
		For: r.rulesOrNil(t.For),
	}
}

func unfitPath(p string) string {
	switch {
	case p == "":
		return "is empty; write an absolute path"
	case strings.ContainsFunc(p, unicode.IsControl):
		return "contains a control character"
	case len(p) >= 4096:
		return "is longer than any path"
	case p[0] != '/':
		return "is not an absolute path"
	case path.Clean(p) != p:
		return fmt.Sprintf("is not a clean path; write %q", path.Clean(p))
	}
	return ""
}

func unfitShare(name string) string {
	switch {
	case name == "" || name == ".":
		return "is not a name"
	case strings.HasPrefix(name, "/"):
		return "is an absolute path; write a name below the target"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "contains a control character"
	case path.Clean(name) != name || strings.HasPrefix(name, "../") || name == "..":
		return "is not a simple name"
	case strings.Contains(name, "/"):
		return "is deeper than the target; share the directory that it is in"
	case len(name) > 255:
		return "is longer than any name"
	}
	return ""
}

// validate finds what is wrong with all the files together.
func (m *merger) validate() error {
	var errors Errors
	for i, p := range m.private {
		if slices.ContainsFunc(m.private[:i], func(o placed[policy.Private]) bool { return o.table.Target == p.table.Target }) {
			errors.add(p.from, "duplicate target %q", p.table.Target)
		}
		m.validateBase(&errors, i, p)
		m.validateShare(&errors, p)
	}
	for i, b := range m.bind {
		m.validateBind(&errors, i, b)
	}
	return errors.orNil()
}

func (m *merger) validateBase(errors *Errors, i int, p placed[policy.Private]) {
	base := p.table.Base
	if base == "" {
		return
	}
	for j, other := range m.private {
		if j < i && other.table.Base == base {
			errors.add(p.from, "base = %q is already the base of %s; use another one", base, other.table.Target)
			return
		}
		if other.table.Target != p.table.Target && policy.IsBelow(base, other.table.Target) {
			errors.add(p.from, "base = %q is in %s, which is private itself", base, other.table.Target)
			return
		}
	}
}

// validateShare finds a name that is to be the host's and private at once, and
// reports it where the private one is.
func (m *merger) validateShare(errors *Errors, p placed[policy.Private]) {
	for _, name := range p.table.Share {
		inside := path.Join(p.table.Target, name)
		report := func(from origin) {
			errors.add(from, "target = %q is under share of %s, too; remove one of the two", inside, p.table.Target)
		}
		for _, other := range m.private {
			if other.table.Target == inside {
				report(other.from)
			}
		}
		for _, other := range m.bind {
			if other.table.Target == inside {
				report(other.from)
			}
		}
	}
}

func (m *merger) validateBind(errors *Errors, i int, b placed[policy.Bind]) {
	target := b.table.Target
	if m.isPrivate(target) {
		errors.add(b.from, "target = %q is also the target of a [[private]] table; remove one of the two, or bind something below it", target)
	}
	for _, other := range m.bind[:i] {
		if other.table.Target == target && (other.table.For == nil || b.table.For == nil) {
			errors.add(b.from, `duplicate target %q; add a "for" to each of the two`, target)
		}
	}
}

func (m *merger) isPrivate(target string) bool {
	return slices.ContainsFunc(m.private, func(p placed[policy.Private]) bool { return p.table.Target == target })
}
