package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"gotmpns/internal/cleanup"
	"gotmpns/internal/config"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
)

// kind is a kind of directories that clean removes when it is asked to.
type kind struct {
	name, help string
	kinds      []cleanup.Kind
}

var kinds = []kind{
	{"unused", "directories of users who have no session", []cleanup.Kind{cleanup.Unused}},
	{"set-aside", "files of users who had a uid before its owner of today", []cleanup.Kind{cleanup.Aside}},
	{"unknown-users", "directories of users who no longer exist", []cleanup.Kind{cleanup.UnknownUser}},
	{"orphaned", "bases that are not in use any more, with all that is in them", []cleanup.Kind{cleanup.OrphanedBase}},
	{"all-unused", "all of these", []cleanup.Kind{cleanup.Unused, cleanup.Aside, cleanup.UnknownUser, cleanup.OrphanedBase}},
}

func newClean() *cobra.Command {
	var dryRun, mountPoints bool
	var path string
	wanted := make([]bool, len(kinds))
	cmd := &cobra.Command{
		Use:   "clean [--dry-run] [--all-unused | --KIND... | --mount-points] [--config FILE]",
		Short: "Remove private directories that are not in use",
		Long: `Removes directories that are due, and prints them: those of targets with
cleanup = "logout" whose user has no session any more, and what logins and
earlier removals have left unfinished. The broker does the same without being
asked. Other kinds are removed only if an option asks for them; "gotmpns check"
lists them.

Nothing is removed while its user has a session or any process uses it.`,
		Example: `  gotmpns clean --dry-run                  # what would go
  gotmpns clean
  gotmpns clean --set-aside --unknown-users
  gotmpns clean --all-unused --dry-run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if mountPoints {
				return undoMountPoints(cmd.OutOrStdout(), dryRun)
			}
			due := slices.Clone(cleanup.Always)
			for i, k := range kinds {
				if wanted[i] {
					due = append(due, k.kinds...)
				}
			}
			slices.Sort(due)
			return clean(cmd.OutOrStdout(), path, slices.Compact(due), dryRun)
		},
	}
	f := cmd.Flags()
	for i, k := range kinds {
		f.BoolVar(&wanted[i], k.name, false, k.help)
	}
	f.BoolVar(&mountPoints, "mount-points", false, "undo what mount_points = \"make\" has mounted on the host, and nothing else")
	f.BoolVarP(&dryRun, "dry-run", "n", false, "print what is due without removing it")
	f.StringVar(&path, "config", "", "let the configuration `FILE` say what is due, instead of the one in place")
	return cmd
}

// brokerPass is how long the broker may be cleaning up, and a bit.
const brokerPass = 70 * time.Second

// timeoutForOne is how long the directories of one user may take, after those of all others.
const timeoutForOne = 2 * time.Minute

func clean(out io.Writer, path string, due []cleanup.Kind, dryRun bool) error {
	if !isRoot() {
		return needRoot("remove private directories")
	}
	file, err := configFile(path)
	if err != nil {
		return err
	}
	v, err := view.Enter(os.Getpid())
	if err != nil {
		return err
	}
	p, err := config.Load(cmp.Or(file, configInPlace()))
	if err != nil {
		return hinted(err, mistakesHint(path))
	}
	records, err := state.Open(v.Host.Root)
	if err != nil {
		return err
	}
	pass, err := cleanup.New(cleanup.Options{View: v, Records: records, Policy: p, Exists: userExists, Wait: brokerPass, SecondTimeout: timeoutForOne})
	if err != nil {
		return err
	}
	defer pass.Close()
	found, errs := pass.Find(due...)
	if !dryRun {
		sweep(records)
		errs = errors.Join(errs, pass.Refresh())
		found, err = pass.Remove(found)
		errs = errors.Join(errs, err)
	}
	for _, d := range found {
		fmt.Fprintln(out, d.Path)
	}
	return errs
}

// sweep removes the records of ended sessions, as the broker does.
func sweep(records *state.Dir) {
	for _, uid := range records.Sweep() {
		records.DropUser(uid)
	}
}

// userExists says whether the name service knows a uid; an error is no answer. Without
// the C library only the users in /etc/passwd would be known.
func userExists(uid uint32) (bool, error) {
	if !isFull {
		return false, fmt.Errorf("cannot ask the name service for uid %d: this command was built without the C library", uid)
	}
	_, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if errors.As(err, new(user.UnknownUserIdError)) {
		return false, nil
	}
	return err == nil, err
}
