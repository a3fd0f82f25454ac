package cleanup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/instance"
	"gotmpns/internal/policy"
)

// Refresh gives the sockets of living programs the present time, in every
// instance of kind directory.
//
// systemd-tmpfiles(8) spares a socket whose path is in /proc/net/unix, however old
// it is. In there is the path that the program has bound, /tmp/tmux-1000/default; the
// cleaner comes by the base and sees another one. So it goes by age alone, and a
// tmux that nobody looks at for ten days would lose its socket.
func (c *Cleaner) Refresh() error {
	f, err := os.Open("/proc/1/net/unix")
	if err != nil {
		return fmt.Errorf("cannot tell which sockets are in use: %w", err)
	}
	defer f.Close()
	bound := boundPaths(f)
	var errs error
	for _, private := range c.policy.Private {
		if below := within(private.Target, bound); private.Kind == policy.Directory && len(below) > 0 {
			errs = errors.Join(errs, c.refresh(private, below))
		}
	}
	return errs
}

// boundPaths reads the paths in /proc/net/unix (proc(5)): the eighth column, if
// there is one that does not begin with @, which is no file.
func boundPaths(table io.Reader) []string {
	const before = 7
	var paths []string
	for lines := bufio.NewScanner(table); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > before && strings.HasPrefix(fields[before], "/") {
			_, path, _ := strings.Cut(lines.Text(), " /") // a path may have blanks in it
			paths = append(paths, "/"+path)
		}
	}
	return paths
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

// refresh looks in every instance: which user a path in the table is of, it does
// not say.
func (c *Cleaner) refresh(private policy.Private, relative []string) error {
	place, err := instance.OpenTarget(c.view.Host, private.Target)
	if err != nil {
		return err
	}
	defer place.Dir.Close()
	return c.store.EachInUse(place, private.Base, func(inside *os.File) {
		for _, path := range relative {
			touchSocket(inside, path)
		}
	})
}

// touchSocket sets the times of a socket; what is none, or is not there, stays as
// it is. No link is followed, no mount entered.
func touchSocket(dir *os.File, path string) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(int(dir.Fd()), path, &how)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return
	}
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	// Linux 5.8; before that nothing is touched.
	_ = unix.UtimesNanoAt(fd, "", now, unix.AT_EMPTY_PATH)
}
