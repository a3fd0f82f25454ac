package state

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sweepAtMost bounds what one login does for those who are gone.
const sweepAtMost = 64

// Session is one open session. Its name is a file name, a legal value on the
// wire, and says which process opened it: a pid and the moment at which that
// process began, so that a later process of the same pid is told apart.
type Session struct {
	Name    string
	UID     uint32
	User    string
	Service string
	TTY     string
	RHost   string
	Targets []string
}

// NewName names a session that the process pid is about to open.
func (d *Dir) NewName(pid int) (string, error) {
	start, err := d.startTime(pid)
	if err != nil {
		return "", err
	}
	return strconv.Itoa(pid) + "-" + start + "-" + Random(), nil
}

// SetSession records a session.
func (d *Dir) SetSession(s Session) error {
	return d.write("sessions", s.Name, fields{
		{"UID", strconv.FormatUint(uint64(s.UID), 10)},
		{"USER", s.User},
		{"SERVICE", s.Service},
		{"TTY", s.TTY},
		{"RHOST", s.RHost},
		{"TARGETS", strings.Join(s.Targets, "\n")},
	})
}

// RemoveSession takes back a claim that came to nothing.
func (d *Dir) RemoveSession(name string) { d.remove("sessions", name) }

// Recorded is a session as its record and its login process tell of it.
type Recorded struct {
	Session
	PID   int
	Since time.Time // when it was opened: the record's own age
	Alive bool      // the process that opened it lives
}

// Sessions returns every session that has a record, the oldest first. One whose
// process has gone is over: a later login, or the clean-up, takes its record away.
func (d *Dir) Sessions() []Recorded {
	var found []Recorded
	for _, name := range d.names("sessions") {
		pid, start := split(name)
		f := d.read("sessions", name)
		if pid == 0 || f == nil {
			continue
		}
		found = append(found, Recorded{
			Session: sessionOf(name, f),
			PID:     pid,
			Since:   d.modified("sessions/" + name),
			Alive:   d.alive(pid, start),
		})
	}
	slices.SortFunc(found, func(a, b Recorded) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	return found
}

// Lives says whether the process that opened a session is still there. Whoever
// has opened something of /proc/PID asks once more: the pid may be another's.
func (d *Dir) Lives(session string) bool {
	pid, start := split(session)
	return pid != 0 && d.alive(pid, start)
}

func sessionOf(name string, f fields) Session {
	s := Session{
		Name: name, UID: uint32(f.number("UID")), User: f.get("USER"),
		Service: f.get("SERVICE"), TTY: f.get("TTY"), RHost: f.get("RHOST"),
	}
	if targets := f.get("TARGETS"); targets != "" {
		s.Targets = strings.Split(targets, "\n")
	}
	return s
}

func (d *Dir) modified(path string) time.Time {
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.dir.Fd()), path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return time.Time{}
	}
	return time.Unix(st.Mtim.Unix())
}

// PIDs returns the living login processes of a user's sessions.
func (d *Dir) PIDs(uid uint32) iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, name := range d.names("sessions") {
			pid, start := split(name)
			if pid == 0 || !d.alive(pid, start) {
				continue
			}
			f := d.read("sessions", name)
			if f.get("UID") != strconv.FormatUint(uint64(uid), 10) {
				continue
			}
			if !yield(pid) {
				return
			}
		}
	}
}

// Processes returns every process that /proc shows.
func (d *Dir) Processes() iter.Seq[int] {
	return func(yield func(int) bool) {
		proc, err := unix.Openat(int(d.proc.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		dir := os.NewFile(uintptr(proc), "/proc")
		defer dir.Close()
		names, _ := dir.Readdirnames(-1)
		for _, name := range names {
			if pid, err := strconv.Atoi(name); err == nil && !yield(pid) {
				return
			}
		}
	}
}

// SweepNowAndThen sweeps in one login of sixteen: the login process waits for it.
func (d *Dir) SweepNowAndThen() (swept bool) {
	swept = Random()[0] == '0'
	if swept {
		d.Sweep()
	}
	return swept
}

// Sweep removes records of sessions, and of the tmpfs that were theirs alone,
// whose process is gone. One pass looks at a bounded number of them, starting
// anywhere, so that a login costs the same however many live.
func (d *Dir) Sweep() { d.sweepAtMost(sweepAtMost) }

// SweepAll is [Dir.Sweep] for one who has time.
func (d *Dir) SweepAll() { d.sweepAtMost(math.MaxInt) }

func (d *Dir) sweepAtMost(n int) {
	d.sweep("sessions", n, func(name string) string { return name })
	d.sweep("tmpfs", n, func(name string) string {
		_, instance, _ := strings.Cut(name, "@")
		_, session, _ := strings.Cut(instance, ".")
		return session
	})
}

// sweep removes what sessionOf says belongs to a dead session; the empty
// string is nobody's.
func (d *Dir) sweep(directory string, most int, sessionOf func(string) string) {
	names := d.names(directory)
	if len(names) == 0 {
		return
	}
	first := 0
	if len(names) > most {
		n, _ := strconv.ParseUint(Random(), 16, 32)
		first = int(n % uint64(len(names)))
	}
	for i := range min(len(names), most) {
		name := names[(first+i)%len(names)]
		if d.isDue(directory, name, sessionOf(name)) {
			d.remove(directory, name)
		}
	}
}

func (d *Dir) isDue(directory, name, session string) bool {
	if strings.HasPrefix(name, unfinished) {
		return d.isOld(directory, name)
	}
	pid, start := split(session)
	return pid != 0 && !d.alive(pid, start)
}

// isOld says of an unfinished record whether a killed worker left it; a young
// one may be under way.
func (d *Dir) isOld(directory, name string) bool {
	const hour = 3600
	var st unix.Stat_t
	var now unix.Timespec
	if unix.Fstatat(int(d.dir.Fd()), directory+"/"+name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	if unix.ClockGettime(unix.CLOCK_REALTIME, &now) != nil {
		return false
	}
	return now.Sec-st.Mtim.Sec > hour
}

// split takes a session's name apart; pid 0 means that it is none.
func split(name string) (pid int, start string) {
	first, rest, _ := strings.Cut(name, "-")
	start, _, _ = strings.Cut(rest, "-")
	pid, err := strconv.Atoi(first)
	if err != nil || pid < 1 || start == "" {
		return 0, ""
	}
	return pid, start
}

func (d *Dir) alive(pid int, start string) bool {
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return false
	}
	now, err := d.startTime(pid)
	return err == nil && now == start
}

// startTime is field 22 of /proc/PID/stat (proc(5)), in clock ticks since boot.
func (d *Dir) startTime(pid int) (string, error) {
	path := strconv.Itoa(pid) + "/stat"
	fd, err := unix.Openat(int(d.proc.Fd()), path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("cannot open /proc/%s: %w", path, err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 4096))
	if err != nil {
		return "", fmt.Errorf("cannot read /proc/%s: %w", path, err)
	}
	return StartTimeIn(string(text))
}

// StartTimeIn returns the moment at which a process began, in clock ticks since
// boot, from what is in its /proc/PID/stat (field 22, proc(5)). It counts from the last parenthesis: a process may call itself ") 1 2".
func StartTimeIn(stat string) (string, error) {
	const field = 22 - 3 // what follows the name begins with field 3
	rest := stat[strings.LastIndexByte(stat, ')')+1:]
	words := strings.Fields(rest)
	if len(words) <= field {
		return "", fmt.Errorf("cannot find the start time in %q", stat)
	}
	return words[field], nil
}
