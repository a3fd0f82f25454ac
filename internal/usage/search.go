package usage

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// search is one look at all processes.
type search struct {
	*Finder
	known Known
	stop  func() bool

	trees   []located
	uses    []Use
	devices map[uint64]bool // of the trees
	uids    map[uint32]bool
	byID    map[fileID]int
	spaces  map[uint64]*space        // by number; held open
	current map[uint64]bool          // what is remembered and still there
	places  map[place]int            // in which tree a directory lies; -1: in none
	spent   map[uint32]time.Duration // on the tables of a user's own namespaces
	deep    time.Duration            // on directories below levelsForAll
}

// task is a process or a thread, by its directory in /proc.
type task struct {
	pid int
	dir string // relative to /proc
}

// fileID tells a directory from all others as long as it is held open.
type fileID struct{ device, inode uint64 }

// place is a directory on a certain mount.
type place struct {
	fileID
	mount uint64
}

func idOf(st unix.Statx_t) fileID {
	return fileID{uint64(st.Dev_major)<<32 | uint64(st.Dev_minor), st.Ino}
}

// statx asks the kernel for what it knows and contacts no file system: a user may be
// the one who answers there. Nothing is asked for by name: then a user's FUSE, on which
// root may ask for nothing, gives its device, and others give the inode, too. Both give
// the mount.
func statx(dir int, path string, flags int) (unix.Statx_t, error) {
	var st unix.Statx_t
	err := unix.Statx(dir, path, flags|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, 0, &st)
	return st, err
}

// setTrees says what is looked for.
func (s *search) setTrees(trees []located) {
	s.trees, s.uses = trees, make([]Use, len(trees))
	s.devices, s.uids, s.byID = map[uint64]bool{}, map[uint32]bool{}, map[fileID]int{}
	for i, tree := range trees {
		s.devices[tree.id.device] = true
		s.uids[tree.UID] = true
		s.byID[tree.id] = i
	}
}

func (s *search) close() {
	for _, sp := range s.spaces {
		sp.file.Close()
	}
}

// use notes a process for the trees that it uses.
func (s *search) use(pid int, how string, uses func(located) bool) {
	for i, tree := range s.trees {
		if !s.uses[i].Any() && uses(tree) {
			s.uses[i] = Use{pid, how}
		}
	}
}

// decided says that each tree has been found to be used.
func (s *search) decided() bool {
	for _, use := range s.uses {
		if !use.Any() {
			return false
		}
	}
	return true
}

func (s *search) processes() error {
	s.current = map[uint64]bool{}
	err := s.each(".", func(pid string) error {
		if s.stop() {
			return ErrStopped
		}
		return s.process(pid)
	})
	if errors.Is(err, errDecided) {
		return nil
	}
	if err == nil {
		s.forget()
	}
	return err
}

// errDecided ends a search early.
var errDecided = errors.New("all is known")

// forget drops what is remembered of namespaces that are not there any more.
func (s *search) forget() {
	for id := range s.seen {
		if !s.current[id] {
			delete(s.seen, id)
		}
	}
}

// each calls look with each number in a directory below /proc.
func (s *search) each(directory string, look func(number string) error) error {
	fd, err := unix.Openat(int(s.proc.Fd()), directory, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot list processes: %w", err)
	}
	dir := os.NewFile(uintptr(fd), directory)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("cannot list processes: %w", err)
	}
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		if err := look(name); err != nil {
			return err
		}
	}
	return nil
}

// process looks at a process and at those of its threads that are elsewhere.
func (s *search) process(name string) error {
	pid, err := strconv.Atoi(name)
	if err != nil {
		return err
	}
	main, err := s.look(task{pid, name}, 0)
	if err != nil || s.isElsewhere(main) {
		return err
	}
	var st unix.Stat_t
	err = unix.Fstatat(int(s.proc.Fd()), name+"/task", &st, 0)
	const alone = 2 + 1 // links of a directory with one in it
	if err != nil || st.Nlink == alone {
		return s.unless(err, pid)
	}
	err = s.each(name+"/task", func(tid string) error {
		_, err := s.look(task{pid, name + "/task/" + tid}, main)
		return err
	})
	return s.unless(err, pid)
}

// isElsewhere says that a namespace is known for a session of a user whose instances
// are not looked for. Most processes of a full host are in one; no more is asked about
// them.
func (s *search) isElsewhere(number uint64) bool {
	uid, ok := s.known(number)
	return ok && !s.uids[uid] && !s.uids[NoUID]
}

// unless makes an error of what is not the end of the process.
func (s *search) unless(err error, pid int) error {
	switch {
	case err == nil && s.decided():
		return errDecided
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		return nil
	case errors.Is(err, ErrStopped), errors.Is(err, errDecided):
		return err
	}
	return fmt.Errorf("cannot look into process %d: %w", pid, err)
}

// look looks at a task, unless its namespace is the one that was looked at through
// another thread. It returns the number of the namespace, and 0 where the task has
// ended; a process can have ended whose threads have not.
func (s *search) look(t task, except uint64) (uint64, error) {
	number, err := s.number(t)
	if err != nil || number == except {
		return number, s.unless(err, t.pid)
	}
	if s.isElsewhere(number) {
		return number, nil
	}
	sp, err := s.space(t, number)
	if err == nil {
		err = s.directories(t, sp)
	}
	return number, s.unless(err, t.pid)
}

// number reads that of a task's mount namespace.
func (s *search) number(t task) (uint64, error) {
	var text [64]byte
	n, err := unix.Readlinkat(int(s.proc.Fd()), t.dir+"/ns/mnt", text[:])
	if err != nil {
		return 0, err
	}
	digits := strings.TrimSuffix(strings.TrimPrefix(string(text[:n]), "mnt:["), "]")
	return strconv.ParseUint(digits, 10, 64)
}

// directories looks at the root and working directories, which may lie on mounts that
// no table shows: those that were detached, or are covered.
func (s *search) directories(t task, sp *space) error {
	root, err := statx(int(s.proc.Fd()), t.dir+"/root", 0)
	if err != nil {
		return err
	}
	cwd, err := statx(int(s.proc.Fd()), t.dir+"/cwd", 0)
	if err != nil {
		return err
	}
	if err := s.directory(t, "root", root); err != nil {
		return err
	}
	if err := s.directory(t, "cwd", cwd); err != nil {
		return err
	}
	if sp.known || sp.root == root.Mnt_id || sp.roots[root.Mnt_id] {
		return nil
	}
	// From the root of the namespace not all may be seen that this root shows: a mount
	// can cover the root of the namespace, too.
	sp.roots[root.Mnt_id] = true
	shown, err := s.shown(t.dir, sp)
	if errors.Is(err, errTooLong) {
		s.tooLong(t, sp)
		return nil
	}
	s.match(t, shown)
	return err
}

func (s *search) directory(t task, name string, st unix.Statx_t) error {
	if !s.devices[idOf(st).device] {
		return nil
	}
	at := place{idOf(st), st.Mnt_id}
	in, ok := s.places[at]
	if !ok {
		fd, err := unix.Openat(int(s.proc.Fd()), t.dir+"/"+name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		in, err = s.climb(fd)
		if errors.Is(err, errTooDeep) {
			s.cannotTell(t, st.Uid, "is in a directory too deep to look at")
			return nil
		}
		if err != nil {
			return err
		}
	}
	if in >= 0 {
		s.use(t.pid, "is in it", func(tree located) bool { return tree.id == s.trees[in].id })
	}
	return nil
}

// levelsForAll are those that every directory is looked at for. What programs work in is
// seldom deeper.
const levelsForAll = 32

// errTooDeep says that no more time is left for directories that are deeper than others.
var errTooDeep = errors.New("the directory is too deep")

// climb goes up from a directory, on its own file system, until it is in a tree. It
// returns the index of that, or -1, and closes fd. No level is climbed twice.
func (s *search) climb(fd int) (in int, err error) {
	defer func() { unix.Close(fd) }()
	began := time.Now()
	var owner uint32
	var way []place
	defer func() {
		if len(way) > levelsForAll {
			s.deep += time.Since(began)
		}
		if err == nil {
			for _, at := range way {
				s.places[at] = in
			}
		}
	}()
	for {
		st, err := statx(fd, "", unix.AT_EMPTY_PATH)
		if err != nil {
			return -1, err
		}
		at := place{idOf(st), st.Mnt_id}
		if len(way) == 0 {
			owner = st.Uid
		}
		if len(way) > 0 && at == way[len(way)-1] || !s.devices[at.device] {
			return -1, nil
		}
		if i, ok := s.byID[at.fileID]; ok {
			return i, nil
		}
		if known, ok := s.places[at]; ok {
			return known, nil
		}
		if err := s.mayGoOn(len(way), owner, began); err != nil {
			return -1, err
		}
		way = append(way, at)
		above, err := unix.Openat(fd, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		unix.Close(fd)
		fd = above
	}
}

// mayGoOn asks the clock at every 32nd level. Users can make as many levels as they like,
// and have many uids in their user namespaces, so that there is one share for all; only
// root's own directories are looked at to the end.
func (s *search) mayGoOn(levels int, owner uint32, began time.Time) error {
	switch {
	case levels == 0 || levels%levelsForAll != 0:
		return nil
	case s.stop():
		return ErrStopped
	case owner != 0 && s.deep+time.Since(began) > s.share:
		return errTooDeep
	}
	return nil
}
