package config

import (
	"path"
	"slices"
	"strings"
	"unicode"

	"gotmpns/internal/policy"
	"gotmpns/internal/state"
)

// reader turns a document into policies and collects what is wrong with it.
type reader struct {
	path   string
	lines  lines
	errors Errors
}

func (r *reader) read(doc document) *file {
	f := &file{path: r.path}
	top := func(key string) origin { return origin{r.path, r.lines.top[key]} }
	if doc.Exempt != nil {
		rules := r.rules(top("exempt"), *doc.Exempt)
		f.exempt = &rules
	}
	f.propagation = choose(r, top("propagation"), "propagation", doc.Propagation,
		"", policy.Auto, policy.Shared, policy.Slave, policy.PropagationPrivate)
	f.environment = choose(r, top("environment"), "environment", doc.Environment,
		"", policy.Unset, policy.Set, policy.Keep)
	if doc.Private != nil {
		f.private = []policy.Private{}
	}
	for i, table := range doc.Private {
		at := func(key string) origin { return origin{r.path, r.lines.of("private", i, key)} }
		f.private = append(f.private, r.private(at, table))
		f.privateFrom = append(f.privateFrom, at("target"))
	}
	for i, table := range doc.Bind {
		at := func(key string) origin { return origin{r.path, r.lines.of("bind", i, key)} }
		f.bind = append(f.bind, r.bind(at, table))
		f.bindFrom = append(f.bindFrom, at("target"))
	}
	return f
}

// choose takes one of a few words; a missing one is the default.
func choose[T ~string](r *reader, at origin, key string, value *string, missing T, known ...T) T {
	if value == nil {
		return missing
	}
	if slices.Contains(known, T(*value)) {
		return T(*value)
	}
	words := make([]string, 0, len(known))
	for _, word := range known {
		words = append(words, string(word))
	}
	r.errors.add(at, "%s = %q is unknown: it can be %s%s", key, *value,
		strings.Join(words, ", "), didYouMean(*value, words))
	return missing
}

func (r *reader) rules(at origin, texts []string) []policy.Rule {
	rules := make([]policy.Rule, 0, len(texts))
	for _, text := range texts {
		rule, err := policy.ParseRule(text)
		if err != nil {
			r.errors.add(at, "%v", err)
		}
		rules = append(rules, rule)
	}
	return rules
}

func (r *reader) rulesOrNil(at origin, texts *[]string) []policy.Rule {
	if texts == nil {
		return nil
	}
	return r.rules(at, *texts)
}

func (r *reader) private(at func(string) origin, t privateTable) policy.Private {
	p := byDefault(t.Target)
	if why := unfitTarget(t.Target); why != "" {
		r.errors.add(at("target"), "target = %q %s", t.Target, why)
	}
	p.Kind = choose(r, at("kind"), "kind", t.Kind, p.Kind, policy.Directory, policy.Tmpfs)
	p.Scope = choose(r, at("scope"), "scope", t.Scope, p.Scope, policy.User, policy.Session)
	p.Cleanup = choose(r, at("cleanup"), "cleanup", t.Cleanup, p.Cleanup, policy.AtBoot, policy.AtLogout)
	if t.Cleanup != nil && p.Kind == policy.Tmpfs {
		r.errors.add(at("cleanup"), `cleanup is about directories, and this target has kind = "tmpfs", which is gone with the user's last process; take it out`)
	}
	p.For = r.rulesOrNil(at("for"), t.For)
	if t.Share != nil {
		p.Share = *t.Share
	}
	for _, name := range p.Share {
		if why := unfitShare(name); why != "" {
			r.errors.add(at("share"), "share has %q, which %s", name, why)
		}
	}
	r.base(at("base"), t.Base, &p)
	r.limits(at, t, &p)
	return p
}

// byDefault is what a target gets that has nothing but its name: what the
// built-in one has, but X11's sockets are in /tmp alone.
func byDefault(target string) policy.Private {
	p := policy.Default().Private[0]
	if target != p.Target {
		p.Target, p.Share = target, nil
	}
	return p
}

func (r *reader) base(at origin, base *string, p *policy.Private) {
	switch {
	case base == nil:
		return
	case p.Kind == policy.Tmpfs:
		r.errors.add(at, `base is where directories are kept, and this target has kind = "tmpfs"; take one of them out`)
	case unfitPath(*base) != "":
		r.errors.add(at, "base = %q %s", *base, unfitPath(*base))
	case isWithin(*base, p.Target):
		r.errors.add(at, "base = %q lies in its own target, where the private directory would hide it", *base)
	}
	p.Base = *base
}

func (r *reader) limits(at func(string) origin, t privateTable, p *policy.Private) {
	size, why := parseSize(t.Size)
	if why != "" {
		r.errors.add(at("size"), "size = %v %s", quoted(t.Size), why)
	}
	p.Size = size
	if t.Inodes != nil {
		if *t.Inodes < 1 {
			r.errors.add(at("inodes"), "inodes = %d is not a positive number", *t.Inodes)
		}
		p.Inodes = uint64(*t.Inodes)
	}
	if p.Kind == policy.Directory && (t.Size != nil || t.Inodes != nil) {
		r.errors.add(at("kind"), `size and inodes limit a tmpfs; this target has kind = "directory", for which file system quotas are the way`)
	}
}

func quoted(value any) any {
	if text, ok := value.(string); ok {
		return `"` + text + `"`
	}
	return value
}

func (r *reader) bind(at func(string) origin, t bindTable) policy.Bind {
	if why := unfitPath(t.Source); why != "" {
		r.errors.add(at("source"), "source = %q %s", t.Source, why)
	}
	if why := unfitTarget(t.Target); why != "" {
		r.errors.add(at("target"), "target = %q %s", t.Target, why)
	}
	return policy.Bind{
		Source: t.Source, Target: t.Target, Recursive: t.Recursive, ReadOnly: t.ReadOnly,
		For: r.rulesOrNil(at("for"), t.For),
	}
}

func unfitPath(p string) string {
	switch {
	case p == "":
		return "is missing; write an absolute path"
	case strings.ContainsFunc(p, unicode.IsControl):
		return "has a control character in it"
	case len(p) >= 4096:
		return "is longer than any path"
	case p[0] != '/':
		return "is not an absolute path"
	case path.Clean(p) != p:
		return `is not a plain path; write "` + path.Clean(p) + `"`
	}
	return ""
}

// vital are directories without which a login, or the module, does not work.
var vital = []string{"/", "/proc", "/sys", "/dev", "/run", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/var", "/home", "/root"}

func unfitTarget(p string) string {
	if why := unfitPath(p); why != "" {
		return why
	}
	if slices.Contains(vital, p) || isWithin(p, state.Path) || isWithin(p, "/proc") {
		return "cannot be hidden: no login works without it"
	}
	return ""
}

func unfitShare(name string) string {
	switch {
	case name == "" || name == ".":
		return "is no name"
	case strings.HasPrefix(name, "/"):
		return "is a path of its own; write a name below the target"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "has a control character in it"
	case path.Clean(name) != name || strings.HasPrefix(name, "../") || name == "..":
		return "is no plain name below the target"
	case strings.Contains(name, "/"):
		return "lies deeper; share the directory that it is in"
	}
	return ""
}

func isWithin(p, directory string) bool {
	return p == directory || strings.HasPrefix(p, directory+"/")
}

// check looks at what only all the files together can get wrong.
func (m *merger) check() error {
	var errors Errors
	for i, p := range m.policy.Private {
		if slices.ContainsFunc(m.policy.Private[:i], func(o policy.Private) bool { return o.Target == p.Target }) {
			errors.add(m.originOf(i), "target = %q stands here a second time", p.Target)
		}
		if p.Base != "" {
			m.checkBase(&errors, i, p)
		}
	}
	for i, b := range m.policy.Bind {
		m.checkBind(&errors, i, b)
	}
	return errors.orNil()
}

func (m *merger) checkBase(errors *Errors, i int, p policy.Private) {
	for j, other := range m.policy.Private {
		if j < i && other.Base == p.Base {
			errors.add(m.originOf(i), "base = %q is another target's already; each needs its own", p.Base)
			return
		}
		if other.Target != p.Target && isWithin(p.Base, other.Target) {
			errors.add(m.originOf(i), "base = %q lies in %s, which is private itself", p.Base, other.Target)
			return
		}
	}
}

func (m *merger) checkBind(errors *Errors, i int, b policy.Bind) {
	if slices.ContainsFunc(m.policy.Private, func(p policy.Private) bool { return p.Target == b.Target }) {
		errors.add(m.bindFrom[i], "target = %q is private already; bind something below it, or take one of the two out", b.Target)
	}
	for j, other := range m.policy.Bind[:i] {
		if other.Target == b.Target && (other.For == nil || b.For == nil || m.bindFrom[j].file != m.bindFrom[i].file) {
			errors.add(m.bindFrom[i], `target = %q stands here a second time; two need a "for" each`, b.Target)
		}
	}
}

func (m *merger) originOf(i int) origin {
	if i < len(m.privateFrom) {
		return m.privateFrom[i]
	}
	return origin{}
}
