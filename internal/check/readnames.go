package check

import (
	"errors"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gotmpns/internal/account"
	"gotmpns/internal/paths"
	"gotmpns/internal/policy"
	"gotmpns/internal/wire"
)

// readNames looks up the names in rules, and the homes below targets.
func (s *System) readNames() {
	for _, r := range rulesOf(s.Policy) {
		if !s.isKnown(r) && !slices.Contains(s.Unknown, r) {
			s.Unknown = append(s.Unknown, r)
		}
	}
	for _, a := range localAccounts() {
		if home := s.homeOf(a); home.Target != "" {
			s.Homes = append(s.Homes, home)
		}
	}
}

// rulesOf are all rules of a policy but the built-in ones.
func rulesOf(p policy.Policy) []policy.Rule {
	rules := slices.Clone(p.Exempt)
	for _, private := range p.Private {
		rules = slices.Concat(rules, private.For, private.Except)
	}
	for _, bind := range p.Bind {
		rules = slices.Concat(rules, bind.For, bind.Except)
	}
	return slices.DeleteFunc(rules, func(r policy.Rule) bool { return slices.Contains(policy.Default().Exempt, r) })
}

// isKnown says whether somebody or something has the name in a rule. An error of
// the name service is no answer, and the name counts as known.
func (s *System) isKnown(r policy.Rule) bool {
	switch kind, name := NameIn(r); kind {
	case User:
		_, err := user.Lookup(name)
		return !errors.As(err, new(user.UnknownUserError))
	case Group:
		_, err := user.LookupGroup(name)
		return !errors.As(err, new(user.UnknownGroupError))
	case Service:
		_, ok := s.Stacks[name]
		return ok
	case Shell:
		_, err := os.Stat(name)
		return err == nil
	}
	return true
}

// localAccounts reads /etc/passwd: a directory service may have millions of users.
func localAccounts() []account.Local { return account.Locals(text("/etc/passwd")) }

// people are the local users who log in; root is never refused.
func people() []wire.Request {
	var requests []wire.Request
	for _, a := range localAccounts() {
		if name := path.Base(a.Shell); a.UID != 0 && name != "nologin" && name != "false" {
			requests = append(requests, wire.Request{UID: a.UID, GID: a.GID, User: a.Name, Shell: a.Shell, Home: a.Home, Service: usualService})
		}
	}
	return requests
}

// homeOf returns the home of an account if it lies below a target that is private
// for it; otherwise, a Home without a target.
func (s *System) homeOf(a account.Local) Home {
	isHidden := func(p policy.Private) bool { return paths.IsBelow(a.Home, p.Target) }
	if !slices.ContainsFunc(s.Policy.Private, isHidden) {
		return Home{}
	}
	groups, _, err := account.Groups(a.Name, a.GID, s.Policy.GroupNames())
	if err != nil {
		return Home{}
	}
	subject := policy.Subject{User: a.Name, UID: a.UID, Shell: a.Shell, Groups: groups}
	for _, p := range s.Policy.Private {
		if isHidden(p) && isPrivateFor(s.Policy, p, subject) {
			return Home{a.Name, a.Home, p.Target}
		}
	}
	return Home{}
}

func isPrivateFor(p policy.Policy, private policy.Private, s policy.Subject) bool {
	matches := func(r policy.Rule) bool { return r.Matches(s) }
	return !slices.ContainsFunc(p.Exempt, matches) && private.IsFor(s)
}

// unitDirs are the directories of units, the ones that win last.
var unitDirs = []string{"/usr/lib/systemd/system", "/usr/local/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system"}

// readUnits reads the services through which people log in and those that open a
// PAM session, with their drop-ins.
func readUnits(p policy.Policy) map[string]Unit {
	paths := map[string]string{}
	for _, dir := range unitDirs {
		names, _ := filepath.Glob(dir + "/*.service")
		for _, name := range names {
			paths[path.Base(name)] = name
		}
	}
	units := map[string]Unit{}
	for name, file := range paths {
		unit := Unit{Path: file, Text: text(file) + dropIns(name)}
		service := last(settings(unit.Text, "PAMName"))
		if service == "" && !slices.Contains(loginUnits, name) {
			continue
		}
		unit.Exempt = service != "" && isExempt(p, service, last(settings(unit.Text, "User")))
		units[name] = unit
	}
	return units
}

// dropIns returns the text of a unit's drop-ins, in the order of their names.
func dropIns(unit string) string {
	byName := map[string]string{}
	for _, dir := range unitDirs {
		found, _ := filepath.Glob(dir + "/" + unit + ".d/*.conf")
		for _, name := range found {
			byName[path.Base(name)] = name
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	var all strings.Builder
	for _, name := range names {
		all.WriteString("\n" + text(byName[name]))
	}
	return all.String()
}

// isExempt says whether a unit's session is exempt. A user that only an instance of
// the unit names (%i) is taken for an ordinary one.
func isExempt(p policy.Policy, service, name string) bool {
	subject := policy.Subject{User: name, Service: service}
	switch u, err := user.Lookup(name); {
	case err == nil:
		if uid, err := strconv.ParseUint(u.Uid, 10, 32); err == nil {
			subject.UID = uint32(uid)
		}
	case name != "":
		const ordinary = 1000
		subject.UID = ordinary
	}
	return slices.ContainsFunc(p.Exempt, func(r policy.Rule) bool { return r.Matches(subject) })
}
