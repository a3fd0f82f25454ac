// Package cli is the command gotmpns: what a user or an administrator types, and
// how it answers.
//
// Each subcommand has a file and a function newX that makes it; what it does is
// done by the packages that logins use, too. A subcommand writes to the streams
// that cobra hands it, returns an error, and never exits by itself.
//
// The voice: results go to the standard output and nothing else does; an error is
// one line, "gotmpns: error: cannot …", and where it is known what to do, another,
// "gotmpns: hint: …". No colours, no questions, no progress.
package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"gotmpns/internal/errtext"
	"gotmpns/internal/run"
)

// Main runs the command and returns its exit status; args are without the
// program's name.
func Main(args []string, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	return printError(root.Execute(), errOut)
}

// Stage carries out a later stage of "gotmpns run", where args, with the
// program's name, are one's, and says whether they were; see [run.Continue].
func Stage(args []string, errOut io.Writer) (status int, was bool) {
	status, err, was := run.Continue(args)
	return printError(runError(status, err), errOut), was
}

// printError prints an error, and returns its exit status.
func printError(err error, errOut io.Writer) int {
	if err == nil {
		return exitOK
	}
	errtext.Print(errOut, err, hintOf(err))
	return statusOf(err)
}

func newRoot() *cobra.Command {
	// Cobra's own command for completion knows a shell that nobody logs in with.
	root := &cobra.Command{
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Use:               "gotmpns",
		Version:           Version,
		Short:             "Inspect and manage private /tmp directories",
		SilenceErrors:     true, // Main prints them
		SilenceUsage:      true,
		Args:              noSubcommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("gotmpns {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(err, cmd)
	})
	root.AddCommand(newStatus())
	root.AddCommand(newPath())
	root.AddCommand(newEnter())
	root.AddCommand(newTry())
	root.AddCommand(newCheck())
	root.AddCommand(newRun())
	root.AddCommand(newImport())
	root.AddCommand(newClean())
	root.AddCommand(newAdopt())
	root.AddCommand(newServe())
	root.AddCommand(newCompletion())
	for _, cmd := range root.Commands() {
		cmd.DisableFlagsInUseLine = true
	}
	return root
}

// noSubcommand is asked when the first word is none.
func noSubcommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usage(fmt.Errorf("cannot find the subcommand %s", printable(args[0])), root)
	root.SuggestionsMinimumDistance = 2
	if similar := root.SuggestionsFor(args[0]); args[0] != "" && len(similar) > 0 {
		return hinted(err, fmt.Sprintf("did you mean %q?", "gotmpns "+similar[0]))
	}
	return err
}

// usage is an error in the command line.
func usage(err error, cmd *cobra.Command) error {
	return &failure{err: err, status: exitUsage, hint: fmt.Sprintf("%q lists commands and options", cmd.CommandPath()+" --help")}
}

// failure is an error with an exit status, and advice where there is some.
type failure struct {
	err    error
	status int
	hint   string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// hinted adds what to do about an error.
func hinted(err error, hint string) error {
	return &failure{err: err, status: statusOf(err), hint: hint}
}

func statusOf(err error) int {
	if f := (*failure)(nil); errors.As(err, &f) {
		return f.status
	}
	return exitFailure
}

func hintOf(err error) string {
	if f := (*failure)(nil); errors.As(err, &f) {
		return f.hint
	}
	return ""
}
