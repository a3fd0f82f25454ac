package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Many users: what a login, an administrator's command and a logout cost on a host that
// has thousands of them, and what the broker keeps.
const (
	sessionsMost  = 10000
	usersMost     = 8500 // whose sessions they are: for the broker, a hard limit of 20,000 descriptors has to do
	usersFirstUID = 20000
	usersRounds   = 60
	commandRounds = 3
	endRounds     = 60
	logoutUsers   = 400
	logoutMounts  = 1000
	logouts       = 5
	logoutWindow  = 2 * time.Second
)

func userName(i int) string { return fmt.Sprintf("bench%d", i) }

// makeUsers adds them behind all others, so that looking up alice reads none of them.
func makeUsers() error {
	f, err := os.OpenFile("/etc/passwd", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for i := range usersMost {
		fmt.Fprintf(w, "%s:x:%d:100::/:/bin/sh\n", userName(i), usersFirstUID+i)
	}
	return errors.Join(w.Flush(), f.Close())
}

// many are the processes of many sessions.
type many struct {
	process *exec.Cmd
	stdin   io.Closer
}

func (h *host) openRange(service string, from, to, users int) (m many, err error) {
	m.process = exec.Command(h.program, "-m", fmt.Sprintf("%d-%d-%d", from, to, users), stacks, service, userName(0)[:len("bench")])
	m.process.Stderr = os.Stderr
	out, err := m.process.StdoutPipe()
	if err != nil {
		return m, err
	}
	if m.stdin, err = m.process.StdinPipe(); err != nil {
		return m, err
	}
	if err := m.process.Start(); err != nil {
		return m, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return m, fmt.Errorf("%d sessions: %q: %w", to-from, line, err)
	}
	return m, nil
}

func (m many) close() error { return errors.Join(m.stdin.Close(), m.process.Wait()) }

// A populated is what was measured with so many sessions, each of another user.
type populated struct {
	sessions int
	times    map[string][]float64 // microseconds, by row
	commands map[string][]float64 // milliseconds, by command
	broker   weight
}

// populatedRows are logins, beside pam_namespace and the floor.
var populatedRows = []struct {
	title, service, user string
	options              []string
}{
	{"floor", floor, "alice", nil},
	{"pam_namespace `noinit`", noinit, "alice", nil},
	{"first login", broker, "alice", nil},
	{"su from alice's session to bob", broker, "bob", []string{"-s", "alice"}},
	{"first login, `kind = \"tmpfs\"`", tmpfs, "alice", nil},
	{"login, `scope = \"session\"`", single, "alice", nil},
}

var populatedCommands = []struct {
	title string
	args  []string
}{
	{"status", []string{"status"}},
	{"path", []string{"path", "alice"}},
	{"check", []string{"check"}},
	{"clean", []string{"clean"}},
}

func (h *host) measurePopulated() (all []populated, after weight, err error) {
	var open []many
	defer func() {
		for _, m := range open {
			err = errors.Join(err, m.close())
		}
	}()
	have := 0
	for _, n := range []int{0, sessionsMost / 10, sessionsMost} {
		fmt.Fprintf(os.Stderr, "bench: %d sessions and instances of other users\n", n)
		if n > have {
			m, err := h.openRange(broker, have, n, usersMost)
			open = append(open, m)
			if err != nil {
				return all, after, err
			}
			have = n
		}
		p, err := h.measurePopulation(n)
		if err != nil {
			return all, after, err
		}
		all = append(all, p)
	}
	for _, m := range open {
		err = errors.Join(err, m.close())
	}
	open = nil
	if err != nil {
		return all, after, err
	}
	after, err = h.settled(all[0].broker.descriptors)
	return all, after, err
}

// settled waits until the broker has let go of what has ended, for half a minute at most.
func (h *host) settled(descriptors int) (w weight, err error) {
	for range 60 {
		time.Sleep(500 * time.Millisecond)
		if w, err = h.weigh(); err != nil || w.descriptors <= descriptors+4 {
			break
		}
	}
	return w, err
}

func (h *host) measurePopulation(n int) (p populated, err error) {
	p = populated{sessions: n, times: map[string][]float64{}, commands: map[string][]float64{}}
	noinitVariant := variantOf(noinit)
	if err := noinitVariant.configure(); err != nil {
		return p, err
	}
	for round := -warmRounds; round < usersRounds; round++ {
		for _, i := range rand.Perm(len(populatedRows)) {
			row := populatedRows[i]
			time.Sleep(2 * time.Millisecond) // see login
			took, err := h.loginOf(variant{service: row.service, private: true}, row.user, row.options...)
			if err != nil {
				return p, fmt.Errorf("%s: %w", row.title, err)
			}
			if round >= 0 {
				p.times[row.title] = append(p.times[row.title], took)
			}
		}
	}
	kept, _, err := h.keep(variantOf(broker), "alice")
	if err != nil {
		return p, err
	}
	for range commandRounds {
		for _, c := range populatedCommands {
			began := time.Now()
			out, err := exec.Command(installed, c.args...).CombinedOutput()
			var status *exec.ExitError
			// check has something to say about a host without PAM stacks of ours.
			if err != nil && !(c.title == "check" && errors.As(err, &status)) {
				return p, fmt.Errorf("gotmpns %s: %w: %s", c.title, err, out)
			}
			p.commands[c.title] = append(p.commands[c.title], float64(time.Since(began).Microseconds())/1e3)
		}
	}
	p.broker, err = h.weigh()
	return p, errors.Join(err, end([]session{kept}))
}

func variantOf(service string) variant {
	for _, v := range variants {
		if v.service == service {
			return v
		}
	}
	return variant{service: service, private: true}
}

// second is what a login costs while another session of the user is open, and what the end
// of its process does.
func (h *host) measureSecond() (logins, ends map[string][]float64, err error) {
	logins, ends = map[string][]float64{}, map[string][]float64{}
	for _, v := range variants {
		if err := v.configure(); err != nil {
			return nil, nil, err
		}
		kept, _, err := h.keep(v, "alice")
		if err != nil {
			return nil, nil, err
		}
		for round := range endRounds {
			took, err := h.login(v, "alice")
			if err != nil {
				return nil, nil, err
			}
			text, err := h.run(v, "alice", "-e")
			if err != nil {
				return nil, nil, err
			}
			ended, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				return nil, nil, err
			}
			if round > 0 {
				logins[v.service] = append(logins[v.service], took)
				ends[v.service] = append(ends[v.service], ended)
			}
		}
		if err := end([]session{kept}); err != nil {
			return nil, nil, err
		}
	}
	return logins, ends, nil
}

// A loggedOut is processor time of the broker, in milliseconds: for a logout with
// cleanup = "logout", and for the login before it.
type loggedOut struct{ login, logout float64 }

// measureLogout measures it while so many users are logged in.
func (h *host) measureLogout() (median loggedOut, err error) {
	m, err := h.openRange(logout, 0, logoutUsers, logoutUsers)
	if err != nil {
		return median, err
	}
	time.Sleep(logoutWindow)
	var logins, all []float64
	for range logouts {
		var kept session
		login, err := h.processorTime(func() (err error) {
			kept, _, err = h.keep(variantOf(logout), "alice")
			return err
		})
		if err != nil {
			return median, err
		}
		idle, err := h.processorTime(func() error { return nil })
		if err != nil {
			return median, err
		}
		busy, err := h.processorTime(func() error { return end([]session{kept}) })
		if err != nil {
			return median, err
		}
		logins, all = append(logins, login-idle), append(all, busy-idle)
	}
	return loggedOut{quantile(logins, 0.5), quantile(all, 0.5)}, m.close()
}

// processorTime is what the broker uses, in milliseconds, while something is done and in
// the seconds that follow.
func (h *host) processorTime(do func() error) (float64, error) {
	before, err := h.processorNow()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	time.Sleep(logoutWindow)
	after, err := h.processorNow()
	return after - before, err
}

// processorNow is the processor time of the broker, with the threads that have ended, in
// milliseconds (clock_getcpuclockid(3)).
func (h *host) processorNow() (float64, error) {
	var now unix.Timespec
	const scheduled = 2
	err := unix.ClockGettime(int32(^h.broker.Process.Pid<<3|scheduled), &now)
	return float64(now.Nano()) / 1e6, err
}

// measureAgain is a storm in which each user logs in three times: the first session stays
// until the others have ended.
func (h *host) measureAgain(v variant) (s storm, err error) {
	if err := v.configure(); err != nil {
		return s, err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	began := time.Now()
	for client := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range stormLogins / clients / 3 {
				times, one := h.threeTimes(v, userName(i*clients+client))
				mu.Lock()
				s.times = append(s.times, times...)
				err = errors.Join(err, one)
				mu.Unlock()
				if one != nil {
					return
				}
			}
		}()
	}
	wg.Wait()
	s.perSecond = float64(len(s.times)) / time.Since(began).Seconds()
	return s, err
}

func (h *host) threeTimes(v variant, user string) (times []float64, err error) {
	kept, took, err := h.keep(v, user)
	if err != nil {
		return nil, err
	}
	times = append(times, took)
	for range 2 {
		took, one := h.loginOf(v, user)
		times, err = append(times, took), errors.Join(err, one)
	}
	return times, errors.Join(err, end([]session{kept}))
}
