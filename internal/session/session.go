// Package session puts the parts together: what one login gets.
//
//	request -> configuration -> account -> observation -> plan -> attachments -> reply
//
// Everything that can fail happens here, before the login process does
// anything; what is left to it are steps that only it can take. One goroutine,
// bound to one thread, does it all.
//
// A worker answers one request and ends; a broker answers many, and differs in
// its [Host] alone: where it looks from, and how it comes by the configuration.
package session

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/account"
	"gotmpns/internal/cleanup"
	"gotmpns/internal/config"
	"gotmpns/internal/instance"
	"gotmpns/internal/plan"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
	"gotmpns/internal/wire"
)

// Host is what a login is decided with.
type Host struct {
	// View is for the login process pid; it is bound to the calling thread.
	View func(pid int) (*view.View, error)
	// Config reads the configuration at path.
	Config func(path string) (policy.Policy, error)
}

// Worker is the host of a process that answers once: it looks with its own eyes.
func Worker() Host {
	return Host{
		View:   func(int) (*view.View, error) { return view.Enter() },
		Config: config.Load,
	}
}

// Answer is a reply and what belongs to it.
type Answer struct {
	Reply       wire.Reply
	Attachments []*os.File // in the order of the descriptors that the steps name
	Session     string     // the name of the session's record; empty: it has none
	Err         error      // why it is a refusal

	view   *view.View
	policy policy.Policy
	state  *state.Dir
	store  *instance.Store
	opened []io.Closer
}

// sweepFor is how long a login may wait for the files of others to be removed.
const sweepFor = 20 * time.Millisecond

// Hold says that the answer must not be finished before the login process is
// done with it: what it was given lives in that process alone.
func (a *Answer) Hold() bool { return a.store != nil && a.store.Hold }

// Finish lets others make what this login has made. A worker, which is about to
// end, does what is due for others as well: see [Answer.Sweep].
func (a *Answer) Finish() {
	if a.store != nil {
		a.store.Close()
	}
}

// Sweep takes away, now and then, what the dead have left: their records, and in a
// moment's time what of their files is due.
func (a *Answer) Sweep() {
	if a.state == nil || !a.state.SweepNowAndThen() || !cleanup.Wanted(a.policy) {
		return
	}
	end := time.Now().Add(sweepFor)
	stop := func() bool { return time.Now().After(end) }
	pass := cleanup.New(a.view, a.state, a.policy)
	due, _ := pass.Find() // what cannot be done here is told by who has it as a task
	for _, d := range due {
		if stop() {
			return
		}
		_, _ = pass.Empty(d, stop)
	}
}

// TakeBack removes the record of a session that the login process never heard of.
func (a *Answer) TakeBack() {
	if a.Session != "" {
		a.state.RemoveSession(a.Session)
	}
}

// Close closes every descriptor that was opened for the answer, the attachments
// among them. A worker ends instead.
func (a *Answer) Close() {
	for _, c := range a.opened {
		_ = c.Close() // places and mounts: nothing is written through them
	}
	a.opened = nil
}

func (a *Answer) keep(c io.Closer) { a.opened = append(a.opened, c) }

// Open answers a request of the login process pid. It never fails: a refusal
// is an answer too.
func (h Host) Open(request wire.Request, pid int) *Answer {
	l := login{host: h, request: request, pid: pid, answer: &Answer{}}
	if err := l.open(); err != nil {
		l.answer.Attachments = nil
		l.answer.TakeBack()
		l.answer.Session = ""
		l.answer.Reply = refusal(err)
		l.answer.Err = err
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
	host     Host
	request  wire.Request
	pid      int
	answer   *Answer
	policy   policy.Policy
	observer observer
}

func (l *login) open() error {
	// As the caller sees it, so before the view changes; none is no error.
	cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", l.pid))
	v, err := l.host.View(l.pid)
	if err != nil {
		return err
	}
	l.answer.keep(v)
	if l.policy, err = l.host.Config(l.request.Config); err != nil {
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
	l.answer.keep(records)
	l.answer.state, l.answer.view, l.answer.policy = records, v, l.policy
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
	l.observer = observer{view: v, store: l.answer.store, uid: l.request.UID, places: map[string]*place{}, keep: l.answer.keep}
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
