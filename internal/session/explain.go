package session

import (
	"os"
	"slices"

	"gotmpns/internal/config"
	"gotmpns/internal/hostdir"
	"gotmpns/internal/instance"
	"gotmpns/internal/paths"
	"gotmpns/internal/plan"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
	"gotmpns/internal/wire"
)

// Explanation is what a login would get, and what that follows from.
type Explanation struct {
	Policy  policy.Policy
	Subject policy.Subject
	Plan    plan.Plan // empty where Err is not nil
	Err     error     // why the login would be refused
}

// Explain answers as [Host.Open] would answer a login that comes from the host, with
// the same configuration, observation and plan, but records nothing, and what it makes to
// find out whether that is possible goes at once.
// The error is about what keeps it from looking.
//
// It binds the calling goroutine to its thread and moves that into the namespace
// of pid 1 (see [view.Enter]).
func Explain(request wire.Request) (Explanation, error) {
	p, err := config.Load(request.Config)
	return explain(request, p, err)
}

// Rehearse returns the error of the first table of a policy that would refuse every login
// to which it applies, or of the first of users that would be refused; nil: there is none.
// Users matter only where a path is another one for each of them.
func Rehearse(p policy.Policy, users []wire.Request) (refusal, err error) {
	for _, table := range tables(p) {
		e, err := explain(madeUp, table, nil)
		if err != nil || e.Err != nil {
			return e.Err, err
		}
	}
	if !isVariable(p) {
		return nil, nil
	}
	for _, user := range users {
		e, err := explain(user, p, nil)
		if err != nil || e.Err != nil {
			return e.Err, err
		}
	}
	return nil, nil
}

// madeUp is a login of nobody. Its ids are usually nobody's and exist in containers with
// 65536 of them, where a file system refuses any other.
var madeUp = wire.Request{UID: 65533, GID: 65533, User: "gotmpns-check"}

// isVariable says whether a path of the policy is another one for each user.
func isVariable(p policy.Policy) bool {
	return slices.ContainsFunc(p.Private, func(private policy.Private) bool {
		return policy.IsVariable(private.Target) || policy.IsVariable(private.Base)
	}) || slices.ContainsFunc(p.Bind, func(bind policy.Bind) bool { return policy.IsVariable(bind.Target) })
}

// tables returns a policy for each table, which then is for everybody: two of them may
// exclude each other, and are for different users. Tables of outer targets come along
// where every login that gets the one gets the other: mount points are made in them.
func tables(p policy.Policy) []policy.Policy {
	one := p
	one.Exempt, one.Private, one.Bind = nil, nil, nil
	var all []policy.Policy
	for _, private := range p.Private {
		outer := outerTables(p, private.Target, private.For, private.Except)
		private.For, private.Except = nil, nil
		if !policy.IsVariable(private.Target) && !policy.IsVariable(private.Base) {
			only := one
			only.Private = append(outer, private)
			all = append(all, only)
		}
	}
	for _, bind := range p.Bind {
		outer := outerTables(p, bind.Target, bind.For, bind.Except)
		bind.For, bind.Except = nil, nil
		if !policy.IsVariable(bind.Target) {
			only := one
			only.Private, only.Bind = outer, []policy.Bind{bind}
			all = append(all, only)
		}
	}
	return all
}

// outerTables returns the tables of targets around this one that are for all logins with
// these rules.
func outerTables(p policy.Policy, target string, include, except []policy.Rule) []policy.Private {
	var outer []policy.Private
	for _, private := range p.Private {
		isForAll := (private.For == nil || slices.Equal(private.For, include)) && (private.Except == nil || slices.Equal(private.Except, except))
		if isForAll && private.Target != target && paths.IsWithin(target, private.Target) {
			private.For, private.Except = nil, nil
			outer = append(outer, private)
		}
	}
	return outer
}

// explain explains a login by a configuration, or the error of reading that.
func explain(request wire.Request, p policy.Policy, mistakes error) (Explanation, error) {
	v, err := view.Enter(os.Getpid())
	if err != nil {
		return Explanation{}, err
	}
	// sshd and cron are not in anybody's session, even if the command is.
	v.Caller, v.InHost = v.Host, true
	l := login{host: Worker(), view: v, request: request, answer: &Answer{}}
	l.answer.keep(v)
	defer l.answer.Close()
	if mistakes != nil {
		return Explanation{Err: mistakes}, nil
	}
	l.config, l.policy = p, p
	if err := l.identify(); err != nil {
		return Explanation{Policy: p, Subject: l.subject, Err: err}, nil
	}
	// The places of one who is exempt are not looked at. In the host's namespace, there is
	// nothing to return to either.
	if exempted, exempt := plan.Exempt(p, l.subject, l.unknown); exempt {
		return Explanation{Policy: p, Subject: l.subject, Plan: exempted}, nil
	}
	if l.answer.state, err = state.Look(v.Host.Root); err != nil {
		return Explanation{}, err
	}
	l.answer.keep(l.answer.state)
	facts, err := l.gather()
	if err != nil { // such as of the selection of the tables for this login
		return Explanation{Policy: p, Subject: l.subject, Err: err}, nil
	}
	facts.Cwd = plan.Cwd{Path: "/", OnHost: true}
	e := Explanation{Policy: p, Subject: l.subject}
	if e.Plan, e.Err = plan.Make(l.policy, facts); e.Err == nil {
		e.Err = l.verify(e.Plan)
	}
	return e, nil
}

// verify finds out whether the instances of a plan could be used or made.
func (l *login) verify(p plan.Plan) error {
	for _, attach := range p.Shows() {
		source, ok := attach.Source.(plan.Instance)
		if !ok {
			continue
		}
		verify := l.verifyInstance
		if l.observer.places[source.Target].facts.Missing {
			verify = l.verifyMissing
		}
		if err := verify(source.Private, l.observer.places[source.Target].host); err != nil {
			return err
		}
	}
	return nil
}

// verifyMissing is for a target that the login would create.
func (l *login) verifyMissing(private policy.Private, _ instance.Target) error {
	if private.Create == nil {
		return nil // it is made in the instance of another target
	}
	name, remove, err := hostdir.Rehearse(l.view.Host, private.Target, *private.Create, l.user())
	if err != nil {
		return err
	}
	defer remove()
	target, err := instance.OpenTarget(l.view.Host, name)
	if err != nil {
		return err
	}
	defer target.Dir.Close()
	target.Path = private.Target
	return l.verifyInstance(private, target)
}

func (l *login) verifyInstance(private policy.Private, target instance.Target) error {
	owner := l.owner(private)
	if private.Kind == policy.Tmpfs || private.Scope == policy.Session {
		owner.Session = "none/none" // made for a session, and recorded for none
	}
	if private.Kind == policy.Directory {
		return l.answer.store.Rehearse(target, private, owner)
	}
	if err := l.answer.store.CanFill(private); err != nil {
		return err
	}
	private.OnCreate = "" // nothing is run for it
	mount, err := l.answer.store.NewTmpfs(target, private, owner)
	if mount != nil {
		mount.Close()
	}
	return err
}

// SubjectOf says whom the rules of a policy take a login for.
func SubjectOf(request wire.Request, p policy.Policy) (policy.Subject, error) {
	l := login{request: request, policy: p}
	err := l.identify()
	return l.subject, err
}
