package cleanup

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/instance"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/paths"
	"gotmpns/internal/policy"
	"gotmpns/internal/usage"
)

// Refresh sets the times of what the age-based cleaner must not remove, in every
// instance of kind directory, to the present.
//
// systemd-tmpfiles(8) spares a socket whose path is in /proc/net/unix, however old
// it is. That is the path which the program has bound, such as /tmp/tmux-1000/default;
// the cleaner reaches it through the base and sees another one. So it goes by age alone, and a
// tmux that nobody looks at for ten days would lose its socket.
//
// It spares mount points, too. Where a user has mounted something in an instance, such
// as a FUSE file system, the mount is in the session alone: the cleaner sees an old empty
// directory, and what is mounted on it would go with it.
func (c *Cleaner) Refresh() error {
	sockets, errs := boundPaths()
	mounted := c.mountPoints()
	for _, private := range c.Policy.Private {
		if private.Kind == policy.Directory && !policy.IsVariable(private.Target) && !policy.IsVariable(private.Base) {
			errs = errors.Join(errs, c.refresh(private, sockets, mounted))
		}
	}
	return errs
}

// pointsAtMost bounds how many mount points of one user are refreshed: there can be
// 100,000 of them.
const pointsAtMost = 1000

// mountPoints returns the mount points below the targets that each user's sessions
// see. Sessions of one namespace see the same.
func (c *Cleaner) mountPoints() map[uint32][]string {
	points := map[uint32][]string{}
	seen := map[uint64]bool{}
	for _, session := range c.Records.Sessions() {
		if c.Stop() {
			break
		}
		var st unix.Stat_t
		if !session.Lives() || unix.Stat("/proc/"+strconv.Itoa(session.PID)+"/ns/mnt", &st) != nil || seen[st.Ino] {
			continue
		}
		seen[st.Ino] = true
		// A process that has ended since has no mounts to be kept.
		_ = usage.EachMountPoint(session.PID, func(path string) {
			if c.isBelowTarget(path) && len(points[session.UID]) < pointsAtMost {
				points[session.UID] = append(points[session.UID], path)
			}
		})
	}
	return points
}

func (c *Cleaner) isBelowTarget(path string) bool {
	for _, private := range c.Policy.Private {
		if paths.IsBelow(path, private.Target) {
			return true
		}
	}
	return false
}

// within returns what is below a target, by its path there.
func within(target string, paths []string) []string {
	var below []string
	for _, path := range paths {
		if relative, ok := strings.CutPrefix(path, target+"/"); ok {
			below = append(below, relative)
		}
	}
	return below
}

func (c *Cleaner) refresh(private policy.Private, sockets, mounted map[uint32][]string) error {
	place, err := instance.OpenTarget(c.View.Host, private.Target)
	if err != nil {
		return err
	}
	defer place.Dir.Close()
	anybodys := within(private.Target, sockets[anyUID])
	return c.store.EachInUse(place, private.Base, func(owner instance.Owner, inside *os.File) {
		if c.Stop() {
			return
		}
		for _, path := range append(within(private.Target, sockets[owner.UID]), anybodys...) {
			touch(inside, path, isSocket)
		}
		for _, path := range within(private.Target, mounted[owner.UID]) {
			touch(inside, path, isAny)
		}
	})
}

func isSocket(st unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFSOCK }

func isAny(unix.Stat_t) bool { return true }

// touch sets the times of a file that is of the right kind; one that is not there is
// no error. No link is followed, no mount entered.
func touch(dir *os.File, path string, is func(unix.Stat_t) bool) {
	file, err := mountfd.OpenOnMount(dir, path, unix.O_PATH)
	if err != nil {
		return
	}
	defer file.Close()
	fd := int(file.Fd())
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || !is(st) {
		return
	}
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	// Linux 5.8; before that nothing is touched.
	_ = unix.UtimesNanoAt(fd, "", now, unix.AT_EMPTY_PATH)
}
