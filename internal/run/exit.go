package run

import "errors"

// The exit statuses of a command that was not run, as shells have them.
const (
	ExitFailure  = 1
	ExitNotRun   = 126 // the command could not be executed
	ExitNotFound = 127 // there is no such command
)

// StatusOf is what a process ends with after [Caller.Run].
func StatusOf(status int, err error) int {
	switch {
	case err == nil:
		return status
	case errors.Is(err, ErrNotFound):
		return ExitNotFound
	case errors.Is(err, ErrNotRun):
		return ExitNotRun
	}
	return ExitFailure
}

// HintOf returns what to do about an error; empty where that is not known.
func HintOf(err error) string {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Hint
	}
	return ""
}
