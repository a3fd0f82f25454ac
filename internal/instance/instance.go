// Package instance makes and finds the directories that sessions see as
// theirs.
//
// A base is a directory that only root can enter; in it, each user has an
// instance, named by uid, and beside it a symbolic link UID.user to the name it
// was made for (a link, because it is written in one go and nobody follows it).
// Both are verified each time. What fails is refused, never repaired: somebody
// has been at it, and only a person can say who. The one exception is a base or
// an instance that is plainly no longer ours to use; a new one is made then, and
// the old one stays where it is, out of everybody's reach.
//
// An instance looks like its target: same owner, same mode (root and 1777 for
// /tmp), same SELinux label, so that programs with another uid work inside. It bears
// a mark (an extended attribute that only root can write) with the uid it is for: by
// that it is known wherever it is mounted, also when its directory has been removed.
//
// Everything is done by descriptor, on the thread that entered the host's view. What
// a login makes it makes under another name, and renames it into place: the
// second of two logins takes the first's. Nothing is removed by a login.
package instance

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/account"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
)

// Target is a target as the host sees it.
type Target struct {
	Path string
	Dir  *os.File // a place (O_PATH)
	Info mountfd.Info
	// Foreign says that another user may have put it there: owner and mode of an instance
	// are not taken from it.
	Foreign bool
}

// pattern is what owner, group and mode of an instance are to be.
type pattern struct{ uid, gid, mode uint32 }

func (t Target) pattern(owner Owner) pattern {
	if t.Foreign {
		return pattern{owner.UID, owner.GID, 0o700}
	}
	return pattern{t.Info.UID, t.Info.GID, t.Info.Mode}
}

// OpenTarget looks at path in a tree as a target; its Dir is the caller's to close.
func OpenTarget(tree mountfd.Tree, path string) (Target, error) {
	dir, err := tree.Open(path)
	if err != nil {
		return Target{}, err
	}
	info, err := mountfd.Stat(dir)
	if err != nil {
		dir.Close()
		return Target{}, err
	}
	return Target{Path: path, Dir: dir, Info: info}, nil
}

// Owner is whose instance is wanted.
type Owner struct {
	UID     uint32
	GID     uint32 // of a tmpfs with a mode of its own, and of what is copied from a skeleton
	User    string
	Session string // not empty: an instance for this session alone
	// The SELinux level or context that an instance is for, and its label; empty: any,
	// and that of the target.
	At, Label   string
	LabelInside string // of what is copied from a skeleton; empty: the policy's
	Shared      bool   // all users in At have the same instance
}

// madeFor is the name that is written down beside the instance.
func (o Owner) madeFor() string {
	if o.Shared {
		return sharedUser
	}
	return o.User
}

// mark is what an instance bears. The random part tells one tmpfs from another.
func (o Owner) mark() string {
	if o.Shared {
		return sharedUser + " " + state.Random() + state.Random()
	}
	return strconv.FormatUint(uint64(o.UID), 10) + " " + state.Random() + state.Random()
}

// markedFor says whose instance a mark is on; it is [NoUID] for one that several users
// share.
func markedFor(mark string) (uid uint32, ok bool) {
	number, _, _ := strings.Cut(mark, " ")
	if number == sharedUser {
		return NoUID, true
	}
	n, err := strconv.ParseUint(number, 10, 32)
	return uint32(n), err == nil
}

// Store makes and finds instances for one login.
type Store struct {
	Remarks []string // what somebody should know, for the log
	// Confined says that this process runs no programs: what needs one is refused with
	// [ErrConfined].
	Confined bool

	view   *view.View
	state  *state.Dir
	unlock func()
	busy   error // why the lock is not available
}

// NewStore serves one login.
func NewStore(v *view.View, s *state.Dir) *Store {
	return &Store{view: v, state: s}
}

// Close lets other logins of the same user make what this one was making.
func (s *Store) Close() {
	if s.unlock != nil {
		s.unlock()
		s.unlock = nil
	}
}

// Locked says that other logins of the user wait until [Store.Close].
func (s *Store) Locked() bool { return s.unlock != nil }

// lockAtMost is how long a login waits for another one of the same user: that one
// makes a few directories, and may have been stopped by its user.
const lockAtMost = time.Second

// Lock keeps other logins of the user from making the same, until [Store.Close]. The
// error is [state.ErrBusy] where another one does not finish in time.
func (s *Store) Lock(uid uint32) error {
	if s.unlock == nil && s.busy == nil { // who has waited once does not wait again
		s.unlock, s.busy = s.state.LockUser(uid, lockAtMost)
	}
	return s.busy
}

func (s *Store) remark(format string, args ...any) {
	s.Remarks = append(s.Remarks, fmt.Sprintf(format, args...))
}

func (s *Store) openBase(target Target, configured string) (base, error) {
	if configured != "" {
		return s.configuredBase(configured)
	}
	return s.randomBase(target)
}

// Directory returns the owner's instance of kind directory, as a place; it is
// made, and filled, where it is missing.
func (s *Store) Directory(target Target, p policy.Private, owner Owner) (*os.File, error) {
	b, err := s.openBase(target, p.Base)
	if err != nil {
		return nil, err
	}
	defer b.dir.Close()
	if dir, err := s.find(b, target, owner); dir != nil || err != nil {
		return dir, err
	}
	return s.make(b, target, p, owner)
}

// make is for the first login of a user, and for the first one of another user with
// that uid.
func (s *Store) make(b base, target Target, p policy.Private, owner Owner) (*os.File, error) {
	if s.Confined && isFilled(p) {
		return nil, ErrConfined
	}
	busy := s.Lock(owner.UID)
	// Filling takes longer, and is done once.
	if busy != nil && (isFilled(p) || !errors.Is(busy, state.ErrBusy)) {
		return nil, busy
	}
	if dir, err := s.find(b, target, owner); dir != nil || err != nil {
		return dir, err
	}
	if err := s.clear(b, owner, busy); err != nil {
		return nil, err
	}
	if err := s.create(b, target, p, owner); err != nil {
		return nil, err
	}
	dir, err := s.find(b, target, owner)
	if dir == nil && err == nil {
		err = fmt.Errorf("cannot find the instance %s/%s that was just made", b.dir.Name(), owner.name())
	}
	return dir, err
}

// Existing returns the owner's instance as [Store.Directory] would, and nil where one
// would have to be made. It makes nothing.
func (s *Store) Existing(target Target, configured string, owner Owner) (*os.File, error) {
	b, err := s.existingBase(target, configured)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case b.dir == nil:
		return nil, canHoldBase(target)
	}
	defer b.dir.Close()
	return s.find(b, target, owner)
}

// find returns the instance where there is one that is the owner's, and
// nothing where one has to be made.
//
// The name is read before the instance is opened: when a uid has changed hands,
// the old instance goes before the new name comes, so a name that fits is never
// followed by an instance that does not.
func (s *Store) find(b base, target Target, owner Owner) (*os.File, error) {
	name, err := s.madeFor(b, owner)
	if name == "" || err != nil {
		return nil, err
	}
	if name != owner.madeFor() {
		if owner.Shared {
			return nil, nil
		}
		same, err := account.IsNameOf(owner.UID, name)
		if err != nil || !same {
			return nil, err
		}
	}
	dir, err := mountfd.Open(b.dir, owner.name())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := verifyInstance(dir, b, target, owner); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// madeFor reads the name that an instance was made for.
func (s *Store) madeFor(b base, owner Owner) (string, error) {
	var text [4096]byte
	n, err := unix.Readlinkat(int(b.dir.Fd()), owner.link(), text[:])
	switch {
	case errors.Is(err, unix.ENOENT):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("cannot read %s/%s: %w", b.dir.Name(), owner.link(), err)
	}
	return string(text[:n]), nil
}

func verifyInstance(dir *os.File, b base, target Target, owner Owner) error {
	info, err := mountfd.Stat(dir)
	if err != nil {
		return err
	}
	want := target.pattern(owner)
	switch {
	case !info.IsDir():
		return fmt.Errorf("cannot use the instance %s: it is not a directory; remove it, and it will be made again", dir.Name())
	case info.Device != b.info.Device || info.MountRoot:
		return fmt.Errorf("cannot use the instance %s: something is mounted there; unmount it", dir.Name())
	case want.uid == owner.UID && info.UID == owner.UID:
		return nil // below a home directory: group and mode are the user's to change
	case info.UID != want.uid || info.GID != want.gid || info.Mode != want.mode:
		return fmt.Errorf("cannot use the instance %s: it belongs to %d:%d with mode %#o, and %s to %d:%d with %#o; "+
			"make them the same, or remove the instance",
			dir.Name(), info.UID, info.GID, info.Mode, target.Path, want.uid, want.gid, want.mode)
	}
	return nil
}

// clear makes room for the owner's instance. Only that needs the lock: a login that was
// stopped while it has the lock keeps no other from making the instance.
func (s *Store) clear(b base, owner Owner, busy error) error {
	if owner.Shared {
		return nil // other users do not wait for this one's lock
	}
	if busy == nil {
		return s.setAside(b, owner)
	}
	name, err := s.madeFor(b, owner)
	switch {
	case err != nil:
		return err
	case name == owner.User, name == "" && !isThere(b, owner):
		return nil
	}
	return busy
}

func isThere(b base, owner Owner) bool {
	var st unix.Stat_t
	return unix.Fstatat(int(b.dir.Fd()), owner.name(), &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// setAside moves away what goes by the owner's uid and is not the owner's: the
// files of somebody who had the uid before, or a making that was cut short.
func (s *Store) setAside(b base, owner Owner) error {
	old := owner.name() + asideMark + state.Random()
	fd := int(b.dir.Fd())
	err := unix.Renameat2(fd, owner.name(), fd, old, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		return fmt.Errorf("cannot set aside %s/%s: %w", b.dir.Name(), owner.name(), err)
	default:
		s.remark("uid %d has a new owner, %s: the old files are set aside in %s/%s", owner.UID, owner.User, b.dir.Name(), old)
	}
	if err := unix.Unlinkat(fd, owner.link(), 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove %s/%s: %w", b.dir.Name(), owner.link(), err)
	}
	return nil
}

// create makes the instance under another name and puts it in place whole. One that
// another login has put there in the meantime stays.
func (s *Store) create(b base, target Target, p policy.Private, owner Owner) error {
	fd := int(b.dir.Fd())
	temporary := unfinished + state.Random()
	if err := unix.Mkdirat(fd, temporary, 0o700); err != nil {
		return fmt.Errorf("cannot make an instance in %s: %w", b.dir.Name(), err)
	}
	err := resemble(b.dir, temporary, target, owner)
	if err == nil && isFilled(p) {
		err = s.fillDirectory(b, temporary, target, p, owner)
	}
	if err == nil {
		err = unlessThere(unix.Symlinkat(owner.madeFor(), fd, owner.link()))
	}
	if err == nil {
		err = unix.Renameat2(fd, temporary, fd, owner.name(), unix.RENAME_NOREPLACE)
	}
	if err != nil {
		_ = unix.Unlinkat(fd, temporary, unix.AT_REMOVEDIR)
		if unlessThere(err) == nil {
			return nil
		}
		return fmt.Errorf("cannot make the instance %s/%s: %w", b.dir.Name(), owner.name(), err)
	}
	return nil
}

// unlessThere takes a name that another login of the user has made for success.
func unlessThere(err error) error {
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// resemble gives a directory the target's owner, mode and label, and the owner's mark.
func resemble(parent *os.File, name string, target Target, owner Owner) error {
	dir, err := mountfd.ReadDir(parent, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	// No mark is no reason to refuse a login: then the name of the directory has to do
	// (see [Store.OwnerOf]).
	if _, err := mountfd.SetMark(dir, owner.mark()); err != nil {
		return err
	}
	want := target.pattern(owner)
	if err := unix.Fchown(int(dir.Fd()), int(want.uid), int(want.gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(int(dir.Fd()), want.mode); err != nil {
		return err
	}
	label, err := LabelOf(target)
	if err != nil {
		return err
	}
	return mountfd.SetSELinuxLabel(dir, cmp.Or(owner.Label, label))
}

// LabelOf returns the SELinux label of a target; empty where there is none.
func LabelOf(target Target) (string, error) {
	readable, err := mountfd.ReadDir(target.Dir, ".")
	if err != nil {
		return "", err
	}
	defer readable.Close()
	return mountfd.SELinuxLabel(readable), nil
}

// existingBase opens a base where there is one, and makes none.
func (s *Store) existingBase(target Target, configured string) (base, error) {
	if configured != "" {
		return s.namedBase(configured)
	}
	b, _, _ := s.recordedBase(target)
	return b, nil
}

// flagsFor are those of the target's own mount, and those of the options.
func flagsFor(target Target, options policy.Options) (uint64, error) {
	flags, err := mountfd.Flags(target.Dir)
	return flags | mountfd.FlagsNamed(options.Names()), err
}

// Attachable makes a detached mount of an instance of kind directory, at least as
// strict as the target's own mount.
func Attachable(dir *os.File, target Target, options policy.Options) (*os.File, error) {
	flags, err := flagsFor(target, options)
	if err != nil {
		return nil, err
	}
	mount, err := mountfd.Clone(dir, false)
	if err != nil {
		return nil, err
	}
	if err := mountfd.AddFlags(mount, flags, false); err != nil {
		mount.Close()
		return nil, fmt.Errorf("%w (for %s)", err, target.Path)
	}
	return mount, nil
}
