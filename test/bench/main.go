// Command bench compares what open_session costs with this module, with
// pam_namespace, and with the least that it could cost; and the start of a command
// with gotmpns run, unshare and bwrap. `make bench` runs it in a disposable root
// (test/root/enter), for it mounts thousands of directories and writes
// pam_namespace's configuration.
//
// Every sample is a process of its own (c/host.c). The variants take turns, in
// another order each round, so that what disturbs the machine disturbs them all.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A size is a number of mounts on the host, and how many samples it takes for
// the medians to come out alike in the next run. More mounts: dearer samples.
type size struct{ mounts, rounds int }

const (
	warmRounds = 3 // not counted: the first login makes the directories
	// How many users take turns, so that nobody's last session is still there.
	turns          = 40
	leftoverRounds = 25
)

func main() {
	output := flag.String("o", "", "also write the report to `FILE`")
	ssh := flag.Bool("ssh", false, "only the part for which a whole system is needed (test/host/boot)")
	include := flag.String("include", "", "a `FILE` with that part, to be put into the report")
	sessions := flag.Int("sessions", -1, "measure nothing: open so many sessions, run the command that follows, and end")
	mounts := flag.Int("mounts", 0, "… on a host with so many mounts")
	service := flag.String("service", broker, "… by the PAM service `NAME`")
	flag.Parse()
	var err error
	if *sessions >= 0 {
		err = runBeside(*sessions, *mounts, *service, flag.Args())
	} else {
		err = run(*output, *include, *ssh)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(output, include string, ssh bool) error {
	if os.Getenv("GOTMPNS_DISPOSABLE") != "1" {
		return fmt.Errorf("this changes the machine; run it by \"make bench\", in a disposable root")
	}
	if ssh {
		text, err := benchSSH()
		if err != nil {
			return err
		}
		return os.WriteFile(output, []byte(text), 0o644)
	}
	h, err := newHost()
	if err != nil {
		return err
	}
	r, load := report{machine: describeMachine()}, loadAverage()
	if r.before, err = h.weigh(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "bench: %d starts of each kind\n", startRounds)
	if err := installCommand(filepath.Dir(h.program)); err != nil {
		return err
	}
	if r.starts, err = measureStarts(); err != nil {
		return err
	}
	if r.populated, r.deserted, err = h.measurePopulated(); err != nil {
		return err
	}
	for _, s := range []size{{20, 150}, {1000, 80}, {5000, 80}} {
		fmt.Fprintf(os.Stderr, "bench: %d mounts, %d logins of each kind\n", s.mounts, s.rounds)
		mounts, err := h.addMounts(s.mounts)
		if err != nil {
			return err
		}
		c := column{mounts: mounts, rounds: s.rounds}
		if c.times, err = h.measure(s.rounds, r.columns == nil); err != nil {
			return err
		}
		if c.second, c.ends, err = h.measureSecond(); err != nil {
			return err
		}
		r.columns = append(r.columns, c)
		if s.mounts == logoutMounts {
			if r.logout, err = h.measureLogout(); err != nil {
				return err
			}
		}
		if r.left == nil {
			if r.left, err = h.leftovers(leftoverRounds); err != nil {
				return err
			}
			if r.crowded, err = h.crowds(); err != nil {
				return err
			}
			if r.storms, err = h.storms(func(v variant) (storm, error) { return h.measureStorm(v, stormLogins) }); err != nil {
				return err
			}
			if r.again, err = h.storms(h.measureAgain); err != nil {
				return err
			}
		}
	}
	time.Sleep(2 * time.Second) // it handles sessions that have ended in a moment
	if r.after, err = h.weigh(); err != nil {
		return err
	}
	if include != "" {
		part, err := os.ReadFile(include)
		if err != nil {
			return err
		}
		r.ssh = string(part)
	}
	r.machine = append(r.machine, fmt.Sprintf("| load average when it began, and when it ended | %s; %s |", load, loadAverage()))
	text := r.String()
	fmt.Print(text)
	if output == "" {
		return nil
	}
	plot := strings.TrimSuffix(output, ".md") + ".svg"
	return errors.Join(os.WriteFile(output, []byte(text), 0o644), os.WriteFile(plot, []byte(r.plot()), 0o644))
}

// runBeside runs a command, for a profile of it or of the broker, while so many sessions
// are open. In its environment, BROKER is the pid of the broker.
func runBeside(sessions, mounts int, service string, command []string) error {
	if os.Getenv("GOTMPNS_DISPOSABLE") != "1" || len(command) == 0 {
		return fmt.Errorf("run it in a disposable root (test/root/enter), with a command")
	}
	h, err := newHost()
	if err != nil {
		return err
	}
	if _, err := h.addMounts(mounts); err != nil {
		return err
	}
	if sessions > 0 {
		m, err := h.openRange(service, 0, sessions, usersMost)
		if err != nil {
			return err
		}
		defer m.close()
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), fmt.Sprintf("BROKER=%d", h.broker.Process.Pid))
	return cmd.Run()
}

// measure returns the microseconds of every first login, by variant; fresh says that the
// users have no directories yet.
func (h *host) measure(rounds int, fresh bool) (map[string][]float64, error) {
	times, warm := map[string][]float64{}, warmRounds
	if fresh {
		warm = turns
	}
	for round := -warm; round < rounds; round++ {
		for _, i := range rand.Perm(len(variants)) {
			took, err := h.login(variants[i], userName((round+turns)%turns))
			if err != nil {
				return nil, err
			}
			if round >= 0 {
				times[variants[i].service] = append(times[variants[i].service], took)
			}
		}
	}
	return times, nil
}

func (h *host) leftovers(rounds int) (map[string]leftover, error) {
	left := map[string]leftover{}
	for _, v := range variants {
		var all []leftover
		for range rounds {
			l, err := h.leftover(v)
			if err != nil {
				return nil, err
			}
			all = append(all, l)
		}
		left[v.service] = worst(all)
	}
	return left, nil
}

func (h *host) crowds() (map[string]crowded, error) {
	all := map[string]crowded{}
	for _, v := range variants {
		fmt.Fprintf(os.Stderr, "bench: %d living sessions of %s\n", crowd, v.title)
		c, err := h.measureCrowd(v)
		if err != nil {
			return nil, err
		}
		all[v.service] = c
	}
	return all, nil
}

func (h *host) storms(measure func(variant) (storm, error)) (map[string]storm, error) {
	all := map[string]storm{}
	for _, v := range variants {
		fmt.Fprintf(os.Stderr, "bench: a storm of %d logins by %s\n", stormLogins, v.title)
		s, err := measure(v)
		if err != nil {
			return nil, err
		}
		all[v.service] = s
	}
	return all, nil
}
