package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gotmpns/internal/check"
	"gotmpns/internal/config"
	"gotmpns/internal/inventory"
	"gotmpns/internal/paths"
	"gotmpns/internal/policy"
	"gotmpns/internal/session"
)

func newPath() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "path [--json] [USER] [FILE]",
		Short: "Say where a user's /tmp, or a file in it, is on the host",
		Long: `Prints the path by which the host reaches what USER sees at FILE; the
defaults are you and /tmp. If sessions of a user differ, it prints a line for
each. A tmpfs exists only in the sessions: the path then leads through a process
of the user, such as /proc/PID/root/tmp. For a user without private directories
it is FILE itself, with the reason as a note.

In the other direction, for a FILE inside a private directory on the host, it
prints the user and the path that the user sees, separated by a tab.

An argument with a slash is a FILE, one without is a USER; a relative FILE
(./draft) starts at the current directory. Links are not followed, and FILE need
not exist. Only root can ask for other users.`,
		Example: `  gotmpns path                                    # where is my /tmp?
  gotmpns path ./draft.txt                        # and this file?
  gotmpns path alice /tmp/draft.txt               # as root
  gotmpns path /tmp/gotmpns-5e0c1a7b/1000/x.sock  # whose is this?
  tail "$(gotmpns path alice /tmp/build.log)"`,
		Args:              maximumArgs(2),
		ValidArgsFunction: completeUserThenFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, file, err := userAndFile(args)
			if err != nil {
				return usage(err, cmd)
			}
			answer, err := locate(cmd, name, file)
			if err != nil {
				return err
			}
			return answer.print(cmd, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	return cmd
}

// userAndFile tells user and file apart: a user's name has no slash.
func userAndFile(args []string) (name, file string, err error) {
	file = "/tmp"
	switch {
	case slices.Contains(args, ""):
		return "", "", errors.New("cannot use an empty argument as a user's name or a file")
	case len(args) == 1 && strings.Contains(args[0], "/"):
		file = args[0]
	case len(args) > 0:
		name = args[0]
	}
	if len(args) == 2 {
		file = args[1]
	}
	switch {
	case name == "." || name == "..":
		return "", "", fmt.Errorf("cannot use %s as a user's name: write ./ for the current directory", name)
	case strings.Contains(name, "/"):
		return "", "", fmt.Errorf("cannot use %s as a user's name", printable(name))
	case len(args) == 2 && !strings.Contains(file, "/"):
		return "", "", fmt.Errorf("cannot use %s as a file: a file has a slash in it, as ./%s has", printable(file), file)
	}
	file, err = filepath.Abs(file)
	return name, file, err
}

// location answers path.
type location struct {
	User  string   `json:"user"`
	File  string   `json:"file"`            // as the user sees it
	Hosts []string `json:"paths,omitempty"` // by which the host reaches it
	Host  string   `json:"host,omitempty"`  // asked the other way round: the path that was named
	Notes []string `json:"notes,omitempty"`
}

func (l location) print(cmd *cobra.Command, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), l)
	}
	for _, text := range l.Notes {
		note(cmd.ErrOrStderr(), text)
	}
	return l.printPaths(cmd.OutOrStdout())
}

func (l location) printPaths(out io.Writer) error {
	if l.Host != "" {
		_, err := fmt.Fprintf(out, "%s\t%s\n", printable(l.User), printable(l.File))
		return err
	}
	for _, path := range l.Hosts {
		if _, err := fmt.Fprintln(out, path); err != nil {
			return err
		}
	}
	return nil
}

func locate(cmd *cobra.Command, name, file string) (location, error) {
	own := name == ""
	var want inventory.Want // with a file alone: it may be anybody's
	if own {
		var err error
		if name, err = ownName(); err != nil {
			return location{}, err
		}
	} else {
		u, err := account(name)
		if err != nil {
			return location{}, err
		}
		want = wantOf(u)
	}
	if me, err := ownName(); !isRoot() && (err != nil || me != name) {
		return location{}, needRoot("see where another user's files are")
	}
	namespace := inventory.Namespace() // before the inventory moves to the host's
	inv, err := takeInventory(cmd, want)
	if err != nil {
		return location{}, err
	}
	if whose, found := inv.FromHost(file); own && found {
		return location{User: whose.User, File: whose.Path, Host: file}, nil
	}
	l := location{User: name, File: file}
	if s, inside := inv.Session(namespace); own && inside && s.User != name {
		l.User, l.Notes = s.User, []string{"you are in a session of " + printable(s.User)}
	}
	if l.Hosts, err = inv.OnHost(l.User, file); err == nil {
		l.Notes = append(l.Notes, notes(inv, l)...)
		return l, nil
	}
	if reason := whyOnHost(l.User, file); reason != "" {
		l.Hosts, l.Notes = []string{file}, append(l.Notes, reason)
		return l, nil
	}
	return location{}, hinted(err, fmt.Sprintf("%q says what a login would get", "gotmpns check --user "+l.User))
}

// notes say what is remarkable about a path: its directory has been removed; or a file
// is on the host under the same name and not in the user's directory, so it is older
// than that, or another user made it.
func notes(inv inventory.Inventory, l location) []string {
	if inv.IsRemoved(l.User, l.File) {
		return []string{"a session's private directory has been removed on the host; the next login gets a new one"}
	}
	if len(l.Hosts) != 1 || l.Hosts[0] == l.File || !inv.IsPrivate(l.User, l.File) {
		return nil
	}
	if _, err := os.Lstat(l.Hosts[0]); !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if isRoot() {
		if _, err := os.Lstat(l.File); err == nil { // root looks from the host
			return []string{l.File + " exists on the host, outside of the private directory: it is older than that, or was made outside of a session"}
		}
	}
	return nil
}

// whyOnHost says why a user sees the host's file at a path; empty: a login would see
// another one, or it cannot be known.
func whyOnHost(name, file string) string {
	inPlace := configInPlace()
	p, err := config.Load(inPlace)
	u, userErr := account(name)
	if err != nil || userErr != nil {
		return ""
	}
	request, err := requestOf(u, usualService, inPlace)
	if err != nil {
		return ""
	}
	subject, err := session.SubjectOf(request, p)
	if err != nil {
		return ""
	}
	switch outcome, reason := outcomeOf(check.Rules(p, subject)); {
	case outcome == outcomeExempt:
		return printable(name) + " has no private directories: exempt by " + reason
	case outcome == outcomeNothing:
		return printable(name) + " has no private directories: " + reason
	case !isBelowTarget(p, file):
		return printable(file) + " is not below a private directory"
	}
	return ""
}

func isBelowTarget(p policy.Policy, file string) bool {
	return slices.ContainsFunc(p.Private, func(private policy.Private) bool { return paths.IsWithin(file, private.Target) }) ||
		slices.ContainsFunc(p.Bind, func(bind policy.Bind) bool { return paths.IsWithin(file, bind.Target) })
}
