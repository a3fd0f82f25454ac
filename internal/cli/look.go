package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"gotmpns/internal/check"
	"gotmpns/internal/config"
	"gotmpns/internal/inventory"
	"gotmpns/internal/pamconf"
	"gotmpns/internal/policy"
)

// takeInventory looks around: root sees everything, except in a container without
// CAP_SYS_ADMIN, and other users their own processes; notes say what could not be known.
func takeInventory(cmd *cobra.Command, want inventory.Want) (inventory.Inventory, error) {
	p, err := config.Load(configInPlace())
	if err != nil {
		note(cmd.ErrOrStderr(), `the configuration cannot be used, so a base that it names is not known: "gotmpns check" says why`)
		p = policy.Default()
	}
	if isRoot() {
		inv, err := inventory.Take(p, want)
		if err == nil {
			return inv, nil
		}
		note(cmd.ErrOrStderr(), "this is what root's own processes show, because the host cannot be looked at: "+err.Error())
	}
	name, err := ownName()
	if err != nil {
		return inventory.Inventory{}, err
	}
	return inventory.Own(uint32(os.Getuid()), name, p), nil
}

// configInPlace is the configuration that logins use: the one that a PAM stack names, or
// the default.
func configInPlace() string { return configOfService(usualService) }

// configOfService is the configuration of logins through a PAM service.
func configOfService(service string) string {
	stacks := pamconf.Read()
	if call := check.CallOf(stacks, service); call.Line.File != "" {
		return cmp.Or(call.Arguments.Config, config.DefaultPath)
	}
	return check.ConfigsOf(stacks)[0]
}

// mistakesHint says what shows all mistakes of a configuration; empty: of the one in place.
func mistakesHint(file string) string {
	command := "gotmpns check"
	if file != "" {
		command += " --config " + quoted(file)
	}
	return fmt.Sprintf("\"%s\" shows all that is wrong with the configuration", command)
}

// quoted makes one word of a shell of a name.
func quoted(name string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-./@%+=:,", r)
	}
	if name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

func isRoot() bool { return os.Geteuid() == 0 }

func ownName() (string, error) {
	u, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil {
		return "", fmt.Errorf("cannot find out who you are: %w", err)
	}
	return u.Username, nil
}

// account looks a user up, so that a misspelled name is not taken for a user without sessions.
func account(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	switch {
	case errors.As(err, &unknown):
		return nil, hinted(fmt.Errorf("cannot find the user %s", printable(name)), "\"getent passwd\" lists the users")
	case err != nil:
		return nil, fmt.Errorf("cannot look up the user %s: %w", printable(name), err)
	}
	return u, nil
}

// configFile makes the path of a configuration that was named absolute; empty stays
// empty. Logins read it in the host's mount namespace, so what root sees only in a
// private directory of this session is refused.
func configFile(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return "", fmt.Errorf("cannot find %s: %w", printable(name), err)
	}
	here, err := os.Stat(path)
	if err != nil || !isRoot() {
		return path, nil // an error that others report
	}
	if _, err := os.Stat("/proc/1/root/"); err != nil {
		return path, nil
	}
	if host, err := os.Stat("/proc/1/root" + path); err != nil || !os.SameFile(here, host) {
		return "", hinted(fmt.Errorf("cannot use %s: it lies in a private directory of this session, and logins see the host's files", printable(path)),
			"copy it to a directory that is not private, such as /root")
	}
	return path, nil
}

// needRoot says why an ordinary user cannot go on.
func needRoot(what string) error {
	return hinted(fmt.Errorf("cannot %s: only root can", what), "run it as root, or with sudo")
}

// note prints a remark beside the result.
func note(errOut io.Writer, text string) { fmt.Fprintln(errOut, "gotmpns: note: "+text) }

// printable shows a name or a path as it is, and quoted where a terminal or a
// reader of lines could be led astray by it.
func printable(s string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if s == "" || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}

// wantOf asks for what is one user's.
func wantOf(u *user.User) inventory.Want {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return inventory.Want{}
	}
	one := uint32(uid)
	return inventory.Want{UID: &one}
}
