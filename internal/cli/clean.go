package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"gotmpns/internal/cleanup"
	"gotmpns/internal/config"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
)

func newClean() *cobra.Command {
	var dryRun bool
	path := config.DefaultPath
	cmd := &cobra.Command{
		Use:   "clean [--dry-run] [--config FILE]",
		Short: "Empty the directories of those who have logged out",
		Long: `Empties what is due, and prints it: the directories of targets with
cleanup = "logout" whose user has no session any more, and which no process has
mounted. The broker does the same by itself when a session ends.`,
		Example: `  gotmpns clean --dry-run     # what would go
  gotmpns clean`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return clean(cmd.OutOrStdout(), path, dryRun)
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "print what is due, and leave it")
	cmd.Flags().StringVar(&path, "config", path, "the configuration `FILE` that says what is due")
	return cmd
}

func clean(out io.Writer, path string, dryRun bool) error {
	if os.Geteuid() != 0 {
		return hinted(errors.New("cannot look for what is due: only root can"), "run it as root, or with sudo")
	}
	v, err := view.Enter(os.Getpid())
	if err != nil {
		return err
	}
	p, err := config.Load(path)
	if err != nil {
		return hinted(err, `"gotmpns check" shows all that is wrong with the configuration`)
	}
	records, err := state.Open(v.Host.Root)
	if err != nil {
		return err
	}
	pass, err := cleanup.New(cleanup.Options{View: v, Records: records, Policy: p})
	if err != nil {
		return err
	}
	defer pass.Close()
	if !dryRun {
		records.Sweep()
	}
	due, errs := pass.Find(cleanup.Always...)
	if !dryRun {
		errs = errors.Join(errs, pass.Refresh())
		removed, err := pass.Remove(due)
		due, errs = removed, errors.Join(errs, err)
	}
	for _, d := range due {
		fmt.Fprintln(out, d.Path)
	}
	return errs
}
