package session

import (
	"os"

	"gotmpns/internal/config"
	"gotmpns/internal/instance"
	"gotmpns/internal/plan"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
	"gotmpns/internal/wire"
)

// Explanation is what a login would get, and what that follows from.
type Explanation struct {
	Policy policy.Policy
	Facts  plan.Facts
	Plan   plan.Plan // of Policy and Facts; empty where Err is not nil
	Err    error     // why the login would be refused
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
// to which it applies; nil: there is none. Tables with paths that differ for each user
// are left out.
func Rehearse(p policy.Policy) (refusal, err error) {
	for _, table := range tables(p) {
		e, err := explain(wire.Request{UID: instance.NoUID, GID: instance.NoUID, User: "gotmpns-check"}, table, nil)
		if err != nil || e.Err != nil {
			return e.Err, err
		}
	}
	return nil, nil
}

// tables returns a policy for each table, which then is for everybody: two of them may
// exclude each other, and are for different users.
func tables(p policy.Policy) []policy.Policy {
	one := p
	one.Exempt, one.Private, one.Bind = nil, nil, nil
	var all []policy.Policy
	for _, private := range p.Private {
		private.For, private.Except = nil, nil
		if !policy.IsVariable(private.Target) && !policy.IsVariable(private.Base) {
			only := one
			only.Private = []policy.Private{private}
			all = append(all, only)
		}
	}
	for _, bind := range p.Bind {
		bind.For, bind.Except = nil, nil
		if !policy.IsVariable(bind.Target) {
			only := one
			only.Bind = []policy.Bind{bind}
			all = append(all, only)
		}
	}
	return all
}

// explain explains a login by a configuration, or the error of reading that.
func explain(request wire.Request, p policy.Policy, mistakes error) (Explanation, error) {
	v, err := view.Enter(os.Getpid())
	if err != nil {
		return Explanation{}, err
	}
	// sshd and cron are not in anybody's session, whoever asks.
	v.Caller, v.InHost = v.Host, true
	l := login{host: Worker(), view: v, request: request, answer: &Answer{}}
	var facts plan.Facts
	if mistakes != nil {
		return Explanation{Facts: facts, Err: mistakes}, nil
	}
	l.config, l.policy = p, p
	if err := l.identify(&facts); err != nil {
		return Explanation{Policy: p, Facts: facts, Err: err}, nil
	}
	if l.answer.state, err = state.Look(v.Host.Root); err != nil {
		return Explanation{}, err
	}
	if err := l.observe(&facts); err != nil { // which selects the tables for this login
		return Explanation{Policy: p, Facts: facts, Err: err}, nil
	}
	facts.Cwd = plan.Cwd{Path: "/", OnHost: true}
	l.findJoinable(&facts)
	e := Explanation{Policy: p, Facts: facts}
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
		if l.observer.places[source.Target].facts.Missing {
			continue
		}
		if err := l.verifyInstance(source.Private); err != nil {
			return err
		}
	}
	return nil
}

func (l *login) verifyInstance(private policy.Private) error {
	if err := l.answer.store.CanFill(private); err != nil {
		return err
	}
	target := l.observer.places[private.Target].host
	owner := l.owner(private)
	if private.Kind == policy.Tmpfs || private.Scope == policy.Session {
		owner.Session = "none/none" // made for a session, and recorded for none
	}
	if private.Kind == policy.Directory {
		return l.answer.store.Rehearse(target, private.Base, owner)
	}
	private.Skeleton, private.OnCreate = "", "" // nothing is run for it
	if owner.UID == instance.NoUID {
		owner.UID, owner.GID = 0, 0 // for anybody; a tmpfs cannot belong to no user
	}
	mount, err := l.answer.store.NewTmpfs(target, private, owner)
	if mount != nil {
		mount.Close()
	}
	return err
}

// SubjectOf says whom the rules of a policy take a login for.
func SubjectOf(request wire.Request, p policy.Policy) (policy.Subject, error) {
	l := login{request: request, policy: p}
	var facts plan.Facts
	err := l.identify(&facts)
	return facts.Subject, err
}
