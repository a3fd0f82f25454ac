package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gotmpns/internal/namespaceconf"
)

const namespaceConf = "/etc/security/namespace.conf"

func newImport() *cobra.Command {
	return &cobra.Command{
		Use:   "import [FILE]",
		Short: "Turn pam_namespace's configuration into ours",
		Long: `Reads FILE, or ` + namespaceConf + `, and the files *.conf of the directory
with ".d" in the place of ".conf", namespace.d, as pam_namespace does, and prints
them as a gotmpns.toml, line by line. What has no counterpart is told in a remark
above the line's table, and the table is a comment where it would mean something
else. Nothing is written but what is printed.`,
		Example: `  gotmpns import                                      # to look at it
  gotmpns import > gotmpns.toml
  gotmpns import old/namespace.conf | less`,
		DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage(fmt.Errorf("cannot import %d files at once: one is enough, drop-ins come by themselves", len(args)), cmd)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			path := namespaceConf
			if len(args) > 0 {
				path = args[0]
			}
			entries, err := readNamespaceConf(path)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), namespaceconf.Translate(entries))
			return err
		},
	}
}

// readNamespaceConf reads the file and its drop-ins; all mistakes are told at once.
func readNamespaceConf(path string) ([]namespaceconf.Entry, error) {
	files, err := filepath.Glob(escapeGlob(strings.TrimSuffix(path, ".conf")+".d") + "/*.conf")
	if err != nil {
		return nil, fmt.Errorf("cannot read the drop-ins of %s: %w", path, err)
	}
	slices.Sort(files)
	var entries []namespaceconf.Entry
	var mistakes namespaceconf.Errors
	for _, file := range append([]string{path}, files...) {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && path == namespaceConf {
			return nil, hinted(fmt.Errorf("cannot import %s: there is no such file", file), "name the file if it is elsewhere; nothing has to be imported if pam_namespace was never used")
		}
		if err != nil {
			return nil, fmt.Errorf("cannot import it: %w", err)
		}
		some, err := namespaceconf.Parse(file, text)
		if some := (namespaceconf.Errors)(nil); errors.As(err, &some) {
			mistakes = append(mistakes, some...)
		}
		entries = append(entries, some...)
	}
	if mistakes != nil {
		return nil, fmt.Errorf("cannot import: %w", mistakes)
	}
	return entries, nil
}

// escapeGlob takes the meaning from what is special in a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
