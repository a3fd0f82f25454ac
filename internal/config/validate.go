package config

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
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
	if doc.Notify.isSet() {
		f.notify = &doc.Notify.value
	}
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
	p.By = choose(r, "by", t.By, p.By, policy.ByUser, policy.ByLevel, policy.ByContext)
	p.Shared, p.RequireSELinux = t.Shared.value, t.RequireSELinux.value
	p.For, p.Except = r.rulesOrNil(t.For), r.rulesOrNil(t.Except)
	p.Options = r.options(t.Options)
	p.Skeleton, p.OnCreate = r.plainPath("skeleton", t.Skeleton), r.plainPath("on_create", t.OnCreate)
	r.share(t.Share, &p)
	r.base(t.Base, &p)
	r.create(t.Create, &p)
	r.limits(t, &p)
	r.combinations(t, p)
	return p
}

// combinations refuses keys that have no effect beside others of the same table.
func (r *reader) combinations(t privateTable, p policy.Private) {
	isSELinux := p.By != policy.ByUser
	if p.Kind == policy.Tmpfs {
		r.without(t.Cleanup.line, `cleanup applies to directories, and this target has kind = "tmpfs", which is gone with the user's last process; remove it`)
		r.without(t.Base.line, `base is where directories are kept, and this target has kind = "tmpfs"; remove one of the two`)
	} else {
		r.without(cmp.Or(t.Size.line, t.Inodes.line), `size and inodes limit a tmpfs, and this target has kind = "directory"; use quotas of the file system instead`)
		r.without(t.Mode.line, `mode is that of a tmpfs, and this target has kind = "directory", which has the mode of the target; remove one of the two`)
	}
	if isSELinux && (p.Kind == policy.Tmpfs || p.Scope == policy.Session) {
		r.errorf(t.By.line, `by = %q selects directories that several sessions see; use kind = "directory" and scope = "user"`, p.By)
	}
	if !isSELinux {
		r.without(t.Shared.line, `shared needs by = "level" or by = "context"`)
		r.without(t.RequireSELinux.line, `require_selinux needs by = "level" or by = "context"`)
	}
	isInHome := strings.HasPrefix(t.Target.value, "~") && policy.IsVariable(t.Target.value)
	if isInHome && p.Kind == policy.Directory && !t.Base.isSet() {
		r.errorf(t.Target.line, "base is missing: what is in %q belongs to the user, so the directories must be kept elsewhere; add base = \"/PATH\"", t.Target.value)
	}
}

// without reports a key that is set, on its line, although it has no effect.
func (r *reader) without(line int, what string) {
	if line > 0 {
		r.errorf(line, "%s", what)
	}
}

// target checks the target of a table; header is the line that a missing one is
// reported for.
func (r *reader) target(header int, target setting[string], unfit func(string) string) {
	if !target.isSet() {
		r.errorf(header, "target is missing; add target = \"/PATH\"")
		return
	}
	why := unfitVariable(target.value)
	if why == "" {
		expanded := example(target.value)
		why = cmp.Or(unfitPath(expanded), unfit(expanded))
	}
	if why != "" {
		r.errorf(target.line, "target = %q %s", target.value, why)
	}
}

// example is a target or base as it is for somebody.
func example(p string) string {
	expanded, err := policy.Expand(p, "/home/user", "user")
	if err != nil { // it cannot be, for this user
		return p
	}
	return expanded
}

// unfitVariable says why what looks like a variable part of a path is none.
func unfitVariable(p string) string {
	rest := strings.ReplaceAll(strings.TrimPrefix(p, "~"), "$USER", "")
	switch {
	case strings.HasPrefix(p, "$HOME") || strings.HasPrefix(p, "${HOME}"):
		return "is not a path; write ~ for the home directory"
	case strings.HasPrefix(p, "~") && p != "~" && p[1] != '/':
		return "is not a path; only ~ and ~/… are replaced by the home directory of the user who logs in"
	case strings.Contains(rest, "$") || strings.Contains(p, "$USER") && !policy.IsVariable(p):
		return "contains a $; only $USER is replaced, by the login name"
	case policy.IsVariable(p) && path.Clean(p) != p:
		return fmt.Sprintf("is not a clean path; write %q", path.Clean(p))
	case strings.Contains(p, "%{"):
		return "contains %{; write $USER for the login name"
	}
	return ""
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
	if !base.isSet() {
		return
	}
	p.Base = base.value
	why := unfitVariable(base.value)
	if why == "" {
		why = unfitPath(example(base.value))
	}
	if strings.HasPrefix(base.value, "~") {
		why = "is in the home directory, where the user could replace it; write an absolute path"
	}
	if why != "" {
		r.errorf(base.line, "base = %q %s", base.value, why)
	}
}

// plainPath takes an absolute path that is the same for everybody.
func (r *reader) plainPath(key string, s setting[string]) string {
	if !s.isSet() {
		return ""
	}
	if why := unfitPath(s.value); why != "" {
		r.errorf(s.line, "%s = %q %s", key, s.value, why)
	}
	return s.value
}

func (r *reader) options(words setting[[]value]) policy.Options {
	var options policy.Options
	known := map[string]*bool{"nosuid": &options.NoSUID, "nodev": &options.NoDev, "noexec": &options.NoExec}
	for _, word := range words.value {
		option, ok := known[word.text]
		if !ok {
			valid := []string{"nosuid", "nodev", "noexec"}
			r.errorf(word.line, "options has %q, which is not valid; valid options are %s%s", word.text,
				strings.Join(valid, ", "), didYouMean(word.text, valid))
			continue
		}
		*option = true
	}
	return options
}

func (r *reader) create(s setting[createTable], p *policy.Private) {
	if !s.isSet() {
		return
	}
	t := s.value
	p.Create = &policy.Create{Mode: 0o755, Owner: "root", Group: t.Group.value}
	if t.Mode.isSet() {
		p.Create.Mode = r.mode(t.Mode)
	}
	if t.Owner.isSet() {
		p.Create.Owner = t.Owner.value
		r.account("owner", t.Owner, t.Owner.value == "$USER")
	}
	if t.Group.isSet() {
		r.account("group", t.Group, false)
	}
}

// account checks a name of the passwd or group database as far as its text goes.
func (r *reader) account(key string, s setting[string], ok bool) {
	name := s.value
	if !ok && (name == "" || strings.Trim(name, "0123456789") == "" || strings.ContainsAny(name, "$@%:/,") || strings.ContainsFunc(name, unicode.IsControl)) {
		r.errorf(s.line, "%s = %q is not valid; write a name, as in %s = \"root\"", key, name, key)
	}
}

// mode reads permissions in octal; 0 is an error.
func (r *reader) mode(s setting[string]) uint32 {
	n, err := strconv.ParseUint(s.value, 8, 32)
	if err != nil || n == 0 || n > 0o7777 || strings.Trim(s.value, "01234567") != "" {
		r.errorf(s.line, "mode = %q is not valid; write it in octal, as in mode = \"1777\"", s.value)
	}
	return uint32(n)
}

// mostInodes is the largest nr_inodes that tmpfs takes: it counts 1 KiB for each.
const mostInodes = uint64(math.MaxUint) / 1024

func (r *reader) limits(t privateTable, p *policy.Private) {
	if t.Size.isSet() {
		var why string
		if p.Size, p.Percent, why = parseSize(t.Size.value); why != "" {
			r.errorf(t.Size.line, "size = %s %s", t.Size.value.source(), why)
		}
	}
	if t.Inodes.isSet() {
		r.inodes(t.Inodes, p)
	}
	if t.Mode.isSet() {
		p.Mode = r.mode(t.Mode)
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
		Options: r.options(t.Options), For: r.rulesOrNil(t.For), Except: r.rulesOrNil(t.Except),
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
func (m *merger) validate(p policy.Policy) error {
	var errors Errors
	conflicts := append(p.Conflicts(), unsupportedTwice(p)...)
	for _, c := range conflicts {
		if c.IsBind {
			errors.add(m.bind[c.Index].from, "%s", c.Reason)
		} else {
			errors.add(m.private[c.Index].from, "%s", c.Reason)
		}
	}
	return errors.orNil()
}

// severalTables is what [policy.Unsupported] calls several tables for one target.
const severalTables = "several tables for one target"

// unsupportedTwice finds targets that several tables have in turn, if this version
// does not choose between them.
func unsupportedTwice(p policy.Policy) []policy.Conflict {
	var all []policy.Conflict
	for i, table := range p.Private {
		isTwice := slices.ContainsFunc(p.Private[:i], func(o policy.Private) bool {
			return o.Target == table.Target && (o.For != nil || o.Except != nil)
		})
		if isTwice && policy.IsUnsupported("private", severalTables, "") {
			all = append(all, policy.Conflict{Index: i, Reason: severalTables + " are not supported by this version"})
		}
	}
	for i, table := range p.Bind {
		isTwice := slices.ContainsFunc(p.Bind[:i], func(o policy.Bind) bool { return o.Target == table.Target && o.For != nil })
		if isTwice && table.For == nil && policy.IsUnsupported("bind", severalTables, "") {
			all = append(all, policy.Conflict{IsBind: true, Index: i, Reason: fmt.Sprintf(`duplicate target %q; add a "for" to each of the two`, table.Target)})
		}
	}
	return all
}
