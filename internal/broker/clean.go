package broker

import (
	"errors"
	"maps"
	"sync"
	"time"

	"gotmpns/internal/cleanup"
	"gotmpns/internal/config"
	"gotmpns/internal/instance"
	"gotmpns/internal/policy"
	"gotmpns/internal/registry"
	"gotmpns/internal/state"
	"gotmpns/internal/usage"
	"gotmpns/internal/view"
)

const (
	// passAtMost is how long one pass may take: a user may be filling an instance at the
	// same time, or have very many mounts.
	passAtMost = time.Minute
	// retryInterval is for instances that a process used when the last session ended.
	retryInterval = time.Minute
	// fullInterval is for what workers have left half made, and the rest of removals.
	fullInterval = time.Hour
	// refreshInterval is well below the day that the youngest file lives in any sane
	// tmpfiles.d(5).
	refreshInterval = 6 * time.Hour
)

// cleaner removes what is due, on a thread of its own: for users of whom a session has
// ended, and now and then for all.
type cleaner struct {
	journal  *journal
	cache    *config.Cache
	registry *registry.Held
	due      chan struct{} // of length 1: there are users

	mu      sync.Mutex
	configs map[string]bool // that logins were decided by
	users   map[uint32]bool // of whom a session has ended
}

func newCleaner(j *journal, cache *config.Cache, r *registry.Held) *cleaner {
	return &cleaner{journal: j, cache: cache, registry: r, due: make(chan struct{}, 1),
		configs: map[string]bool{config.DefaultPath: true}, users: map[uint32]bool{}}
}

// wake has the cleaner look soon for what a user has left.
func (c *cleaner) wake(uid uint32) {
	c.mu.Lock()
	c.users[uid] = true
	c.mu.Unlock()
	select {
	case c.due <- struct{}{}:
	default: // it will look anyhow
	}
}

// take returns the users for whom it is to be looked.
func (c *cleaner) take() map[uint32]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	users := c.users
	c.users = map[uint32]bool{}
	return users
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
	look := looker{cleaner: c, home: home, finder: finder, kept: map[uint32]bool{}}
	look.full(true)
	retry, full, refresh := time.Tick(retryInterval), time.Tick(fullInterval), time.Tick(refreshInterval)
	for {
		select {
		case <-c.due:
			began := time.Now()
			look.removing = 0
			look.users(c.take())
			time.Sleep(pauseFor(time.Since(began)-look.removing) - coalesce) // the watcher waits that long already
		case <-retry:
			kept := look.kept
			look.kept = map[uint32]bool{}
			look.users(kept)
			look.finish()
		case <-full:
			look.full(false)
		case <-refresh:
			look.full(true)
		}
	}
}

// looker is the cleaner's thread.
type looker struct {
	*cleaner
	home     *view.Resident
	finder   *usage.Finder
	kept     map[uint32]bool // whose instances a process used
	left     bool            // something took too long
	removing time.Duration   // of the latest pass: the removal itself
}

// finish goes on with what took too long.
func (l *looker) finish() {
	if !l.left {
		return
	}
	l.left = false
	l.each(func(pass *cleanup.Cleaner, _ policy.Policy) error {
		due, err := pass.Find(cleanup.Unfinished)
		if errors.Is(err, instance.ErrBusy) { // "gotmpns clean" is at it
			return nil
		}
		return errors.Join(err, l.remove(pass, due))
	})
}

func (l *looker) full(refresh bool) {
	l.each(func(pass *cleanup.Cleaner, _ policy.Policy) error {
		var err error
		if refresh {
			err = pass.Refresh()
		}
		due, one := pass.Find(cleanup.Always...)
		return errors.Join(err, one, l.remove(pass, due))
	})
}

func (l *looker) users(users map[uint32]bool) {
	if len(users) == 0 {
		return
	}
	for uid := range users {
		delete(l.kept, uid)
	}
	l.each(func(pass *cleanup.Cleaner, p policy.Policy) error {
		if !cleanup.Wanted(p) {
			return nil
		}
		due, err := pass.FindUsers(users)
		if errors.Is(err, instance.ErrBusy) { // "gotmpns clean" is at it
			maps.Copy(l.kept, users)
			return nil
		}
		return errors.Join(err, l.remove(pass, due))
	})
}

// remove notes also for whom it is to be looked again.
func (l *looker) remove(pass *cleanup.Cleaner, due []cleanup.Due) error {
	removed, err := pass.Remove(due)
	l.left = l.left || pass.Left()
	l.removing += pass.Spent()
	for _, d := range removed {
		l.journal.cleaned(d)
	}
	for _, uid := range pass.Kept() {
		l.kept[uid] = true
	}
	return err
}

// each makes one pass for every configuration.
func (l *looker) each(pass func(*cleanup.Cleaner, policy.Policy) error) {
	for _, path := range l.paths() {
		p, err := l.cache.Load(path)
		if err != nil {
			continue // logins report what is wrong with it
		}
		if err := l.pass(p, pass); err != nil {
			l.journal.problem(err)
		}
	}
}

func (l *looker) pass(p policy.Policy, pass func(*cleanup.Cleaner, policy.Policy) error) error {
	records, err := state.Open(l.home.Host().Root)
	if err != nil {
		return err
	}
	defer records.Close()
	end := time.Now().Add(passAtMost)
	cleaner, err := cleanup.New(cleanup.Options{View: l.home.View(), Records: records, Policy: p, Finder: l.finder,
		Known: l.registry.Whose, Stop: func() bool { return time.Now().After(end) }})
	if err != nil {
		return err
	}
	defer cleaner.Close()
	return pass(cleaner, p)
}
