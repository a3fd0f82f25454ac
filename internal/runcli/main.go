// Package runcli is the command line of gotmpns run.
//
// The program gotmpns-run, which c/front.c executes for it, is nothing but this package: how
// long a Go program takes to start depends on what is linked into it. Help, and what is wrong
// with a command line, come from the full command.
package runcli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"

	"gotmpns/internal/errtext"
	"gotmpns/internal/run"
)

// Main is the program gotmpns-run; args are with the program's name. It returns the exit
// status, unless it becomes the command.
func Main(args []string, errOut io.Writer) int {
	status, err, was := run.Continue(args)
	if !was {
		status, err = start(args)
	}
	if err != nil {
		errtext.Print(errOut, err, run.HintOf(err))
	}
	return run.StatusOf(status, err)
}

func start(args []string) (int, error) {
	caller, err := run.CallerOf(args[0])
	if err != nil {
		return 0, err
	}
	request, err := parse(args)
	if err != nil {
		return 0, explain(caller, args)
	}
	return caller.Run(request)
}

// parse reads the arguments of "gotmpns run"; its errors are for nobody to read.
func parse(args []string) (run.Request, error) {
	var options Options
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	options.Add(flags)
	flags.Usage = func() {}
	if len(args) < 2 {
		return run.Request{}, fmt.Errorf("cannot run %q: no subcommand", args)
	}
	if err := flags.Parse(args[2:]); err != nil {
		return run.Request{}, err
	}
	if err := CheckCommand(flags.Args(), flags.ArgsLenAtDash()); err != nil {
		return run.Request{}, err
	}
	return options.Request(flags.Args())
}

// explain becomes the full command, which prints help, or what is wrong with the arguments.
func explain(caller run.Caller, args []string) error {
	if err := caller.Restore(); err != nil {
		return err
	}
	this, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find gotmpns-full beside this program: %w", err)
	}
	full := filepath.Join(filepath.Dir(this), "gotmpns-full")
	err = syscall.Exec(full, append([]string{"gotmpns"}, args[1:]...), os.Environ())
	return fmt.Errorf("cannot execute %s: %w; if it is missing, install the package again", full, err)
}
