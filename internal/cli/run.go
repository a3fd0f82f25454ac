package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"gotmpns/internal/run"
	"gotmpns/internal/runcli"
)

func newRun() *cobra.Command {
	var options runcli.Options
	cmd := &cobra.Command{
		Use:                   "run [OPTIONS] -- COMMAND [ARGUMENT...]",
		Short:                 "Run a command in a mount namespace of its own",
		DisableFlagsInUseLine: true,
		Long: `Runs a command in a mount namespace of its own. What the options mount for it, and
what it mounts itself, is visible only to it and its children, and disappears with
the last of them. Signals, terminal and exit status are the same as without
gotmpns.

Every user can do this. For root, the namespace is created directly; for others
inside a user namespace that keeps their uid and gid: there, setuid programs such
as sudo have no effect, and files of other users belong to "nobody".

SRC is what you see now; DST is looked up with the mounts of the preceding options
in place. Both must exist; in a directory that --private or --tmpfs has mounted,
DST is created. In SRC:DST and DIR:SIZE, write \: for a colon in
a name, and \\ for a backslash.`,
		Example: `  gotmpns run --private /tmp -- make check           # a /tmp of its own
  gotmpns run --bind /bin/dash:/bin/bash -- ./script # bash is dash
  gotmpns run --rbind lib32:lib -- ./program         # its libraries are elsewhere
  gotmpns run --ro-bind .:. -- make                  # the sources stay
  gotmpns run --tmpfs ~/.cache:1G --net -- make      # no network, nothing kept
  gotmpns run --mounts -- sh -c 'gocryptfs secret clear; exec sh'
                                # only this shell sees what is in "clear"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := runcli.CheckCommand(args, cmd.ArgsLenAtDash()); err != nil {
				return usage(err, cmd)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := options.Request(args)
			if err != nil {
				return usage(err, cmd)
			}
			caller, err := run.CallerOf("") // only gotmpns-run is started by the front
			if err != nil {
				return err
			}
			return runError(caller.Run(r))
		},
	}
	options.Add(cmd.Flags())
	return cmd
}

// runError makes an error of how a command ended.
func runError(status int, err error) error {
	status = run.StatusOf(status, err)
	if status == exitOK {
		return nil
	}
	if err == nil {
		err = errors.New("")
	}
	return &failure{err: err, status: status, hint: run.HintOf(err)}
}
