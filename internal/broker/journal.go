package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/journal"

	"gotmpns/internal/cleanup"
	"gotmpns/internal/config"
	"gotmpns/internal/counters"
	"gotmpns/internal/exchange"
	"gotmpns/internal/instance"
	"gotmpns/internal/plan"
	"gotmpns/internal/session"
	"gotmpns/internal/view"
	"gotmpns/internal/wire"
)

// durationsKept bounds the sample from which a summary takes its quantiles.
const durationsKept = 4096

// journal tells the service manager's journal, with fields to be searched by, or
// the standard error where there is none:
//
//	GOTMPNS_EVENT=login|refusal|cleanup|handed-over|problem|summary
//	GOTMPNS_USER, GOTMPNS_UID, GOTMPNS_SERVICE, GOTMPNS_DURATION_USEC, GOTMPNS_REASON
//	GOTMPNS_LOGINS, GOTMPNS_REFUSALS, GOTMPNS_CLEANUPS, GOTMPNS_HANDED_OVER
//
// What a login got is in the login program's own line; here a login is logged at the
// level of debugging, a refusal at that of a notice.
type journal struct {
	structured bool
	counters   *counters.Counters // since the host started; the rest is since the last summary

	mu        sync.Mutex
	logins    int
	cleanups  int
	handovers int
	refusals  map[string]int // by reason
	durations []time.Duration
	next      int // where in durations the next one goes
}

func newJournal() *journal {
	return &journal{structured: sd.Enabled(), counters: counters.Open(counters.Path), refusals: map[string]int{}}
}

func (j *journal) send(priority sd.Priority, event, message string, fields map[string]string) {
	if !j.structured {
		if priority < sd.PriDebug {
			fmt.Fprintln(os.Stderr, "gotmpns: "+message)
		}
		return
	}
	vars := map[string]string{"GOTMPNS_EVENT": event}
	for name, value := range fields {
		vars["GOTMPNS_"+name] = value
	}
	_ = sd.Send(message, priority, vars) // nothing depends on the log
}

func (j *journal) login(r wire.Request, answer *session.Answer, took time.Duration) {
	fields := map[string]string{
		"USER": r.User, "UID": strconv.FormatUint(uint64(r.UID), 10), "SERVICE": r.Service,
		"DURATION_USEC": strconv.FormatInt(took.Microseconds(), 10),
	}
	who := fmt.Sprintf("%s (uid %d) by %s", r.User, r.UID, r.Service)
	if answer.Err != nil {
		fields["REASON"] = reason(answer.Err)
		j.count(func() { j.refusals[fields["REASON"]]++ })
		j.counters.Refusal(fields["REASON"])
		j.send(sd.PriNotice, "refusal", fmt.Sprintf("%s: refused: %v", who, answer.Err), fields)
		return
	}
	j.count(func() { j.logins++; j.sample(took) })
	j.counters.Login(took)
	j.send(sd.PriDebug, "login", who, fields)
}

func (j *journal) count(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
}

func (j *journal) sample(took time.Duration) {
	if len(j.durations) < durationsKept {
		j.durations = append(j.durations, took)
		return
	}
	j.durations[j.next] = took
	j.next = (j.next + 1) % durationsKept
}

// reason is one word for counting by, one of [counters.Reasons].
func reason(err error) string {
	var mistakes *config.Errors
	var unfit *plan.Error
	var held *plan.HeldError
	switch {
	case errors.As(err, &mistakes):
		return counters.Configuration
	case errors.As(err, &unfit):
		return counters.Target
	case errors.As(err, &held):
		return counters.Process
	case errors.Is(err, exchange.ErrInternal):
		return counters.Internal
	}
	return counters.System
}

// handedOver is for a login that a worker has to be asked for instead.
func (j *journal) handedOver(err error) {
	j.count(func() { j.handovers++ })
	j.counters.HandedOver()
	priority := sd.PriNotice
	if errors.Is(err, view.ErrElsewhere) || errors.Is(err, instance.ErrConfined) {
		priority = sd.PriDebug
	}
	j.send(priority, "handed-over", fmt.Sprintf("login handed over to a worker: %v", err), nil)
}

func (j *journal) cleaned(d cleanup.Due) {
	j.count(func() { j.cleanups++ })
	j.counters.Removed()
	j.send(sd.PriInfo, "cleanup", "emptied "+d.Path, map[string]string{"UID": strconv.FormatUint(uint64(d.UID), 10)})
}

func (j *journal) problem(err error) {
	j.send(sd.PriWarning, "problem", err.Error(), nil)
}

// save writes the counters, for "gotmpns status --metrics".
func (j *journal) save() {
	if err := j.counters.Save(); err != nil {
		j.problem(err)
	}
}

// every calls a function again and again until the context ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(interval):
				do()
			}
		}
	}()
}

// summary logs what there was since the last one, if there was anything.
func (j *journal) summary() {
	j.mu.Lock()
	defer j.mu.Unlock()
	refused := 0
	var reasons []string
	for reason, n := range j.refusals {
		refused += n
		reasons = append(reasons, fmt.Sprintf("%s %d", reason, n))
	}
	if j.logins+refused+j.cleanups+j.handovers == 0 {
		return
	}
	slices.Sort(reasons)
	slices.Sort(j.durations)
	message := fmt.Sprintf("%d logins, %d refused%s, %d handed over to workers, %d instances emptied",
		j.logins, refused, brackets(strings.Join(reasons, ", ")), j.handovers, j.cleanups)
	if n := len(j.durations); n > 0 {
		message += fmt.Sprintf("; an answer took %v, and %v or less in 99 of 100 logins", j.durations[n/2], j.durations[n*99/100])
	}
	j.send(sd.PriInfo, "summary", message, map[string]string{
		"LOGINS": strconv.Itoa(j.logins), "REFUSALS": strconv.Itoa(refused),
		"CLEANUPS": strconv.Itoa(j.cleanups), "HANDED_OVER": strconv.Itoa(j.handovers),
	})
	j.logins, j.cleanups, j.handovers, j.next = 0, 0, 0, 0
	j.durations = j.durations[:0]
	clear(j.refusals)
}

func brackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
