package cli

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
)

const defaultSocket = "/run/gotmpns/broker.sock"

func newServe() *cobra.Command {
	socket := defaultSocket
	cmd := &cobra.Command{
		Use:   "serve [--socket PATH]",
		Short: "Answer logins without starting a worker for each",
		Long: `Runs the broker, a daemon that answers logins in a fraction of the time that
starting a worker takes, watches their processes, and removes what is due. If
it is not running, or cannot serve a caller, logins start workers. SIGTERM shuts
it down cleanly.

The service manager starts it as gotmpns.service when the first login connects to
gotmpns.socket. Under another init, run it in the background as root.`,
		Example: `  systemctl enable --now gotmpns.socket      # with systemd
  gotmpns serve &                            # without`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !filepath.IsAbs(socket) {
				return usage(fmt.Errorf("cannot listen at %q: it is not an absolute path", socket), cmd)
			}
			return serve(socket)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", socket, "listen at `PATH`, where no socket is handed over")
	return cmd
}
