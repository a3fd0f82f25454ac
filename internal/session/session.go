// Package session puts the parts together: what one login gets.
//
//	request -> configuration -> account -> observation -> plan -> namespace -> reply
//
// Everything that can fail happens here, before the login process does anything; what
// is left to it is to enter a namespace that is finished. One goroutine, bound to one
// thread, does it all.
//
// A worker answers one request and ends; a broker answers many, and differs in its
// [Host] alone: where it looks from, how it gets the configuration, and how it knows
// the namespaces of a user's other sessions.
package session

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/account"
	"gotmpns/internal/config"
	"gotmpns/internal/instance"
	"gotmpns/internal/plan"
	"gotmpns/internal/policy"
	"gotmpns/internal/proc"
	"gotmpns/internal/registry"
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
	// Namespaces are those of a user's open sessions, the latest first; they are the
	// caller's to close. host is the host's own, which is none of them.
	Namespaces func(records *state.Dir, uid uint32, host *os.File) []*registry.Namespace
	// Confined says that this process can neither take a user's ids nor run programs:
	// what needs that is refused with [instance.ErrConfined].
	Confined bool
	// Remembers says that Namespaces knows those without an open session as well.
	Remembers bool
}

// Worker is the host of a process that answers once: it looks with its own eyes.
func Worker() Host {
	return Host{
		View:       view.Enter,
		Config:     config.Load,
		Namespaces: registry.OfRecords,
	}
}

// Answer is a reply and what belongs to it.
type Answer struct {
	Reply       wire.Reply
	Descriptors []*os.File          // that the reply names by index
	Session     string              // the name of the session's record; empty: it has none
	UID         uint32              // whose session it is
	Namespace   *registry.Namespace // that the session is in; nil: it stays where it is, or in the host's
	Err         error               // why it is a refusal

	state  *state.Dir
	store  *instance.Store
	opened []io.Closer
}

// Made says that other logins of the user wait, for a moment at most, to find what this
// one has made: [Answer.Release] lets them.
func (a *Answer) Made() bool { return a.store != nil && a.store.Locked() }

// Release lets other logins of the user go on.
func (a *Answer) Release() {
	if a.store != nil {
		a.store.Close()
	}
}

// Revoke removes the record of a session that the login process never heard of.
func (a *Answer) Revoke() {
	if a.Session != "" {
		a.state.RemoveSession(a.Session)
		a.Session = ""
	}
}

// Settle closes what was opened for the answer and is not part of it. It comes before the
// answer is sent: the program that gets it may unmount something the next moment.
func (a *Answer) Settle() {
	a.close(func(c io.Closer) bool {
		file, ok := c.(*os.File)
		return c == io.Closer(a.state) || ok && slices.Contains(a.Descriptors, file)
	})
}

// Close closes every descriptor that was opened for the answer. A worker ends instead.
func (a *Answer) Close() {
	a.Release()
	a.close(func(io.Closer) bool { return false })
}

func (a *Answer) close(keep func(io.Closer) bool) {
	kept := a.opened[:0]
	for _, c := range a.opened {
		if keep(c) {
			kept = append(kept, c)
			continue
		}
		_ = c.Close() // places and mounts: nothing is written through them
	}
	a.opened = kept
}

func (a *Answer) keep(c io.Closer) { a.opened = append(a.opened, c) }

// Open answers a request of the login process pid. It never fails: a refusal
// is an answer too.
func (h Host) Open(request wire.Request, pid int) *Answer {
	l := login{host: h, request: request, pid: pid, answer: &Answer{UID: request.UID}}
	defer func() {
		if p := recover(); p != nil { // a mistake of ours must not keep the user's lock
			l.answer.Revoke()
			l.answer.Close()
			panic(p)
		}
	}()
	if err := l.open(); err != nil {
		l.answer.Descriptors, l.answer.Namespace = nil, nil
		l.answer.Revoke()
		l.answer.Reply = refusal(err)
		l.answer.Err = err
	}
	return l.answer
}

func refusal(err error) wire.Reply {
	status := wire.SystemErr
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
	config   policy.Policy // for everybody
	policy   policy.Policy // for this login, once it has been observed
	view     *view.View
	claim    *state.Claim
	subject  policy.Subject
	unknown  []string // groups of the policy that nobody knows
	observer observer
	joinable map[string]*registry.Namespace // by the session's name
	made     map[string]bool                // targets that this login has created
}

func (l *login) open() error {
	v, err := l.host.View(l.pid)
	if err != nil {
		return err
	}
	l.view = v
	l.answer.keep(v)
	if l.config, err = l.host.Config(l.request.Config); err != nil {
		return err
	}
	l.policy = l.config
	if err := l.identify(); err != nil {
		return err
	}
	p, exempt := plan.Exempt(l.policy, l.subject, l.unknown)
	if exempt && (l.policy.ExemptView != policy.HostView || v.InHost) {
		return l.reply(p, nil)
	}
	if l.answer.state, err = state.Open(v.Host.Root); err != nil {
		return err
	}
	l.answer.keep(l.answer.state)
	// Before it looks for an instance: what removes those of users who have gone looks
	// at the records again after it has renamed one.
	if cleansUp(l.policy) && !exempt {
		if err := l.record(); err != nil {
			return err
		}
	}
	facts, err := l.gather()
	if err != nil {
		return err
	}
	return l.decide(facts)
}

// cleansUp says whether instances of a policy are removed while the host is up.
func cleansUp(p policy.Policy) bool {
	return slices.ContainsFunc(p.Private, func(private policy.Private) bool { return private.Cleanup == policy.AtLogout })
}

// identify finds out whom the rules take this login for.
func (l *login) identify() error {
	r := l.request
	groups, unknown, err := account.Groups(r.User, r.GID, l.policy.GroupNames())
	l.subject = policy.Subject{
		User: r.User, UID: r.UID, Shell: r.Shell, Service: r.Service, Groups: groups,
	}
	l.unknown = unknown
	return err
}

// record claims the session: from now on it can be found.
func (l *login) record() (err error) {
	if l.claim == nil {
		if !l.host.Remembers {
			l.answer.state.Prune(l.request.UID)
		}
		if l.claim, err = l.answer.state.Claim(l.request.UID, l.pid); err == nil {
			l.answer.Session = l.claim.Name
			l.answer.keep(l.claim)
		}
	}
	return err
}

// fill completes the record, for a session that is to be in namespace.
func (l *login) fill(p plan.Plan, namespace *os.File) error {
	id, err := proc.IdentityOf(namespace)
	if err != nil {
		return err
	}
	return l.claim.Fill(state.Session{
		User: l.request.User, Service: l.request.Service, TTY: l.request.TTY, RHost: l.request.RHost,
		Targets: p.Targets, Key: p.Key, Namespace: id.Inode, Why: p.Own,
	})
}

func variables(list []wire.Variable) []plan.Variable {
	converted := make([]plan.Variable, 0, len(list))
	for _, v := range list {
		converted = append(converted, plan.Variable(v))
	}
	return converted
}

// reply puts a plan that has been carried out into words; join is what the login process
// has to do itself, if anything.
func (l *login) reply(p plan.Plan, join *wire.Join) error {
	entries := []wire.Entry{wire.Summary{Text: p.Outcome}}
	who := fmt.Sprintf("%s (uid %d): ", l.request.User, l.request.UID)
	remarks := p.Remarks
	for _, target := range slices.Sorted(maps.Keys(l.made)) {
		remarks = append(remarks, target+" was missing on the host, and has been created")
	}
	if l.answer.store != nil {
		remarks = append(remarks, l.answer.store.Remarks...)
	}
	for _, remark := range remarks {
		entries = append(entries, wire.Log{Priority: wire.Notice, Text: who + remark})
	}
	if l.request.Debug {
		entries = append(entries, debugEntries(who, p)...)
	}
	if l.answer.Session != "" {
		entries = append(entries, wire.Record{Name: l.answer.Session})
	}
	if join != nil {
		entries = append(entries, *join)
	}
	for _, setting := range p.Env {
		entries = append(entries, wire.Env{Text: envText(setting)})
	}
	if text := l.notice(p); text != "" {
		entries = append(entries, wire.Tell{Text: text})
	}
	l.answer.Reply.Entries = entries
	return nil
}

// notice is what the user sees at their first private login since the last reboot.
func (l *login) notice(p plan.Plan) string {
	if !l.policy.Notify || len(p.Targets) == 0 {
		return ""
	}
	// Where it cannot be recorded, it is better told never than at each login.
	if first, err := l.answer.state.SetNotified(l.request.UID, l.request.User); !first || err != nil {
		return ""
	}
	return fmt.Sprintf("Private to you on this host: %s. Other users and services have their own; see \"man gotmpns\".",
		strings.Join(p.Targets, ", "))
}
