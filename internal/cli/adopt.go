package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gotmpns/internal/config"
	"gotmpns/internal/instance"
	"gotmpns/internal/inventory"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
)

func newAdopt() *cobra.Command {
	var apply bool
	cmd := &cobra.Command{
		Use:   "adopt [--apply] [USER...]",
		Short: "Hand files from before to their owners",
		Long: `Lists the files and directories in the host's /tmp, and in other targets, whose
owners have a private directory for that target: files from before the module was
enabled, which sessions do not see. With --apply, they are moved into the private
directories of their owners. Shared names stay, and so do files whose name exists
in the private directory.

Programs that run outside of private sessions no longer find a file that was
moved: end them first, or name the users whose files are to be moved. Only root
can do this.`,
		Example: `  gotmpns adopt                # what would be moved, and where
  gotmpns adopt alice          # of hers alone
  gotmpns adopt --apply alice`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeUsers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !isRoot() {
				return needRoot("hand files to their owners")
			}
			var uids []uint32
			for _, name := range args {
				u, err := account(name)
				if err != nil {
					return err
				}
				request, err := requestOf(u, "", "/")
				if err != nil {
					return err
				}
				uids = append(uids, request.UID)
			}
			return adopt(cmd, uids, apply)
		},
	}
	cmd.Flags().BoolVar(&apply, "apply", false, "move the files; without it they are only listed")
	return cmd
}

// stray is an entry of a target on the host whose owner has an instance for it.
type stray struct {
	target   *os.File
	instance *os.File
	name     string
	uid      uint32
}

func adopt(cmd *cobra.Command, uids []uint32, apply bool) error {
	p, err := config.Load(configInPlace())
	if err != nil {
		return hinted(err, mistakesHint(""))
	}
	inv, err := inventory.Take(p, inventory.Want{})
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	var errs []error // joined once: each join would copy the text of all earlier ones
	for _, private := range p.Private {
		if private.Kind != policy.Directory || private.Scope != policy.User {
			continue
		}
		if policy.IsVariable(private.Target) {
			note(cmd.ErrOrStderr(), fmt.Sprintf("%s is another directory for each user, and is left out", private.Target))
			continue
		}
		strays, waiting, err := straysIn(private, inv, uids)
		errs = append(errs, err)
		for _, s := range strays {
			errs = append(errs, s.handOver(out, apply))
		}
		for _, uid := range waiting {
			note(cmd.ErrOrStderr(), fmt.Sprintf("%s has files in %s and no private directory yet: the next login makes it", nameOf(uid), private.Target))
		}
	}
	return errors.Join(errs...)
}

// straysIn finds the entries of a target whose owners have an instance for it, and
// the owners who have none although they are to get one. Its descriptors stay open
// until the program ends.
func straysIn(p policy.Private, inv inventory.Inventory, uids []uint32) (strays []stray, waiting []uint32, err error) {
	place, err := openPlace(p.Target)
	if err != nil {
		return nil, nil, err
	}
	defer place.Close()
	target, err := mountfd.ReadDir(place, ".")
	if err != nil {
		return nil, nil, err
	}
	names, err := target.Readdirnames(-1)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the target: %w", err)
	}
	slices.Sort(names)
	instances := map[uint32]*os.File{}
	for _, name := range names {
		uid, known := ownerAt(target, name)
		if !known || slices.Contains(p.Share, name) || instance.IsBaseName(name) {
			continue
		}
		if uids != nil && !slices.Contains(uids, uid) {
			continue
		}
		own, seen := instances[uid]
		if !seen {
			own = openInstance(inv, p.Target, uid)
			instances[uid] = own
			if own == nil && isToGet(p, uid) {
				waiting = append(waiting, uid)
			}
		}
		if own != nil {
			strays = append(strays, stray{target, own, name, uid})
		}
	}
	return strays, waiting, nil
}

// ownerAt says whose an entry is. What is mounted there cannot be moved, and is not known: a
// user's file system (FUSE) may never answer.
func ownerAt(dir *os.File, name string) (uid uint32, known bool) {
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC
	var st unix.Statx_t
	err := unix.Statx(int(dir.Fd()), name, flags, unix.STATX_UID, &st)
	return st.Uid, err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0
}

// openInstance opens a user's own directory for a target; nil: there is none. Only
// root can reach into the base, so no component is a user's.
func openInstance(inv inventory.Inventory, target string, uid uint32) *os.File {
	at := slices.IndexFunc(inv.Instances, func(i inventory.Instance) bool {
		return i.UID == uid && i.Target == target && i.Kind == inventory.Directory && !i.Aside && i.Session == ""
	})
	if at < 0 {
		return nil
	}
	dir, err := os.OpenFile(inv.Instances[at].Host, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	return dir
}

// isToGet says whether a login of a user would get a private directory.
func isToGet(p policy.Private, uid uint32) bool {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	return err == nil && whyOnHost(u.Username, p.Target) == ""
}

// handOver moves an entry, or says where it would go. The owner is looked at again
// afterwards: an entry that another one has replaced in between goes back.
func (s stray) handOver(out io.Writer, apply bool) error {
	from, to := filepath.Join(s.target.Name(), s.name), filepath.Join(s.instance.Name(), s.name)
	var st unix.Stat_t
	if unix.Fstatat(int(s.instance.Fd()), s.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return fmt.Errorf("cannot move %s: %s has a file of that name in the private directory", printable(from), nameOf(s.uid))
	}
	err := s.canMove()
	if err == nil && apply {
		err = s.move()
	}
	if err != nil {
		return fmt.Errorf("cannot move %s to %s: %w", printable(from), printable(to), err)
	}
	_, err = fmt.Fprintf(out, "%s\t%s\t%s\n", nameOf(s.uid), printable(from), printable(to))
	return err
}

// canMove says why an entry could not be moved to where it would go.
func (s stray) canMove() error {
	var from, to unix.Stat_t
	if err := errors.Join(unix.Fstat(int(s.target.Fd()), &from), unix.Fstat(int(s.instance.Fd()), &to)); err != nil || from.Dev == to.Dev {
		return err
	}
	return s.elsewhere()
}

// elsewhere is the error of a move to another file system.
func (s stray) elsewhere() error {
	return fmt.Errorf("the private directory is on another file system; copy it by \"%s\", and remove it", s.copyCommand())
}

func (s stray) move() error {
	from, to := int(s.target.Fd()), int(s.instance.Fd())
	if err := unix.Renameat2(from, s.name, to, s.name, unix.RENAME_NOREPLACE); err != nil {
		if errors.Is(err, unix.EXDEV) {
			return s.elsewhere()
		}
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(to, s.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Uid == s.uid {
		return err
	}
	back := unix.Renameat2(to, s.name, from, s.name, unix.RENAME_NOREPLACE)
	return errors.Join(errors.New("it was replaced by a file of another user in the meantime"), back)
}

// copyCommand copies an entry from one file system to another. Both ends are processes of
// the owner, in whose directories names may change all the time; neither sees both.
func (s stray) copyCommand() string {
	owner, target := quoted(nameOf(s.uid)), quoted(filepath.Clean(s.target.Name()))
	return fmt.Sprintf("runuser -u %[1]s -- tar -C %[2]s -c %[3]s | gotmpns try %[1]s -- tar -C %[2]s -x", owner, target, quoted("./"+s.name))
}

func nameOf(uid uint32) string {
	number := strconv.FormatUint(uint64(uid), 10)
	u, err := user.LookupId(number)
	if err != nil {
		return "uid " + number
	}
	return printable(cmp.Or(u.Username, number))
}
