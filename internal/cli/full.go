package cli

import (
	"os"
	"slices"
	"strings"
	"syscall"
)

// fullPath is the same command linked with the C library, set when it is built.
//
// The command is built twice. What is in PATH is static: loading the C library takes
// longer than all that "run" does, and a plain user's "run" starts the program
// twice. PAM and the name service are the C library's; what needs them is handed
// over to the other one.
var fullPath string

// static are the subcommands that need neither.
var static = []string{"run", "import", "completion", "help", "__complete", "__completeNoDesc"}

// HandOver replaces this program by the full one where args, with the program's
// name, ask for what needs it. Where that is missing, it returns: much works without.
func HandOver(args []string) {
	if isFull || fullPath == "" || len(args) < 2 || strings.HasPrefix(args[1], "-") || slices.Contains(static, args[1]) {
		return
	}
	_ = syscall.Exec(fullPath, args, os.Environ())
}
