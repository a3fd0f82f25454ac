package cli

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"gotmpns/test/process"
)

// TestMain lets this binary play a container's runtime for the scripts: with
// FORBID_UNSHARE, it becomes the command of its arguments behind a filter that
// refuses unshare(2).
func TestMain(m *testing.M) {
	if os.Getenv("FORBID_UNSHARE") != "" {
		environment := append(os.Environ(), "FORBID_UNSHARE=")
		fmt.Fprintln(os.Stderr, process.Filtered([]uint32{unix.SYS_UNSHARE}, os.Args[1:], environment))
		os.Exit(1)
	}
	os.Exit(m.Run())
}
