package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Sessions that live at once, and what they cost the host.
const (
	crowd      = 1000
	fewer      = 100
	crowdUsers = 100 // whose sessions they are
	clients    = 8   // who log in at the same time, each one after the other
	mountsEach = 101
)

// crowded is what many living sessions of one variant cost.
type crowded struct {
	perSecond float64         // logins, by all clients together
	mount     map[int]float64 // microseconds of a mount(2) on the host, by living sessions
	memory    float64         // KiB of kernel memory for each session and its process
	copies    float64         // mounts that the kernel keeps for each session
}

// session is a login process that stays.
type session struct {
	process *exec.Cmd
	stdin   io.Closer
}

func (h *host) measureCrowd(v variant) (c crowded, err error) {
	c.mount = map[int]float64{}
	if c.mount[0], err = hostMount(); err != nil {
		return c, err
	}
	before, err := kernelMemory()
	if err != nil {
		return c, err
	}
	var open []session
	defer func() { err = errors.Join(err, end(open)) }()
	began := time.Now()
	for _, n := range []int{fewer, crowd} {
		more, err := h.openMany(v, n-len(open))
		open = append(open, more...)
		if err != nil {
			return c, err
		}
		if n == crowd {
			c.perSecond = float64(len(more)) / time.Since(began).Seconds()
		}
		if c.mount[n], err = hostMount(); err != nil {
			return c, err
		}
		began = time.Now()
	}
	after, err := kernelMemory()
	if err != nil {
		return c, err
	}
	c.memory = (after - before) / crowd
	c.copies, err = copies(open)
	return c, err
}

// copies counts the mounts in the namespaces of sessions, each namespace once, for each
// session. What else runs on the machine does not change it, as it does the memory.
func copies(open []session) (float64, error) {
	host, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return 0, err
	}
	seen, mounts := map[string]bool{host: true}, 0
	for _, s := range open {
		directory := filepath.Join("/proc", strconv.Itoa(s.process.Process.Pid))
		namespace, err := os.Readlink(directory + "/ns/mnt")
		if err != nil {
			return 0, err
		}
		if seen[namespace] {
			continue
		}
		seen[namespace] = true
		table, err := os.ReadFile(directory + "/mountinfo")
		if err != nil {
			return 0, err
		}
		mounts += strings.Count(string(table), "\n")
	}
	return float64(mounts) / float64(len(open)), nil
}

func (h *host) openMany(v variant, n int) (open []session, err error) {
	if err := v.configure(); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for client := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := client; i < n; i += clients {
				s, _, one := h.keep(v, userName(i%crowdUsers))
				mu.Lock()
				if one == nil {
					open = append(open, s)
				}
				err = errors.Join(err, one)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	return open, err
}

// keep opens a session and returns when it is open, with the microseconds that it took.
func (h *host) keep(v variant, user string) (s session, took float64, err error) {
	s.process = exec.Command(h.program, "-k", stacks, v.service, user)
	s.process.Stderr = os.Stderr
	out, err := s.process.StdoutPipe()
	if err != nil {
		return s, 0, err
	}
	if s.stdin, err = s.process.StdinPipe(); err != nil {
		return s, 0, err
	}
	if err := s.process.Start(); err != nil {
		return s, 0, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(line, &took)
	}
	if err != nil {
		return s, 0, fmt.Errorf("%s said %q: %w", v.service, line, err)
	}
	return s, took, nil
}

func end(open []session) error {
	var errs error
	for _, s := range open {
		errs = errors.Join(errs, s.stdin.Close())
	}
	for _, s := range open {
		errs = errors.Join(errs, s.process.Wait())
	}
	return errs
}

// hostMount is the median time of a mount(2), in microseconds: the kernel passes it
// on to every namespace that takes the host's mounts.
func hostMount() (float64, error) {
	point := filepath.Join(mountPoints, "timed")
	if err := os.MkdirAll(point, 0o755); err != nil {
		return 0, err
	}
	var times []float64
	for range mountsEach {
		began := time.Now()
		if err := syscall.Mount(mountSource, point, "", syscall.MS_BIND, ""); err != nil {
			return 0, err
		}
		times = append(times, float64(time.Since(began).Nanoseconds())/1e3)
		if err := syscall.Unmount(point, 0); err != nil {
			return 0, err
		}
	}
	return quantile(times, 0.5), nil
}

// kernelMemory is what the kernel has in use for objects of its own, in KiB: the caches of
// slabinfo(5) but those that it empties when it needs memory. They have what anybody has
// looked at in /proc.
func kernelMemory() (float64, error) {
	// The remains of what has ended go a moment later.
	time.Sleep(time.Second)
	text, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		return 0, err
	}
	bytes := 0
	for line := range strings.Lines(string(text)) {
		var name string
		var active, all, size int
		if n, _ := fmt.Sscan(line, &name, &active, &all, &size); n == 4 && !isReclaimed(name) {
			bytes += active * size
		}
	}
	if bytes == 0 {
		return 0, errors.New("cannot read /proc/slabinfo: no cache in it")
	}
	return float64(bytes) / 1024, nil
}

func isReclaimed(cache string) bool {
	text, err := os.ReadFile(filepath.Join("/sys/kernel/slab", cache, "reclaim_account"))
	return err == nil && strings.TrimSpace(string(text)) == "1"
}
