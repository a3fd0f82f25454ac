package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	accounts "gotmpns/internal/account"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/namespaceconf"
)

const namespaceConf = "/etc/security/namespace.conf"

// imported is what import --json prints.
type imported struct {
	TOML    string   `json:"toml"`
	Remarks []string `json:"remarks"` // what differs, or is lost
}

func newImport() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "import [--json] [FILE]",
		Short: "Convert the configuration of pam_namespace",
		Long: `Converts FILE, or ` + namespaceConf + `, and the files *.conf in
the directory of that name with ".d" in place of ".conf", as pam_namespace reads
them, to a gotmpns.toml on the standard output.

With it, root, system users and all others have the same private directories as
with pam_namespace on this host, whether it is used as gotmpns.toml itself or as
a file in gotmpns.d. Differences are listed in comments; a table that would mean
something else is a comment itself. No file is written.`,
		Example: `  gotmpns import                                      # show it
  gotmpns import > /etc/security/gotmpns.d/site.toml
  gotmpns import old/namespace.conf | less`,
		DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage(fmt.Errorf("cannot import %d files at once: name one, its drop-ins are included", len(args)), cmd)
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
			text := namespaceconf.Translate(entries, thisHost())
			if asJSON {
				return printJSON(cmd.OutOrStdout(), imported{text, remarksIn(text)})
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs: the text, and what differs")
	return cmd
}

// remarksIn takes the comments that list differences out of the text.
func remarksIn(text string) []string {
	remarks := []string{}
	for line := range strings.Lines(text) {
		if remark, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "#   "); ok {
			remarks = append(remarks, strings.TrimSpace(remark))
		}
	}
	return remarks
}

// thisHost is what the conversion depends on.
func thisHost() namespaceconf.Host {
	exists := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	resolve := func(path string) string {
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			return resolved
		}
		return path
	}
	return namespaceconf.Host{
		Resolve: resolve,
		SELinux: exists("/sys/fs/selinux/enforce"), // the file system is mounted where it is on
		Exists:  exists,
		IsSafe:  isSafe,
		Homes:   homes(),
	}
}

// homes are the home directories of the users in passwd(5).
func homes() map[string]string {
	text, _ := os.ReadFile("/etc/passwd") // without it, nobody's is known
	homes := map[string]string{}
	for _, local := range accounts.Locals(string(text)) {
		if strings.HasPrefix(local.Home, "/") {
			homes[local.Name] = local.Home
		}
	}
	return homes
}

// isSafe says whether a directory and all those above it are root's, and writable by
// nobody else.
func isSafe(directory string) bool {
	for {
		var st unix.Stat_t
		err := unix.Lstat(directory, &st)
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != 0 || st.Mode&mountfd.WritableByOthers != 0 {
			return false
		}
		if directory == "/" {
			return true
		}
		directory = filepath.Dir(directory)
	}
}

// readNamespaceConf reads the file and its drop-ins. All mistakes are in one error.
func readNamespaceConf(path string) ([]namespaceconf.Entry, error) {
	files, err := filepath.Glob(escapeGlob(strings.TrimSuffix(path, ".conf")+".d") + "/*.conf")
	if err != nil {
		return nil, fmt.Errorf("cannot read the drop-ins of %s: %w", path, err)
	}
	slices.Sort(files)
	var entries []namespaceconf.Entry
	var mistakes namespaceconf.Errors
	for i, file := range append([]string{path}, files...) {
		read := readDropIn
		if i == 0 {
			read = os.ReadFile // a pipe, perhaps
		}
		text, err := read(file)
		if errors.Is(err, fs.ErrNotExist) && path == namespaceConf {
			return nil, hinted(fmt.Errorf("cannot import %s: no such file", file), "name the file if it is elsewhere; if pam_namespace was never used, there is nothing to import")
		}
		if err != nil {
			return nil, fmt.Errorf("cannot import: %w", err)
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

// escapeGlob quotes the special characters of a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// readDropIn reads a file of at most a megabyte, and waits for nobody: users may have put a
// FIFO or a link to a device beside a file of theirs.
func readDropIn(path string) ([]byte, error) {
	const largest = 1 << 20
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > largest:
		return nil, fmt.Errorf("%s has more than %d bytes", path, largest)
	}
	return io.ReadAll(io.LimitReader(f, largest))
}
