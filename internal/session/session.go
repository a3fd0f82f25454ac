// Package session puts the parts together: what one login gets.
//
//	request -> configuration -> account -> observation -> plan -> attachments -> reply
//
// Everything that can fail happens here, before the login process does
// anything; what is left to it are steps that only it can take. One goroutine,
// bound to one thread, does it all.
package session

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gotmpns/internal/account"
	"gotmpns/internal/config"
	"gotmpns/internal/instance"
	"gotmpns/internal/plan"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
	"gotmpns/internal/wire"
)

// Answer is a reply and what belongs to it.
type Answer struct {
	Reply       wire.Reply
	Attachments []*os.File // in the order of the descriptors that the steps name
	state       *state.Dir
	store       *instance.Store
}

// Hold says that the answer must not be finished before the login process is
// done with it: what it was given lives in that process alone.
func (a *Answer) Hold() bool { return a.store != nil && a.store.Hold }

// Finish does what is left when the login process has its answer.
func (a *Answer) Finish() {
	if a.store != nil {
		a.store.Close()
	}
	if a.state != nil {
		a.state.SweepNowAndThen()
	}
}

// Open answers a request of the login process pid. It never fails: a refusal
// is an answer too.
func Open(request wire.Request, pid int) *Answer {
	l := login{request: request, pid: pid, answer: &Answer{}}
	if err := l.open(); err != nil {
		l.answer.Attachments = nil
		if l.name != "" {
			l.answer.state.RemoveSession(l.name)
		}
		l.answer.Reply = refusal(err)
	}
	return l.answer
}

func refusal(err error) wire.Reply {
	status := wire.SessionErr
	if errors.Is(err, unix.ENOMEM) {
		status = wire.BufErr
	}
	return wire.Reply{Status: status, Entries: []wire.Entry{wire.Summary{Text: err.Error()}}}
}

// login is one request on its way.
type login struct {
	request  wire.Request
	pid      int
	answer   *Answer
	policy   policy.Policy
	observer observer
	name     string // of the session, once it has a record
}

func (l *login) open() error {
	// As the caller sees it, so before the view changes; none is no error.
	cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", l.pid))
	v, err := view.Enter()
	if err != nil {
		return err
	}
	if l.policy, err = config.Load(l.request.Config); err != nil {
		return err
	}
	facts := plan.Facts{
		Cwd:        cwd,
		PAMEnv:     variables(l.request.PAMEnv),
		ProcessEnv: variables(l.request.ProcessEnv),
	}
	if err := l.identify(&facts); err != nil {
		return err
	}
	if p, exempt := plan.LeftAlone(l.policy, facts); exempt {
		return l.carryOut(p)
	}
	records, err := state.Open(v.Host)
	if err != nil {
		return err
	}
	l.answer.state = records
	l.observe(v, records, &facts)
	p, err := plan.Make(l.policy, facts)
	if err != nil {
		return err
	}
	return l.carryOut(p)
}

// identify finds out whom the rules take this login for.
func (l *login) identify(facts *plan.Facts) error {
	r := l.request
	groups, unknown, err := account.Groups(r.User, r.GID, l.policy.GroupNames())
	facts.Subject = policy.Subject{
		User: r.User, UID: r.UID, Shell: r.Shell, Service: r.Service, Groups: groups,
	}
	facts.Unknown = unknown
	return err
}

func (l *login) observe(v *view.View, records *state.Dir, facts *plan.Facts) {
	l.answer.store = instance.NewStore(v, records)
	l.observer = observer{view: v, store: l.answer.store, uid: l.request.UID, places: map[string]*place{}}
	l.observer.observe(l.policy)
	facts.Places = l.observer.facts()
}

func variables(list []wire.Variable) []plan.Variable {
	converted := make([]plan.Variable, 0, len(list))
	for _, v := range list {
		converted = append(converted, plan.Variable(v))
	}
	return converted
}
