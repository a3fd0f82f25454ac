package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

func newCompletion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion script of a shell",
		Long: `Prints a script by which a shell completes subcommands, options, users and PAM
services. "make install" puts all three where the shells look for them.`,
		Example: `  source <(gotmpns completion bash)
  gotmpns completion fish > ~/.config/fish/completions/gotmpns.fish`,
		ValidArgs: shells,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(errors.New("missing argument: bash, zsh or fish"), cmd)
			}
			if !slices.Contains(shells, args[0]) {
				return usage(fmt.Errorf("cannot complete for %s: supported shells are bash, zsh and fish", printable(args[0])), cmd)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(out)
			}
			return cmd.Root().GenFishCompletion(out, true)
		},
	}
}
