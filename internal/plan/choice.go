package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gotmpns/internal/paths"
	"gotmpns/internal/policy"
)

// choice is what of a policy concerns one login.
type choice struct {
	private []policy.Private // to be attached, outer ones first
	bind    []policy.Bind
	detach  []string // to be detached before
	places  map[string]Place
	policy  policy.Policy
}

func chooseTables(p policy.Policy, f Facts) choice {
	c := choice{places: f.Places, policy: p}
	for _, private := range p.Private {
		if private.IsFor(f.Subject) {
			c.private = append(c.private, private)
		}
	}
	for _, bind := range p.Bind {
		if bind.IsFor(f.Subject) {
			c.bind = append(c.bind, bind)
		}
	}
	// Also of tables that are for other users: the login process may have theirs.
	for _, target := range slices.Sorted(maps.Keys(f.Places)) {
		if f.Places[target].isOccupied() {
			c.detach = append(c.detach, target)
		}
	}
	slices.SortStableFunc(c.private, func(a, b policy.Private) int { return depth(a.Target) - depth(b.Target) })
	slices.SortStableFunc(c.bind, func(a, b policy.Bind) int { return depth(a.Target) - depth(b.Target) })
	return c
}

// isOccupied says that the login process has an instance there, or a configured bind.
func (p Place) isOccupied() bool {
	for _, source := range p.Sources {
		if source.InPlace {
			return true
		}
	}
	return p.Caller != Host
}

func depth(path string) int { return strings.Count(path, "/") }

func (c choice) sourceOf(bind policy.Bind) Source { return c.places[bind.Target].Sources[bind.Source] }

// isInPlace says that the caller already has all that the user should have and
// nothing that he should not: the user's own session, or a rule for nobody here.
func (c choice) isInPlace() bool {
	for _, private := range c.private {
		if c.places[private.Target].Caller != Own {
			return false
		}
	}
	for _, bind := range c.bind {
		if !c.sourceOf(bind).InPlace {
			return false
		}
	}
	return len(c.detach) == len(c.targets())
}

func (c choice) targets() []string {
	var targets []string
	for _, private := range c.private {
		targets = append(targets, private.Target)
	}
	for _, bind := range c.bind {
		targets = append(targets, bind.Target)
	}
	return targets
}

// hides returns the target that path is, or lies below, in or before the session.
func (c choice) hides(path string) string {
	for _, target := range slices.Concat(c.targets(), c.detach) {
		if paths.IsWithin(path, target) {
			return target
		}
	}
	return ""
}

func (c choice) outcome(done []string) string {
	switch {
	case len(c.targets()) == 0 && len(c.detach) == 0:
		return "skipped: no private directories are configured for this user"
	case len(c.targets()) == 0:
		return "using the host's " + strings.Join(c.detach, ", ")
	case done == nil:
		return "private already: " + strings.Join(c.targets(), ", ")
	}
	return "private " + strings.Join(done, ", ")
}

// roots are the targets that do not lie inside another private one, where the
// mount point is the instance's and private by itself.
func (c choice) roots() []string {
	var roots []string
	for _, target := range c.targets() {
		if innermostTarget(target, c.private) == "" {
			roots = append(roots, target)
		}
	}
	return roots
}

func (c choice) check(mode policy.Propagation) error {
	for _, private := range c.private {
		place := c.places[private.Target]
		switch {
		case place.Err != nil: // also inside another target: the host's is the pattern
			return &Error{private.Target, place.Err.Error()}
		case !place.Directory:
			return &Error{private.Target, "it is not a directory"}
		}
	}
	for _, bind := range c.bind {
		if err := c.checkBind(bind); err != nil {
			return err
		}
	}
	if mode == policy.Shared {
		for _, target := range c.roots() {
			if place := c.places[target]; !place.MountPoint && !c.canBecomeMountPoint(place) {
				return &Error{target, `it is not a mount point of its own, and with propagation = "shared" ` +
					`the host would see the private directory; mount a file system there, or set propagation = "auto"`}
			}
		}
	}
	return nil
}

// canBecomeMountPoint says whether a target is made a mount point on the host. Where others
// than root can move it they could have one made there at each login, each with the earlier
// ones below it, until the host has no room for another mount.
func (c choice) canBecomeMountPoint(place Place) bool {
	return c.policy.MountPoints == policy.MakeMountPoints && place.Directory && !place.MountPoint && !place.Movable
}

func (c choice) checkBind(bind policy.Bind) error {
	place, source := c.places[bind.Target], c.sourceOf(bind)
	inside := innermostTarget(bind.Target, c.private) != ""
	switch {
	case source.Err != nil:
		return &Error{bind.Target, fmt.Sprintf("its source: %v", source.Err)}
	case place.Err != nil && !inside:
		return &Error{bind.Target, place.Err.Error()}
	case place.Err == nil && !inside && place.Directory != source.Directory:
		return &Error{bind.Target, fmt.Sprintf("it is %s and its source %s is %s",
			kindOf(place.Directory), bind.Source, kindOf(source.Directory))}
	}
	return nil
}

func kindOf(directory bool) string {
	if directory {
		return "a directory"
	}
	return "a file"
}
