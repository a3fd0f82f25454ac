package session

import (
	"os"

	"gotmpns/internal/config"
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
// the same configuration, observation and plan, but makes and records nothing.
// The error is about what keeps it from looking.
//
// It binds the calling goroutine to its thread and moves that into the namespace
// of pid 1 (see [view.Enter]).
func Explain(request wire.Request) (Explanation, error) {
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

// verify looks whether the instances of a plan could be used as they are.
func (l *login) verify(p plan.Plan) error {
	for _, attach := range p.Shows() {
		// One of a session alone, or in memory, is made for it.
		source, ok := attach.Source.(plan.Instance)
		if !ok || source.Kind != policy.Directory || source.Scope != policy.User {
			continue
		}
		if l.observer.places[source.Target].facts.Missing {
			continue
		}
		dir, err := l.answer.store.Existing(l.observer.places[source.Target].host, source.Base, l.owner(source.Private))
		if err != nil {
			return err
		}
		if dir != nil {
			dir.Close()
		}
	}
	return nil
}

// SubjectOf says whom the rules of a policy take a login for.
func SubjectOf(request wire.Request, p policy.Policy) (policy.Subject, error) {
	l := login{request: request, policy: p}
	var facts plan.Facts
	err := l.identify(&facts)
	return facts.Subject, err
}
