package state

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/proc"
)

// Session is one open session. Its name is that of its file below sessions/, a
// legal value on the wire, and says whose it is and which process opened it:
// UID/PID-START-RANDOM, a pid and the moment at which that process began, so that a
// later process of the same pid is another one.
type Session struct {
	Name    string
	UID     uint32
	User    string
	Service string
	TTY     string
	RHost   string
	Targets []string
	// Key is what the namespace of the session was made by, as a plan prints it; a
	// later session with the same key may join it. Empty: none may.
	Key string
	// Namespace is the number of the mount namespace that the session is to be in. The login
	// process enters it when the record is there, or not at all.
	Namespace uint64
	// Why says why the session has a namespace of its own; empty where it joined one.
	Why string
}

// Claim is the record of a session that is about to be opened, with nothing in it yet.
type Claim struct {
	Name string
	fd   int
}

// Claim makes the record of a session that the process pid is about to open: from now on
// the user has a session. The claim is the caller's to [Claim.Fill] or to close.
func (d *Dir) Claim(uid uint32, pid int) (*Claim, error) {
	start, err := proc.Began(pid)
	if err != nil {
		return nil, err
	}
	file := strconv.Itoa(pid) + "-" + start + "-" + Random()
	const tries = 8 // the broker may have just removed the empty directory
	for range tries {
		var c *Claim
		if c, err = d.claim(uidName(uid), file); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	return nil, err
}

func (d *Dir) claim(uid, file string) (*Claim, error) {
	all, made, err := makeSubdirectory(d.dir, "sessions")
	if err != nil {
		return nil, err
	}
	defer all.Close()
	if made {
		d.recordProcesses()
	}
	dir, err := subdirectory(all, uid)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd, err := unix.Openat(int(dir.Fd()), file, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot write %s/sessions/%s/%s: %w", Path, uid, file, err)
	}
	return &Claim{Name: uid + "/" + file, fd: fd}, nil
}

// Fill writes what is to be known of a claimed session, and closes the claim. The text is
// short and comes in one piece; a reader sees all of it or none.
func (c *Claim) Fill(s Session) error {
	text := format(fields{
		{"USER", s.User},
		{"SERVICE", s.Service},
		{"TTY", s.TTY},
		{"RHOST", s.RHost},
		{"TARGETS", strings.Join(s.Targets, "\n")},
		{"KEY", s.Key},
		{"NAMESPACE", strconv.FormatUint(s.Namespace, 10)},
		{"WHY", s.Why},
	})
	err := errors.Join(writeAll(c.fd, text), c.Close())
	if err != nil {
		return fmt.Errorf("cannot write %s/sessions/%s: %w", Path, c.Name, err)
	}
	return nil
}

// Close closes the claim; the record stays.
func (c *Claim) Close() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}

// RemoveSession removes a record: of a session that has ended, or of a claim that
// came to nothing.
func (d *Dir) RemoveSession(name string) { d.remove("sessions", name) }

// Recorded is a session by its record.
type Recorded struct {
	Session
	PID   int
	Start string    // when that process began (proc(5))
	Since time.Time // when it was opened: the record's own age
}

// Lives says whether the process that opened the session is still there.
func (r Recorded) Lives() bool { return proc.Is(r.PID, r.Start) }

// Living returns the sessions of one user whose login process lives, the oldest
// first.
func (d *Dir) Living(uid uint32) []Recorded {
	return living(d.of(uidName(uid)))
}

func living(all []Recorded) []Recorded {
	return slices.DeleteFunc(all, func(r Recorded) bool { return !r.Lives() })
}

// Sessions returns every session that has a record, the oldest first; many have
// ended where nobody removes them. It reads them all, which no login may.
func (d *Dir) Sessions() []Recorded {
	var found []Recorded
	for _, directory := range d.names("sessions") {
		found = append(found, d.of(directory)...)
	}
	slices.SortFunc(found, byAge)
	return found
}

// Named goes through the sessions that have a record, in no order, with what the names of
// the records say: the name, the uid and the process. It does not read the records.
func (d *Dir) Named(yield func(Recorded) bool) {
	for _, directory := range d.names("sessions") {
		for _, r := range d.named(directory) {
			if !yield(r) {
				return
			}
		}
	}
}

// named are the sessions of one user's directory, as [Dir.Named] has them.
func (d *Dir) named(directory string) []Recorded {
	uid, err := strconv.ParseUint(directory, 10, 32)
	if err != nil {
		return d.flat(directory)
	}
	var found []Recorded
	for _, file := range d.names("sessions/" + directory) {
		if pid, start := split(file); pid != 0 {
			found = append(found, Recorded{Session: Session{Name: directory + "/" + file, UID: uint32(uid)}, PID: pid, Start: start})
		}
	}
	return found
}

// Users returns the uids that have a directory of sessions.
func (d *Dir) Users() []uint32 {
	var uids []uint32
	for _, name := range d.names("sessions") {
		if uid, err := strconv.ParseUint(name, 10, 32); err == nil {
			uids = append(uids, uint32(uid))
		}
	}
	return uids
}

func byAge(a, b Recorded) int {
	return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
}

// of reads the records of one user's directory.
func (d *Dir) of(directory string) []Recorded {
	found := d.named(directory)
	for i, r := range found {
		if !strings.Contains(r.Name, "/") {
			continue // [Dir.flat] has read it
		}
		found[i].Session = sessionOf(r.Name, d.read("sessions", r.Name))
		found[i].UID = r.UID
		found[i].Since = d.modified("sessions/" + r.Name)
	}
	slices.SortFunc(found, byAge)
	return found
}

// flat reads a record as version 0.1 wrote it, beside the directories: sessions that
// were open when the package was upgraded have one.
func (d *Dir) flat(name string) []Recorded {
	pid, start := split(name)
	f := d.read("sessions", name)
	if pid == 0 || f == nil {
		return nil
	}
	r := Recorded{Session: sessionOf(name, f), PID: pid, Start: start, Since: d.modified("sessions/" + name)}
	r.UID = uint32(f.number("UID"))
	return []Recorded{r}
}

func sessionOf(name string, f fields) Session {
	s := Session{
		Name: name, User: f.get("USER"), Service: f.get("SERVICE"), TTY: f.get("TTY"), RHost: f.get("RHOST"),
		Key: f.get("KEY"), Namespace: f.number("NAMESPACE"), Why: f.get("WHY"),
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

// Sweep removes the records of sessions whose process has gone, and directories
// that are empty then. It returns the uids of those sessions. Only the broker and
// "gotmpns clean" call it.
func (d *Dir) Sweep() []uint32 {
	if d.SeesProcesses() != nil {
		return nil
	}
	ended := map[uint32]bool{}
	for r := range d.Named {
		if !r.Lives() {
			d.RemoveSession(r.Name)
			ended[r.UID] = true
		}
	}
	for _, directory := range [...]string{"bases", "tmpfs", "sessions"} {
		d.sweepUnfinished(directory)
	}
	uids := make([]uint32, 0, len(ended))
	for uid := range ended {
		uids = append(uids, uid)
	}
	return uids
}

// sweepUnfinished removes what a killed worker left half written, an hour ago.
func (d *Dir) sweepUnfinished(directory string) {
	for _, name := range d.names(directory) {
		if strings.HasPrefix(name, unfinished) && time.Since(d.modified(directory+"/"+name)) > time.Hour {
			d.remove(directory, name)
		}
	}
}

// pruneAbove is how many records a user may have before a login counts those of sessions that
// have ended.
const pruneAbove = 128

// Prune removes a user's records of sessions that have ended, where there are very many:
// a user who kills login programs (setuid ones, too) leaves a record with each, and
// every login of that user reads them all. It is for a login where no broker does it.
func (d *Dir) Prune(uid uint32) {
	recorded := d.named(uidName(uid))
	if len(recorded) <= pruneAbove || d.SeesProcesses() != nil {
		return
	}
	for _, r := range recorded {
		if !r.Lives() {
			d.RemoveSession(r.Name)
		}
	}
}

// DropUser removes the directory of a user who has no session.
func (d *Dir) DropUser(uid uint32) {
	if d.dir != nil {
		_ = unix.Unlinkat(int(d.dir.Fd()), "sessions/"+uidName(uid), unix.AT_REMOVEDIR) // ENOTEMPTY: somebody has come
	}
}

// split takes a record's file name apart; pid 0 means that it is none.
func split(name string) (pid int, start string) {
	first, rest, _ := strings.Cut(name, "-")
	start, _, _ = strings.Cut(rest, "-")
	pid, err := strconv.Atoi(first)
	if err != nil || pid < 1 || start == "" {
		return 0, ""
	}
	return pid, start
}
