package broker

import (
	"errors"
	"sync"
	"time"

	"gotmpns/internal/cleanup"
	"gotmpns/internal/config"
	"gotmpns/internal/state"
	"gotmpns/internal/usage"
	"gotmpns/internal/view"
)

// passAtMost is how long one pass may take: a user may be filling an instance at the
// same time.
const passAtMost = time.Minute

// refreshEvery is well below the day that the youngest file lives in any sane
// tmpfiles.d(5).
const refreshEvery = 6 * time.Hour

// cleaner empties what is due, one instance after the other, on a thread of its own.
type cleaner struct {
	journal *journal
	cache   *config.Cache
	due     chan struct{} // of length 1: something may be

	mu      sync.Mutex
	configs map[string]bool // that logins were decided by
}

func newCleaner(j *journal, cache *config.Cache) *cleaner {
	return &cleaner{journal: j, cache: cache, due: make(chan struct{}, 1), configs: map[string]bool{config.DefaultPath: true}}
}

// wake has the cleaner look soon.
func (c *cleaner) wake(uint32) {
	select {
	case c.due <- struct{}{}:
	default: // it will look anyhow
	}
}

// remember notes a configuration that a PAM stack names.
func (c *cleaner) remember(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.configs[path] = true
}

func (c *cleaner) paths() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var paths []string
	for path := range c.configs {
		paths = append(paths, path)
	}
	return paths
}

func (c *cleaner) run() error {
	home, err := view.Settle()
	if err != nil {
		return err
	}
	finder, err := usage.New()
	if err != nil {
		return err
	}
	var refreshed time.Time
	for range c.due { // once a minute at the least: the watcher looks around
		refresh := time.Since(refreshed) > refreshEvery
		if refresh {
			refreshed = time.Now()
		}
		for _, path := range c.paths() {
			if err := c.look(home, finder, path, refresh); err != nil {
				c.journal.problem(err)
			}
		}
	}
	return nil
}

// look does what a configuration asks for.
func (c *cleaner) look(home *view.Resident, finder *usage.Finder, path string, refresh bool) error {
	p, err := c.cache.Load(path)
	if err != nil {
		return nil // logins say what is wrong with it
	}
	records, err := state.Open(home.Host().Root)
	if err != nil {
		return err
	}
	defer records.Close()
	end := time.Now().Add(passAtMost)
	pass, err := cleanup.New(cleanup.Options{View: home.View(), Records: records, Policy: p, Finder: finder,
		Stop: func() bool { return time.Now().After(end) }})
	if err != nil {
		return err
	}
	defer pass.Close()
	if refresh {
		err = pass.Refresh()
	}
	due, one := pass.Find(cleanup.Always...)
	err = errors.Join(err, one)
	removed, one := pass.Remove(due)
	for _, d := range removed {
		c.journal.cleaned(d)
	}
	return errors.Join(err, one)
}
