package session

import (
	"os"
	"slices"

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
	return explain(request, func(p policy.Policy) policy.Policy { return p })
}

// ExplainAll is [Explain] for a user who does not exist and to whom every table of a
// configuration applies: what refuses this login refuses those of some users.
func ExplainAll(path string) (Explanation, error) {
	const nobody = instance.NoUID
	return explain(wire.Request{UID: nobody, GID: nobody, User: "gotmpns-check", Config: path}, forEverybody)
}

// forEverybody takes the rules out of a policy.
func forEverybody(p policy.Policy) policy.Policy {
	p.Exempt = nil
	p.Private, p.Bind = slices.Clone(p.Private), slices.Clone(p.Bind)
	for i := range p.Private {
		p.Private[i].For, p.Private[i].Except = nil, nil
	}
	for i := range p.Bind {
		p.Bind[i].For, p.Bind[i].Except = nil, nil
	}
	return p
}

func explain(request wire.Request, change func(policy.Policy) policy.Policy) (Explanation, error) {
	v, err := view.Enter(os.Getpid())
	if err != nil {
		return Explanation{}, err
	}
	// sshd and cron are not in anybody's session, whoever asks.
	v.Caller, v.InHost = v.Host, true
	l := login{host: Worker(), view: v, request: request, answer: &Answer{}}
	var facts plan.Facts
	if l.config, err = config.Load(request.Config); err != nil {
		return Explanation{Facts: facts, Err: err}, nil
	}
	l.config = change(l.config)
	l.policy = l.config
	if err := l.identify(&facts); err != nil {
		return Explanation{Policy: l.policy, Facts: facts, Err: err}, nil
	}
	if l.answer.state, err = state.Look(v.Host.Root); err != nil {
		return Explanation{}, err
	}
	if err := l.observe(&facts); err != nil {
		return Explanation{Policy: l.policy, Facts: facts, Err: err}, nil
	}
	facts.Cwd = plan.Cwd{Path: "/", OnHost: true}
	l.findJoinable(&facts)
	e := Explanation{Policy: l.policy, Facts: facts}
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
