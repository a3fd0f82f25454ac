package config

import (
	"cmp"
	"strings"

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
	f.exemptView = chooseWord(r, "exempt_view", doc.ExemptView, "", policy.CallerView, policy.HostView)
	f.propagation = chooseWord(r, "propagation", doc.Propagation,
		"", policy.Auto, policy.Shared, policy.Slave, policy.PropagationPrivate)
	f.mountPoints = chooseWord(r, "mount_points", doc.MountPoints, "", policy.LeaveMountPoints, policy.MakeMountPoints)
	f.environment = chooseWord(r, "environment", doc.Environment, "", policy.Unset, policy.Set, policy.Keep)
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

func (r *reader) private(header int, t privateTable) policy.Private {
	p := byDefault(t.Target.value)
	r.target(header, t.Target, policy.UnfitForPrivate)
	p.Kind = chooseWord(r, "kind", t.Kind, p.Kind, policy.Directory, policy.Tmpfs)
	p.Scope = chooseWord(r, "scope", t.Scope, p.Scope, policy.User, policy.Session)
	p.Cleanup = chooseWord(r, "cleanup", t.Cleanup, p.Cleanup, policy.AtBoot, policy.AtLogout)
	p.By = chooseWord(r, "by", t.By, p.By, policy.ByUser, policy.ByLevel, policy.ByContext)
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

// byDefault is a target that has nothing but its name: as the built-in one, but the
// sockets of X11 are in /tmp alone.
func byDefault(target string) policy.Private {
	p := policy.Default().Private[0]
	if target != p.Target {
		p.Target, p.Share = target, nil
	}
	return p
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

// validate finds what is wrong with all the files together.
func (m *merger) validate(p policy.Policy) error {
	var errors Errors
	for _, c := range p.Conflicts() {
		if c.IsBind {
			errors.add(m.bind[c.Index].from, "%s", c.Reason)
		} else {
			errors.add(m.private[c.Index].from, "%s", c.Reason)
		}
	}
	return errors.orNil()
}
