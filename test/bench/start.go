package main

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A starter is a way to start a program in a mount namespace of its own, with a
// tmpfs on /mnt and one program over another one.
type starter struct {
	name, title string
	command     []string
}

const (
	bare       = "bare"
	unshare    = "unshare"
	bubblewrap = "bwrap"
	ours       = "run"
)

const (
	startRounds     = 100
	startLimitRoot  = 1.0 // of bwrap's time
	startLimitPlain = 1.3
	plainUID        = 1000
	installed       = "/usr/local/bin/gotmpns"
)

// What both of the mount commands need; a plain user has to be root in a user
// namespace to be allowed to use mount(8).
const byHand = "mount -t tmpfs none /mnt && mount --bind /usr/bin/dash /usr/bin/bash && exec true"

func starters(user string) []starter {
	options := "--mount"
	if user != "root" {
		options = "--user --map-root-user --mount"
	}
	return []starter{
		{bare, "only the program", []string{"true"}},
		{unshare, "`unshare " + options + "`, sh and mount", append(append([]string{"unshare"}, strings.Fields(options)...), "sh", "-c", byHand)},
		{bubblewrap, "`bwrap`", strings.Fields("bwrap --dev-bind / / --tmpfs /mnt --bind /usr/bin/dash /usr/bin/bash true")},
		{ours, "`gotmpns run`", strings.Fields(installed + " run --tmpfs /mnt --bind /usr/bin/dash:/usr/bin/bash -- true")},
	}
}

// installCommand puts copies of the command and its programs where it looks for them.
func installCommand(build string) error {
	const programs = "/usr/local/libexec/gotmpns"
	if err := os.MkdirAll(programs, 0o755); err != nil {
		return err
	}
	for _, path := range []string{installed, programs + "/gotmpns-run", programs + "/gotmpns-full"} {
		text, err := os.ReadFile(filepath.Join(build, filepath.Base(path)))
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// measureStarts returns the microseconds from the start of each to its end, by
// user and name.
func measureStarts() (map[string]map[string][]float64, error) {
	times := map[string]map[string][]float64{}
	for user, uid := range map[string]uint32{"root": 0, "alice": plainUID} {
		times[user] = map[string][]float64{}
		all := starters(user)
		for round := -warmRounds; round < startRounds; round++ {
			for _, i := range rand.Perm(len(all)) {
				took, err := start(all[i].command, uid)
				if err != nil {
					return nil, fmt.Errorf("%s as %s: %w", all[i].name, user, err)
				}
				if round >= 0 {
					times[user][all[i].name] = append(times[user][all[i].name], took)
				}
			}
		}
	}
	return times, nil
}

func start(command []string, uid uint32) (float64, error) {
	time.Sleep(2 * time.Millisecond) // see run
	c := exec.Command(command[0], command[1:]...)
	c.Dir = "/"
	c.Stderr = os.Stderr
	if uid != 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	began := time.Now()
	err := c.Run()
	return float64(time.Since(began).Nanoseconds()) / 1e3, err
}

func (r report) writeStarts(b *strings.Builder) {
	b.WriteString("\n## Start of a command\n\nA program (`true`) in a mount namespace of its own, with a tmpfs on /mnt and dash bound over bash, from start to\n" +
		"end: microseconds, median (95th percentile); a plain user has a user namespace around it.\n\n| | root | plain user |\n|---|---:|---:|\n")
	for i, s := range starters("root") {
		title := s.title
		if s.name == unshare {
			title += "; plain user: " + starters("alice")[i].title
		}
		fmt.Fprintf(b, "| %s |", title)
		for _, user := range []string{"root", "alice"} {
			t := r.starts[user][s.name]
			fmt.Fprintf(b, " %.0f (%.0f) |", quantile(t, 0.5), quantile(t, 0.95))
		}
		b.WriteByte('\n')
	}
}

// startRatio is our median as a multiple of bwrap's.
func (r report) startRatio(user string) float64 {
	return quantile(r.starts[user][ours], 0.5) / quantile(r.starts[user][bubblewrap], 0.5)
}
