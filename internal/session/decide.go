package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gotmpns/internal/hostdir"
	"gotmpns/internal/instance"
	"gotmpns/internal/plan"
	"gotmpns/internal/policy"
	"gotmpns/internal/registry"
	"gotmpns/internal/state"
	"gotmpns/internal/wire"
)

// decide plans and carries out. A namespace that would be joined is looked at first; one
// that does not show what it should is out of the question, and the plan is made again
// without it. Where the session would get one of its own, other logins of the user are
// asked to wait for a moment, so that they join this one.
func (l *login) decide(facts plan.Facts) error {
	p, done, err := l.tryToJoin(&facts)
	if done || err != nil {
		return err
	}
	if p.Key == "" && !sharesTmpfs(p) {
		return l.carryOut(p)
	}
	switch err := l.answer.store.Lock(l.request.UID); {
	case errors.Is(err, state.ErrBusy):
		// The other one may have been stopped by its user: this one waits no longer.
		return l.carryOut(p)
	case err != nil:
		return err
	}
	facts.Joinable = l.findJoinable()
	if p, done, err = l.tryToJoin(&facts); done || err != nil {
		return err
	}
	return l.carryOut(p)
}

// sharesTmpfs says whether a plan has a tmpfs that the user's sessions share.
func sharesTmpfs(p plan.Plan) bool {
	return slices.ContainsFunc(p.Shows(), func(attach plan.Attach) bool {
		source, ok := attach.Source.(plan.Instance)
		return ok && source.Kind == policy.Tmpfs && source.Scope == policy.User
	})
}

// findJoinable returns the namespaces that the user's other sessions have.
func (l *login) findJoinable() (joinable []plan.Namespace) {
	l.joinable = map[string]*registry.Namespace{}
	for _, n := range l.host.Namespaces(l.answer.state, l.request.UID, l.view.HostNamespace()) {
		l.answer.keep(n.File)
		l.joinable[n.Session] = n
		if n.Key != "" {
			joinable = append(joinable, plan.Namespace{Session: n.Session, PID: n.PID, Key: n.Key})
		}
	}
	return joinable
}

// tryToJoin makes the plan, and joins if that is the plan; otherwise it returns it.
func (l *login) tryToJoin(facts *plan.Facts) (p plan.Plan, done bool, err error) {
	for {
		if p, err = plan.Make(l.policy, *facts); err != nil {
			return p, false, err
		}
		made, err := l.makeTargets(p)
		if err != nil {
			return p, false, err
		}
		if made { // what was to be seen at them can be seen now
			if *facts, err = l.gather(); err != nil {
				return p, false, err
			}
			continue
		}
		join, ok := p.Way.(plan.Join)
		if !ok {
			return p, false, nil
		}
		joined, err := l.join(p, join)
		if joined || err != nil {
			return p, true, err
		}
		for i := range facts.Joinable {
			facts.Joinable[i].Unfit = facts.Joinable[i].Unfit || facts.Joinable[i].Session == join.Session
		}
	}
}

// makeTargets creates the targets that are missing on the host, if there are any.
func (l *login) makeTargets(p plan.Plan) (made bool, err error) {
	for _, step := range p.Missing {
		if l.made[step.Target] {
			return false, fmt.Errorf("cannot use %s: it was removed when it had just been created", step.Target)
		}
		if l.host.Confined && hostdir.NeedsUser(l.view.Host, step.Target) {
			return false, instance.ErrConfined
		}
		if err := hostdir.Make(l.view.Host, step.Target, step.Create, l.user()); err != nil {
			return false, err
		}
		if l.made == nil {
			l.made = map[string]bool{}
		}
		l.made[step.Target], made = true, true
	}
	return made, nil
}

// user is for whom a target is created.
func (l *login) user() hostdir.User {
	return hostdir.User{UID: l.request.UID, GID: l.request.GID, Name: l.request.User, Home: l.request.Home, LabelIn: l.observer.labelIn}
}

func envText(s plan.Setting) string {
	if s.Unset {
		return s.Name
	}
	return s.Name + "=" + s.Value
}

func debugEntries(who string, p plan.Plan) []wire.Entry {
	var entries []wire.Entry
	for line := range strings.Lines(p.String()) {
		entries = append(entries, wire.Log{Priority: wire.Debug, Text: who + strings.TrimRight(line, "\n")})
	}
	return entries
}
