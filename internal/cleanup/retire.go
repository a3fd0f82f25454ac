package cleanup

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/instance"
	"gotmpns/internal/usage"
)

// lockAtMost is how long the clean-up waits for a login of the same user. What it
// cannot lock is due another time.
const lockAtMost = time.Second

// shareOfUser is how long the directories of one user may take before those of all others
// are removed. A user who has kept a descriptor can create files as fast as they are removed.
const shareOfUser = time.Second

// Remove removes what [Cleaner.Find] has found, unless somebody has come to use it
// since, and returns what it has removed.
func (c *Cleaner) Remove(due []Due) (removed []Due, err error) {
	var retired []Due
	var errs []error // joined once: each join copies the text of all earlier ones
	for _, d := range due {
		if c.Stop() {
			break
		}
		r, ok, one := c.retire(d)
		errs = append(errs, one)
		if ok {
			retired = append(retired, r)
		}
	}
	err = errors.Join(errs...)
	used, one := c.uses(retired)
	if one != nil {
		return nil, errors.Join(err, unlessStopped(one), c.giveBack(retired, nil))
	}
	err = errors.Join(err, c.giveBack(retired, used))
	unused := retired[:0]
	for i, d := range retired {
		if !used[i] {
			unused = append(unused, d)
		}
	}
	removed, c.left, one = c.removeEach(unused, shareOfUser)
	if c.SecondTimeout == 0 {
		return removed, errors.Join(err, one)
	}
	more, left, last := c.removeEach(c.left, c.SecondTimeout)
	c.left = left
	return append(removed, more...), errors.Join(err, one, last, c.tooLong())
}

// removeEach removes directories, those of each user for no longer than share; it returns
// what it has removed and what is left of that.
func (c *Cleaner) removeEach(due []Due, share time.Duration) (removed, left []Due, err error) {
	var errs []error
	spent := map[any]time.Duration{}
	for _, d := range due {
		began := time.Now()
		end := began.Add(share - spent[d.whose()])
		one := c.remove(d, func() bool { return c.Stop() || time.Now().After(end) })
		switch {
		case one == nil:
			removed = append(removed, d)
		case errors.Is(one, errStopped):
			left = append(left, d)
		default:
			errs = append(errs, one)
		}
		spent[d.whose()] += time.Since(began)
		c.spent += time.Since(began)
	}
	return removed, left, errors.Join(errs...)
}

// whose is who can make the removal of a directory take long.
func (d Due) whose() any {
	if d.UID == instance.NoUID {
		return d.Path
	}
	return d.UID
}

// tooLong is the error for what was not removed within the second timeout either.
func (c *Cleaner) tooLong() error {
	if len(c.left) == 0 || c.Stop() {
		return nil
	}
	first := c.left[0]
	return fmt.Errorf("cannot remove all of %s within %v; run \"gotmpns clean\" again, or end the program that creates files in it", first.Path, c.SecondTimeout)
}

// Left says whether directories were left because they took too long: they are due again,
// as Unfinished.
func (c *Cleaner) Left() bool { return len(c.left) > 0 }

// Spent is how long the removal itself took, without the search for processes.
func (c *Cleaner) Spent() time.Duration { return c.spent }

func unlessStopped(err error) error {
	if errors.Is(err, usage.ErrStopped) || errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// retire takes an instance out of use, unless its user has come back.
func (c *Cleaner) retire(d Due) (Due, bool, error) {
	if d.base == nil || d.entry.Kind == instance.Retired {
		return d, true, nil
	}
	unlock, err := c.lock(d)
	if err != nil {
		return d, false, err
	}
	defer unlock()
	entry, err := d.base.Retire(d.entry)
	if errors.Is(err, unix.ENOENT) {
		return d, false, nil // another clean-up was first
	}
	if err != nil {
		return d, false, err
	}
	back := c.hasSession(d)
	d.entry, d.fresh = entry, true
	if back {
		return d, false, d.base.GiveBack(entry)
	}
	return d, true, nil
}

func (c *Cleaner) lock(d Due) (unlock func(), err error) {
	if d.UID == instance.NoUID {
		return func() {}, nil // no login looks for it
	}
	return c.lockUser(d.UID)
}

// giveBack returns instances that somebody uses, all of them where used is nil.
func (c *Cleaner) giveBack(retired []Due, used []bool) error {
	var errs []error
	for i, d := range retired {
		if !d.fresh || used != nil && !used[i] {
			continue
		}
		// Without the lock, a login that is making a new one could take this for the
		// instance of another user, and set it aside.
		unlock, err := c.lock(d)
		if err == nil {
			err = d.base.GiveBack(d.entry)
			unlock()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// remove removes what nobody uses and nobody can get any more.
func (c *Cleaner) remove(d Due, stop func() bool) error {
	parent, name := d.place.Dir, d.orphan
	if d.base != nil {
		parent, name = d.base.Dir(), d.entry.Name()
		unlock, err := c.lock(d)
		if err == nil {
			d.base.Forget(d.entry)
			unlock()
		}
	}
	if err := removeTree(parent, name, stop); err != nil {
		return fmt.Errorf("%s: %w", parent.Name(), err)
	}
	return nil
}

func (c *Cleaner) lockUser(uid uint32) (unlock func(), err error) {
	unlock, err = c.Records.LockUser(uid, lockAtMost)
	if err != nil {
		return nil, fmt.Errorf("cannot clean up for uid %d: %w", uid, err)
	}
	return unlock, nil
}
