package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	stormLogins = 3000
	stormUsers  = 1000  // who take turns
	niceness    = "-10" // as gotmpns.service has it
)

// startBroker starts "gotmpns serve".
func (h *host) startBroker(program string) (err error) {
	h.broker, err = serve("/run/gotmpns/broker.sock", program, "serve")
	return err
}

// startServer starts what answers the floor.
func startServer(socket, program string, args ...string) error {
	_, err := serve(socket, program, args...)
	return err
}

// serve starts a server, which ends with this process (disposable roots end with their
// command), and waits until it listens. Its first process is the server itself.
func serve(socket, program string, args ...string) (*exec.Cmd, error) {
	server := exec.Command("nice", append([]string{"-n", niceness, program}, args...)...)
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		return nil, err
	}
	for range 500 {
		if _, err := os.Stat(socket); err == nil {
			return server, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("%s does not listen", program)
}

// weight is what the broker takes up.
type weight struct{ memory, threads, descriptors int } // memory in KiB

func (h *host) weigh() (w weight, err error) {
	proc := filepath.Join("/proc", strconv.Itoa(h.broker.Process.Pid))
	if w.memory, err = strconv.Atoi(strings.Fields(valueIn(proc+"/status", "VmRSS", ":"))[0]); err != nil {
		return w, err
	}
	if w.threads, err = strconv.Atoi(valueIn(proc+"/status", "Threads", ":")); err != nil {
		return w, err
	}
	fds, err := os.ReadDir(proc + "/fd")
	w.descriptors = len(fds)
	return w, err
}

// storm is many logins by several clients at once.
type storm struct {
	times     []float64 // microseconds of open_session
	perSecond float64
}

func (h *host) measureStorm(v variant, logins int) (s storm, err error) {
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
			for i := range logins / clients {
				took, one := h.loginOf(v, userName((i*clients+client)%stormUsers))
				mu.Lock()
				s.times = append(s.times, took)
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

func (r report) writeStorm(b *strings.Builder) {
	fmt.Fprintf(b, "\n## A storm\n\n%d clients, who log in and out as fast as they can, %d logins of each kind by %d users in turn; microseconds of open_session.\n",
		clients, stormLogins, stormUsers)
	writeStormTable(b, r.storms)
	fmt.Fprintf(b, "\nThe same, where each user logs in three times; the first session stays until the others have ended:\n")
	writeStormTable(b, r.again)
	fmt.Fprintf(b, "\nThe broker, before all of this and after: %d KiB resident, %d threads, %d descriptors; "+
		"%d KiB, %d threads, %d descriptors.\n",
		r.before.memory, r.before.threads, r.before.descriptors, r.after.memory, r.after.threads, r.after.descriptors)
}

func writeStormTable(b *strings.Builder, storms map[string]storm) {
	b.WriteString("\n| | median | 95th percentile | 99th percentile | logins per second |\n|---|---:|---:|---:|---:|\n")
	for _, v := range variants {
		s := storms[v.service]
		fmt.Fprintf(b, "| %s | %.0f | %.0f | %.0f | %.0f |\n", v.title,
			quantile(s.times, 0.5), quantile(s.times, 0.95), quantile(s.times, 0.99), s.perSecond)
	}
}
