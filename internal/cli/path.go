package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gotmpns/internal/inventory"
)

func newPath() *cobra.Command {
	return &cobra.Command{
		Use:   "path [USER] [FILE]",
		Short: "Say where a user's /tmp, or a file in it, is on the host",
		Long: `Prints the path by which the host reaches what USER sees at FILE; without USER
it is you, without FILE it is /tmp. Where two sessions of a user differ, it
prints a line for each. A tmpfs is in the sessions alone: the path then leads
through a process of the user, as /proc/PID/root/tmp.

The other way round: a FILE that lies where the private directories are kept is
answered with its user and the path that the user sees, with a tab between.

FILE has a slash in it, USER has none; a relative FILE (./draft) begins at the
current directory. Links are not followed, and FILE need not exist. Only root
can ask for other users.`,
		Example: `  gotmpns path                                    # where is my /tmp?
  gotmpns path ./draft.txt                        # and this file?
  gotmpns path alice /tmp/draft.txt               # as root
  gotmpns path /tmp/gotmpns-5e0c1a7b/1000/x.sock  # whose is this?
  tail "$(gotmpns path alice /tmp/build.log)"`,
		Args:              maximumArgs(2),
		ValidArgsFunction: completeUserThenFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, file, err := userAndFile(args)
			if err != nil {
				return usage(err, cmd)
			}
			return printPath(cmd, name, file)
		},
	}
}

// userAndFile tells the two apart: a user's name has no slash.
func userAndFile(args []string) (name, file string, err error) {
	file = "/tmp"
	switch {
	case len(args) == 1 && strings.Contains(args[0], "/"):
		file = args[0]
	case len(args) > 0:
		name = args[0]
	}
	if len(args) == 2 {
		file = args[1]
	}
	if strings.Contains(name, "/") || len(args) > 0 && args[0] == "" {
		return "", "", fmt.Errorf("cannot take %s for a user's name", printable(args[0]))
	}
	file, err = filepath.Abs(file)
	return name, file, err
}

func printPath(cmd *cobra.Command, name, file string) error {
	own := name == ""
	if own {
		var err error
		if name, err = ownName(); err != nil {
			return err
		}
	} else if _, err := account(name); err != nil {
		return err
	}
	if me, err := ownName(); !isRoot() && (err != nil || me != name) {
		return needRoot("see where another user's files are")
	}
	inv, err := takeInventory(cmd)
	if err != nil {
		return err
	}
	if whose, found := inv.FromHost(file); own && found {
		fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\n", printable(whose.User), printable(whose.Path))
		return nil
	}
	return printOnHost(cmd, inv, name, file)
}

func printOnHost(cmd *cobra.Command, inv inventory.Inventory, name, file string) error {
	paths, err := inv.OnHost(name, file)
	if err != nil {
		hint := fmt.Sprintf("%q says what a login would get", "gotmpns check --user "+name)
		return hinted(err, hint)
	}
	for _, path := range paths {
		fmt.Fprintln(cmd.OutOrStdout(), path)
	}
	return nil
}
