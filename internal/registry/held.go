package registry

import (
	"os"
	"slices"
	"sync"
	"time"
	"unique"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/proc"
	"gotmpns/internal/state"
)

// Held keeps the namespaces of all users with open sessions. It may be used by several
// threads.
type Held struct {
	mu      sync.Mutex
	users   map[uint32]*held  // the latest one of each
	numbers map[uint64]uint32 // whose a namespace is, by its inode
	looked  time.Duration     // of the thread that calls Release
}

// held is a namespace and what keeps it here. There are thousands, so it is small: a
// plain descriptor, and a key that all with the same one share.
type held struct {
	id       mountfd.ID
	key      unique.Handle[string]
	made     string    // the name of the session that it was made for
	others   []string  // further sessions that have not ended
	resident *resident // a process that is in it though no session is
	older    *held     // of the same user
	fd, pid  int32
	uid      uint32
	lives    bool // the session that it was made for has not ended
}

// duplicate returns another descriptor of the namespace: what is held may be closed at
// any moment.
func (n *held) duplicate() (*Namespace, error) {
	file, err := duplicate(int(n.fd), "a held namespace")
	if err != nil {
		return nil, err
	}
	return &Namespace{Session: n.made, PID: int(n.pid), Key: n.key.Value(), File: file, id: n.id}, nil
}

func (n *held) close() error { return unix.Close(int(n.fd)) }

func (n *held) add(session string) {
	switch {
	case session == n.made:
		n.lives = true
	case !slices.Contains(n.others, session):
		n.others = append(n.others, session)
	}
}

func (n *held) end(session string) {
	if session == n.made {
		n.lives = false
	}
	n.others = slices.DeleteFunc(n.others, func(name string) bool { return name == session })
}

func (n *held) hasSession() bool { return n.lives || len(n.others) > 0 }

// resident is a process that stayed when the last session ended, such as tmux.
type resident struct{ pid, pidfd int }

// NewHeld returns a registry that holds nothing.
func NewHeld() *Held { return &Held{users: map[uint32]*held{}, numbers: map[uint64]uint32{}} }

// all goes through what is held, by user and the latest first.
func (h *Held) all(yield func(*held) bool) {
	for _, latest := range h.users {
		for n := latest; n != nil; n = n.older {
			if !yield(n) {
				return
			}
		}
	}
}

// Whose says whose namespace has a number, of those that are held now.
func (h *Held) Whose(number uint64) (uid uint32, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	uid, ok = h.numbers[number]
	return uid, ok
}

// Of returns the namespaces of a user, the latest first; they are the caller's to
// close. Where none is held, those are found that workers have made since: by the
// user's records. They are not held because of that: nobody would report their end.
func (h *Held) Of(records *state.Dir, uid uint32, host *os.File) []*Namespace {
	if found := h.of(uid); len(found) > 0 {
		return found
	}
	return OfRecords(records, uid, host)
}

func (h *Held) of(uid uint32) []*Namespace {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []*Namespace
	for n := h.users[uid]; n != nil; n = n.older {
		if d, err := n.duplicate(); err == nil {
			found = append(found, d)
		}
	}
	return found
}

// Adopt takes over what the records of a user tell of: sessions that a worker has
// opened, or an earlier broker. The caller watches their login processes.
func (h *Held) Adopt(records *state.Dir, uid uint32, host *os.File) {
	for _, n := range slices.Backward(OfRecords(records, uid, host)) {
		h.Add(uid, n, n.Session)
		n.Close()
	}
}

// Join registers a session in a namespace that [Held.Of] returned, and which is still open.
// False says that it is not held, or no longer.
func (h *Held) Join(uid uint32, n *Namespace, session string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return n.id != (mountfd.ID{}) && h.join(uid, n.id, session)
}

func (h *Held) join(uid uint32, id mountfd.ID, session string) bool {
	for known := h.users[uid]; known != nil; known = known.older {
		if known.id == id {
			known.add(session)
			return true
		}
	}
	return false
}

// Add registers a session in a namespace, which stays the caller's to close. Where the
// registry cannot have a descriptor of its own, the namespace is not held.
func (h *Held) Add(uid uint32, n *Namespace, session string) {
	id, err := proc.IdentityOf(n.File)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.join(uid, id, session) {
		return
	}
	fd, err := unix.FcntlInt(n.File.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return
	}
	h.numbers[id.Inode] = uid
	made := &held{
		id: id, key: unique.Make(n.Key), made: n.Session,
		older: h.users[uid], fd: int32(fd), pid: int32(n.PID), uid: uid,
	}
	made.add(session)
	h.users[uid] = made
}

// End says that a session has ended. What nobody is known to be in stays until
// [Held.Release] has looked.
func (h *Held) End(uid uint32, session string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n := h.users[uid]; n != nil; n = n.older {
		n.end(session)
	}
}

// Holds says whether a namespace of this user is held.
func (h *Held) Holds(uid uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.users[uid] != nil
}

// Count returns how many namespaces are held, and of how many users.
func (h *Held) Count() (namespaces, users int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for range h.all {
		namespaces++
	}
	return namespaces, len(h.users)
}

// Release lets go of the namespaces that no process is in, and returns the users for
// whom none is left. It looks at every process once, whatever the number of
// namespaces in question, and at none where there is none in question. Nobody waits for
// it: it holds no lock while it looks.
func (h *Held) Release() []uint32 {
	idle := h.idle()
	h.looked = 0
	if len(idle) == 0 {
		return nil
	}
	began := time.Now()
	found := residents(idle)
	h.looked = time.Since(began)
	gone, left := h.release(idle, found)
	// The kernel takes the mounts apart here, thousands of them perhaps, and waits for its
	// own readers: no login may wait for that.
	for _, n := range gone {
		_ = n.close()
	}
	return left
}

// Looked is for how long the last [Held.Release] looked at processes; it is for the thread
// that calls that.
func (h *Held) Looked() time.Duration { return h.looked }

// idle are the namespaces without a session whose resident has gone.
func (h *Held) idle() map[mountfd.ID]*held {
	h.mu.Lock()
	defer h.mu.Unlock()
	idle := map[mountfd.ID]*held{}
	for n := range h.all {
		if !n.hasSession() && !n.resident.lives() {
			idle[n.id] = n
		}
	}
	return idle
}

// residents finds a process for each namespace that has one; nil where processes cannot be
// listed. The namespaces are held, so their numbers are nobody else's.
func residents(idle map[mountfd.ID]*held) map[mountfd.ID]*resident {
	wanted := map[uint64]mountfd.ID{}
	for id := range idle {
		wanted[id.Inode] = id
	}
	found := map[mountfd.ID]*resident{}
	err := proc.MountNamespaces(func(pid int, number uint64) bool {
		id, isIdle := wanted[number]
		if !isIdle {
			return true
		}
		if r := residentIn(id, pid); r != nil {
			found[id] = r
			delete(wanted, number)
		}
		return len(wanted) > 0
	})
	if err != nil {
		return nil
	}
	return found
}

// residentIn opens a process that was in a namespace a moment ago; nil where it has gone.
func residentIn(id mountfd.ID, pid int) *resident {
	p, err := proc.Open(pid)
	if err != nil {
		return nil
	}
	defer p.Close()
	if now, err := p.Identity("ns/mnt"); err != nil || now != id {
		return nil
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return nil
	}
	if _, err := p.StartTime(); err != nil { // then the pid may be another's
		unix.Close(fd)
		return nil
	}
	return &resident{p.PID, fd}
}

func (r *resident) lives() bool {
	if r == nil {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(r.pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 0
}

func (r *resident) close() {
	if r != nil {
		unix.Close(r.pidfd)
	}
}

// release takes out what nobody is in; gone is to be closed, and left are the users for whom
// nothing is held any more.
func (h *Held) release(idle map[mountfd.ID]*held, found map[mountfd.ID]*resident) (gone []*held, left []uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, n := range idle {
		n.resident.close()
		n.resident = found[id]
		// A login may have joined while this was looking.
		if found == nil || n.resident != nil || n.hasSession() {
			continue
		}
		delete(h.numbers, id.Inode)
		gone = append(gone, n)
		if h.unlink(n); h.users[n.uid] == nil {
			left = append(left, n.uid)
		}
	}
	if len(h.users) == 0 { // a map keeps the memory that it has had
		h.users, h.numbers = map[uint32]*held{}, map[uint64]uint32{}
	}
	return gone, left
}

// unlink takes a namespace out of the list of its user.
func (h *Held) unlink(gone *held) {
	latest := h.users[gone.uid]
	if latest == gone {
		if h.users[gone.uid] = gone.older; gone.older == nil {
			delete(h.users, gone.uid)
		}
		return
	}
	for n := latest; n != nil; n = n.older {
		if n.older == gone {
			n.older = gone.older
			return
		}
	}
}

// Residents returns the pidfds of processes for whose end [Held.Release] is to be called
// again; they stay the registry's.
func (h *Held) Residents() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	var fds []int
	for n := range h.all {
		if n.resident != nil {
			fds = append(fds, n.resident.pidfd)
		}
	}
	return fds
}
