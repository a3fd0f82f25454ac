package policy

import (
	"fmt"
	"path"
	"slices"

	"gotmpns/internal/paths"
)

// Select returns p with the tables that apply to the login of s: of several
// [[private]] or [[bind]] tables for a target the first that is for s, with ~ and
// $USER replaced. An error means that the login has to be refused: a path cannot be
// expanded, or is one that no target may be, or two tables exclude each other for
// this user.
//
// Tables are compared after their paths are expanded: target = "/home/alice" comes
// before a later target = "~" in alice's logins.
func (p Policy) Select(s Subject, home string) (Policy, error) {
	private, bind := p.Private, p.Bind
	p.Private, p.Bind = nil, nil
	for _, table := range private {
		if !table.IsFor(s) {
			continue
		}
		table, err := table.expand(home, s.User)
		if err != nil {
			return Policy{}, err
		}
		if !slices.ContainsFunc(p.Private, func(o Private) bool { return o.Target == table.Target }) {
			p.Private = append(p.Private, table)
		}
	}
	for _, table := range bind {
		if !table.IsFor(s) {
			continue
		}
		table, err := table.expand(home, s.User)
		if err != nil {
			return Policy{}, err
		}
		if !slices.ContainsFunc(p.Bind, func(o Bind) bool { return o.Target == table.Target }) {
			p.Bind = append(p.Bind, table)
		}
	}
	if all := p.Conflicts(); all != nil {
		return Policy{}, fmt.Errorf("cannot use the configuration for %s: %s", quoteShort(s.User), all[0].Reason)
	}
	return p, nil
}

// IsFor says whether the table is for a login, as far as rules decide it.
func (p Private) IsFor(s Subject) bool { return isFor(p.For, p.Except, s) }

// IsFor says whether the table is for a login, as far as rules decide it.
func (b Bind) IsFor(s Subject) bool { return isFor(b.For, b.Except, s) }

func isFor(include, except []Rule, s Subject) bool {
	matches := func(r Rule) bool { return r.Matches(s) }
	return (include == nil || slices.ContainsFunc(include, matches)) && !slices.ContainsFunc(except, matches)
}

func (p Private) expand(home, user string) (Private, error) {
	target, err := Expand(p.Target, home, user)
	if err != nil {
		return Private{}, err
	}
	base, err := Expand(p.Base, home, user)
	if err != nil {
		return Private{}, err
	}
	if IsVariable(p.Target) { // others were checked with the configuration
		if why := UnfitForPrivate(target); why != "" {
			return Private{}, fmt.Errorf("cannot use %s as %s of %s: it %s", target, p.Target, quoteShort(user), why)
		}
	}
	if isInHome(p.Target) && p.Create != nil {
		create := *p.Create
		create.Owner = "$USER" // whatever is written: it is created as that user
		p.Create = &create
	}
	p.Target, p.Base = target, base
	return p, nil
}

func (b Bind) expand(home, user string) (Bind, error) {
	target, err := Expand(b.Target, home, user)
	if err != nil {
		return Bind{}, err
	}
	if IsVariable(b.Target) {
		if why := UnfitForBind(target); why != "" {
			return Bind{}, fmt.Errorf("cannot use %s as %s of %s: it %s", target, b.Target, quoteShort(user), why)
		}
	}
	b.Target = target
	return b, nil
}

// Conflict is a table that others exclude.
type Conflict struct {
	IsBind bool
	Index  int // in Private or Bind
	Reason string
}

// Conflicts finds the tables that cannot be carried out together, whatever is on
// the host. Paths are compared as they are, so what ~ and $USER lead to is found
// by [Policy.Select] only.
func (p Policy) Conflicts() []Conflict {
	var all []Conflict
	for i, table := range p.Private {
		for _, why := range []string{p.hidden(i), p.baseConflict(i), p.shareConflict(table.Target), p.bindConflict(table.Target)} {
			if why != "" {
				all = append(all, Conflict{Index: i, Reason: why})
			}
		}
	}
	for i, table := range p.Bind {
		for _, why := range []string{p.hiddenBind(i), p.shareConflict(table.Target), p.bindConflict(table.Target)} {
			if why != "" {
				all = append(all, Conflict{IsBind: true, Index: i, Reason: why})
			}
		}
	}
	return all
}

// hidden finds a table that never applies, since an earlier one is for everybody.
func (p Policy) hidden(i int) string {
	for _, earlier := range p.Private[:i] {
		if earlier.Target == p.Private[i].Target && earlier.For == nil && earlier.Except == nil {
			return duplicate(earlier.Target)
		}
	}
	return ""
}

func (p Policy) hiddenBind(i int) string {
	target := p.Bind[i].Target
	for _, earlier := range p.Bind[:i] {
		if earlier.Target == target && earlier.For == nil && earlier.Except == nil {
			return duplicate(target)
		}
	}
	if slices.ContainsFunc(p.Private, func(o Private) bool { return o.Target == target }) {
		return fmt.Sprintf("target = %q is also the target of a [[private]] table; remove one of the two, or bind something below it", target)
	}
	return ""
}

func duplicate(target string) string {
	return fmt.Sprintf(`duplicate target %q; the first table is for everybody: remove one of the two, or add "for" or "except" to the first`, target)
}

func (p Policy) baseConflict(i int) string {
	target, base := p.Private[i].Target, p.Private[i].Base
	if base == "" {
		return ""
	}
	for j, other := range p.Private {
		switch {
		case other.Target == target && !paths.IsWithin(base, target):
		case other.Target == target:
			return fmt.Sprintf("base = %q is below its own target, where the private directory would hide it", base)
		case j < i && other.Base == base:
			return fmt.Sprintf("base = %q is already the base of %s; use another one", base, other.Target)
		case paths.IsWithin(base, other.Target):
			return fmt.Sprintf("base = %q is in %s, which is private itself", base, other.Target)
		}
	}
	return ""
}

// shareConflict finds a target that is to be the host's as well, or that lies in what
// is.
func (p Policy) shareConflict(target string) string {
	for _, table := range p.Private {
		for _, name := range table.Share {
			switch shared := path.Join(table.Target, name); {
			case target == shared:
				return fmt.Sprintf("target = %q is under share of %s, too; remove one of the two", target, table.Target)
			case paths.IsWithin(target, shared):
				return fmt.Sprintf("target = %q is in %s, which is under share of %s; remove one of the two", target, shared, table.Target)
			}
		}
	}
	return ""
}

// bindConflict finds a target below that of a bind, which would hide it.
func (p Policy) bindConflict(target string) string {
	for _, table := range p.Bind {
		if paths.IsBelow(target, table.Target) {
			return fmt.Sprintf("target = %q is below %s, where %s is mounted; use another target, or remove the [[bind]] table", target, table.Target, table.Source)
		}
	}
	return ""
}
