package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gotmpns/internal/config"
	"gotmpns/internal/run"
)

// longestHostname is the kernel's limit (uname(2)).
const longestHostname = 64

func newRun() *cobra.Command {
	var r run.Request
	propagation := string(run.Slave)
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
		Args: func(cmd *cobra.Command, args []string) error { return checkCommand(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Command = args
			if err := choosePropagation(&r, propagation); err != nil {
				return usage(err, cmd)
			}
			if len(r.Hostname) > longestHostname {
				return usage(fmt.Errorf("cannot use --hostname: the name is longer than %d bytes", longestHostname), cmd)
			}
			r.UTS = r.UTS || r.Hostname != ""
			status, err := run.Run(r)
			return runError(status, err)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	for _, m := range []struct {
		kind run.Kind
		form string
		help string
	}{
		{run.Private, "DIR", "DIR is empty and the command's own, in memory"},
		{run.Tmpfs, "DIR[:SIZE]", "the same, with at most SIZE in it (512M, 2G)"},
		{run.Bind, "SRC:DST", "SRC, a directory or a file, is seen at DST"},
		{run.BindAll, "SRC:DST", "the same, with what is mounted below SRC"},
		{run.BindReadOnly, "SRC:DST", "as --rbind, and nothing of it can be written"},
	} {
		flags.Var(&mountFlag{m.kind, m.form, &r.Mounts}, string(m.kind), m.help+"; repeatable")
	}
	flags.StringVar(&propagation, "propagation", propagation,
		"whether mounts travel: slave (from the host), private\n(not at all), shared (both ways, root only)")
	flags.BoolVar(&r.PID, "pid", false, "processes of its own: it sees, and can signal, no others")
	flags.BoolVar(&r.Net, "net", false, "a network of its own, with nothing but the loopback")
	flags.BoolVar(&r.IPC, "ipc", false, "System V IPC and POSIX message queues of its own")
	flags.BoolVar(&r.UTS, "uts", false, "a host name of its own")
	flags.StringVar(&r.Hostname, "hostname", "", "its own host name is `NAME`; implies --uts")
	flags.BoolVar(&r.MayMount, "mounts", false,
		"the command may mount and unmount, also as a plain user\n(gocryptfs, encfs, sshfs)")
	return cmd
}

func checkCommand(cmd *cobra.Command, args []string) error {
	switch dash := cmd.ArgsLenAtDash(); {
	case len(args) == 0:
		return usage(errors.New("cannot run nothing: a command is missing"), cmd)
	case dash != 0:
		return usage(fmt.Errorf("cannot run %q: write \"--\" before the command", args[0]), cmd)
	}
	return nil
}

func choosePropagation(r *run.Request, value string) error {
	switch p := run.Propagation(value); p {
	case run.Slave, run.PropagationOff, run.Shared:
		r.Propagation = p
		return nil
	}
	return fmt.Errorf("cannot use --propagation %q: it can be slave, private or shared", value)
}

// runError makes an error of how a command ended.
func runError(status int, err error) error {
	var advised *run.Error
	hint := ""
	if errors.As(err, &advised) {
		hint = advised.Hint
	}
	switch {
	case err == nil && status == exitOK:
		return nil
	case err == nil:
		return &failure{err: errors.New(""), status: status}
	case errors.Is(err, run.ErrNotFound):
		return &failure{err: err, status: exitNotFound}
	case errors.Is(err, run.ErrNotRun):
		return &failure{err: err, status: exitNotRun}
	}
	return &failure{err: err, status: exitFailure, hint: hint}
}

// mountFlag adds to the mounts; all its kinds share one list, which keeps their order.
type mountFlag struct {
	kind   run.Kind
	form   string
	mounts *[]run.Mount
}

func (f *mountFlag) String() string { return "" }
func (f *mountFlag) Type() string   { return f.form }

func (f *mountFlag) Set(value string) error {
	m := run.Mount{Kind: f.kind}
	var err error
	switch f.kind {
	case run.Private:
		m.Target = value
	case run.Tmpfs:
		err = readTmpfs(&m, value)
	default:
		err = readBind(&m, value)
	}
	if err == nil && m.Target == "" {
		err = errors.New("a directory is missing")
	}
	*f.mounts = append(*f.mounts, m)
	return err
}

func readTmpfs(m *run.Mount, value string) (err error) {
	parts := splitAtColons(value)
	m.Target = parts[0]
	switch len(parts) {
	case 1:
	case 2:
		m.Size, err = config.ParseSize(parts[1])
	default:
		err = errors.New(`more than one colon; write \: for one in a name`)
	}
	return err
}

func readBind(m *run.Mount, value string) error {
	parts := splitAtColons(value)
	switch {
	case len(parts) > 2:
		return errors.New(`more than one colon; write \: for one in a name`)
	case len(parts) < 2 || parts[0] == "" || parts[1] == "":
		return errors.New("write SRC:DST")
	}
	m.Source, m.Target = parts[0], parts[1]
	return nil
}

// splitAtColons cuts at each colon that no backslash stands before, and removes the
// backslashes that stand before a colon or another one.
func splitAtColons(s string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == ':' || s[i+1] == '\\'):
			i++
			part.WriteByte(s[i])
		case s[i] == ':':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(s[i])
		}
	}
	return append(parts, part.String())
}
