package cli

import (
	"fmt"
	"io"
	"os"

	"gotmpns/internal/hostmount"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
)

// undoMountPoints is for the end of mount_points = "make", and for the package's removal.
func undoMountPoints(out io.Writer, dryRun bool) error {
	if !isRoot() {
		return needRoot("unmount targets")
	}
	v, err := view.Enter(os.Getpid())
	if err != nil {
		return err
	}
	records, err := state.Look(v.Host.Root)
	if err != nil {
		return err
	}
	defer records.Close()
	for _, target := range records.MountPoints() {
		fmt.Fprintln(out, target)
	}
	if dryRun {
		return nil
	}
	return hostmount.Undo(v.Host, records)
}
