package runcli

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"gotmpns/internal/run"
)

// longestHostname is the kernel's limit (uname(2)).
const longestHostname = 64

// Options are the options of gotmpns run.
type Options struct {
	request     run.Request
	propagation string
}

// Add adds the options to a command's; parsing these sets o.
func (o *Options) Add(flags *pflag.FlagSet) {
	r := &o.request
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
	flags.StringVar(&o.propagation, "propagation", string(run.Slave),
		"whether mounts travel: slave (from the host), private\n(not at all), shared (both ways, root only)")
	flags.BoolVar(&r.PID, "pid", false, "processes of its own: it sees, and can signal, no others")
	flags.BoolVar(&r.Net, "net", false, "a network of its own, with nothing but the loopback")
	flags.BoolVar(&r.IPC, "ipc", false, "System V IPC and POSIX message queues of its own")
	flags.BoolVar(&r.UTS, "uts", false, "a host name of its own")
	flags.StringVar(&r.Hostname, "hostname", "", "its own host name is `NAME`; implies --uts")
	flags.BoolVar(&r.MayMount, "mounts", false,
		"the command may mount and unmount, also as a plain user\n(gocryptfs, encfs, sshfs)")
}

// CheckCommand checks the arguments that are not options; dash is how many of
// them come before "--", -1 without one.
func CheckCommand(args []string, dash int) error {
	switch {
	case len(args) == 0:
		return errors.New("cannot run nothing: a command is missing")
	case dash != 0:
		return fmt.Errorf("cannot run %q: write \"--\" before the command", args[0])
	}
	return nil
}

// Request returns what the options and a command ask for.
func (o *Options) Request(command []string) (run.Request, error) {
	r := o.request
	switch p := run.Propagation(o.propagation); p {
	case run.Slave, run.PropagationOff, run.Shared:
		r.Propagation = p
	default:
		return r, fmt.Errorf("cannot use --propagation %q: it can be slave, private or shared", o.propagation)
	}
	if len(r.Hostname) > longestHostname {
		return r, fmt.Errorf("cannot use --hostname: the name is longer than %d bytes", longestHostname)
	}
	r.UTS = r.UTS || r.Hostname != ""
	r.Command = command
	return r, nil
}
