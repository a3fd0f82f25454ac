package cli

import "gotmpns/internal/run"

// The exit statuses of gotmpns; gotmpns(1) lists them. The subcommands that run
// another command (run, enter, try) end with that command's own, or with 128 and
// the number of the signal that ended it, as a shell says it.
const (
	exitOK       = 0
	exitFailure  = 1 // it did not work: the error says why
	exitUsage    = 2 // the command line was wrong
	exitFindings = 3 // check: something is not as it should be
	exitNotRun   = run.ExitNotRun
	exitNotFound = run.ExitNotFound
)
