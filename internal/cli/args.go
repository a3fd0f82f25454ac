package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gotmpns/internal/pamconf"
)

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(fmt.Errorf("cannot use the argument %s: %q takes none", printable(args[0]), cmd.CommandPath()), cmd)
	}
	return nil
}

// maximumArgs refuses more than n arguments.
func maximumArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usage(fmt.Errorf("cannot use the argument %s: there are too many", printable(args[n])), cmd)
		}
		return nil
	}
}

// userAndCommand reads USER [-- COMMAND]: what follows the dashes is the
// command's own, options among it.
func userAndCommand(cmd *cobra.Command, args []string) error {
	before := cmd.ArgsLenAtDash()
	switch {
	case len(args) == 0 || before == 0:
		return usage(errors.New("missing argument USER"), cmd)
	case args[0] == "" || strings.Contains(args[0], "/"):
		return usage(fmt.Errorf("cannot use %s as a user's name", printable(args[0])), cmd)
	case before < 0 && len(args) > 1 || before > 1:
		return usage(fmt.Errorf(`cannot use the argument %s: a command comes behind "--"`, printable(args[1])), cmd)
	}
	return nil
}

// completeUser completes the first argument.
func completeUser(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return users(begun), cobra.ShellCompDirectiveNoFileComp
}

// completeUsers completes every argument.
func completeUsers(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	return users(begun), cobra.ShellCompDirectiveNoFileComp
}

// completeUserThenFile completes a user's name, or a path where there is a slash.
func completeUserThenFile(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if len(args) == 1 || strings.Contains(begun, "/") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return completeUser(cmd, args, begun)
}

// completeUserFlag completes --user.
func completeUserFlag(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	return users(begun), cobra.ShellCompDirectiveNoFileComp
}

// users lists root and the people of /etc/passwd: a directory service may have
// millions, and nobody waits for them at a prompt.
func users(begun string) []string {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return nil
	}
	defer f.Close()
	var names []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 7 || !strings.HasPrefix(fields[0], begun) {
			continue
		}
		const firstPerson, nobody = 1000, 65534
		uid, err := strconv.Atoi(fields[2])
		if err == nil && (uid == 0 || uid >= firstPerson && uid != nobody) {
			names = append(names, fields[0])
		}
	}
	return names
}

// services lists the PAM services that open sessions.
func services(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	names := slices.DeleteFunc(pamconf.Read().Services(), func(name string) bool { return !strings.HasPrefix(name, begun) })
	return names, cobra.ShellCompDirectiveNoFileComp
}
