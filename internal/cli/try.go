package cli

import (
	"os"
	"os/user"

	"github.com/spf13/cobra"
)

func newTry() *cobra.Command {
	var flags trialFlags
	cmd := &cobra.Command{
		Use:   "try [OPTIONS] USER [-- COMMAND [ARGUMENT...]]",
		Short: "Open a real session of a user, to try the module before it is enabled",
		Long: `Opens a PAM session of USER with the module, runs COMMAND in it as USER (without
one, the user's login shell), and closes the session. It gets what a login would
get, without a change to any file in /etc: PAM reads a temporary stack that
contains only the module.

With --config, a configuration can be tried before it is in place; it has to
belong to root. --module and --worker try a module that is not installed.

The exit status is COMMAND's. Only root can do this.`,
		Example: `  gotmpns try alice                      # a shell, as alice will have it
  gotmpns try alice -- ls -la /tmp
  gotmpns try --config ./new.toml alice -- df /tmp /dev/shm
  gotmpns try --service cron alice -- id # for rules like "service:cron"`,
		Args:              userAndCommand,
		ValidArgsFunction: completeUser,
		RunE: func(_ *cobra.Command, args []string) error {
			if !isRoot() {
				return needRoot("open a session of a user")
			}
			u, err := account(args[0])
			if err != nil {
				return err
			}
			return tryAs(u, args[1:], flags)
		},
	}
	flags.add(cmd)
	return cmd
}

func tryAs(u *user.User, command []string, flags trialFlags) error {
	s, err := flags.open(u)
	if err != nil {
		return err
	}
	// The namespace goes with the last process, whatever closing says.
	defer s.Close()
	if !s.Private {
		note(os.Stderr, "nothing is private in this session: "+whyNothing(s))
	}
	return runAs(u, command, s.Environment())
}
