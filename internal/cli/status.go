package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gotmpns/internal/check"
	"gotmpns/internal/config"
	"gotmpns/internal/counters"
	"gotmpns/internal/inventory"
	"gotmpns/internal/pamconf"
)

type statusFlags struct {
	sort          string
	watch         int // in seconds; 0: once
	json, metrics bool
}

// The orders of status.
const (
	byUser  = "user"
	bySize  = "size"
	bySince = "since"
)

func newStatus() *cobra.Command {
	var flags statusFlags
	cmd := &cobra.Command{
		Use:   "status [--sort KEY] [--watch[=SECONDS]] [--json | --metrics] [USER]",
		Short: "List sessions and private directories",
		Long: `Lists the open sessions that have private directories, and the directories
("instances") themselves: their users, targets, paths on the host and sizes.
Sessions that share a mount namespace are listed together, followed by what they
see at each target.

Root sees all of them. Other users see their own, as far as their processes show
them: only root can see which PAM service opened a session, and directories that
are not used by any process.`,
		Example: `  gotmpns status
  gotmpns status alice                 # hers alone
  gotmpns status --sort size           # who has the most in /tmp?
  gotmpns status --watch               # again every two seconds
  gotmpns status --json | jq -r '.sessions[] | [.user, .service] | @tsv'
  gotmpns status --metrics > /var/lib/node_exporter/gotmpns.prom`,
		Args:              maximumArgs(1),
		ValidArgsFunction: completeUser,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(); err != nil {
				return usage(err, cmd)
			}
			name := ""
			if len(args) > 0 {
				var err error
				if name, err = userToShow(cmd, args[0]); err != nil {
					return err
				}
			}
			return watchStatus(cmd, name, flags)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.json, "json", false, "print JSON, for programs")
	f.BoolVar(&flags.metrics, "metrics", false, "print OpenMetrics text, for a monitoring system")
	f.StringVar(&flags.sort, "sort", byUser, "sort by `KEY`: user, size or since")
	f.IntVar(&flags.watch, "watch", 0, "print it again every `SECONDS` (2)")
	f.Lookup("watch").NoOptDefVal = "2"
	_ = cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions([]string{byUser, bySize, bySince}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (f statusFlags) check() error {
	switch {
	case !slices.Contains([]string{byUser, bySize, bySince}, f.sort):
		return fmt.Errorf("cannot sort by %s: valid keys are user, size and since", printable(f.sort))
	case f.watch < 0:
		return errors.New("cannot watch: --watch takes a number of seconds")
	case f.json && f.metrics, f.watch > 0 && (f.json || f.metrics):
		return errors.New("cannot combine --json, --metrics and --watch: use one of them")
	}
	return nil
}

// userToShow checks the name of the one user to show.
func userToShow(cmd *cobra.Command, name string) (string, error) {
	if name == "" || strings.Contains(name, "/") {
		return "", usage(fmt.Errorf("cannot use %s as a user's name", printable(name)), cmd)
	}
	u, err := account(name)
	if err != nil {
		return "", err
	}
	if me, err := ownName(); !isRoot() && (err != nil || me != u.Username) {
		return "", needRoot("see another user's sessions")
	}
	return u.Username, nil
}

// watchStatus prints the status once or, with --watch, until it is interrupted.
func watchStatus(cmd *cobra.Command, name string, flags statusFlags) error {
	if flags.watch == 0 {
		return showStatus(cmd, name, flags)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for tick := time.NewTicker(time.Duration(flags.watch) * time.Second); ; {
		if f, ok := cmd.OutOrStdout().(*os.File); ok && isTerminal(int(f.Fd())) {
			fmt.Fprint(f, "\x1b[H\x1b[2J")
		}
		if err := showStatus(cmd, name, flags); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func showStatus(cmd *cobra.Command, name string, flags statusFlags) error {
	inv, err := takeInventory(cmd, inventory.Want{Usage: true})
	if err != nil {
		return err
	}
	if name != "" {
		inv = inv.Of(name)
	}
	sortInventory(&inv, flags.sort)
	switch {
	case flags.json:
		return printJSON(cmd.OutOrStdout(), statusOfInventory(inv))
	case flags.metrics:
		counted, err := counters.Read(counters.Path)
		if err != nil && isRoot() {
			return err
		}
		return printMetrics(cmd.OutOrStdout(), inv, counted)
	}
	switch {
	case !isRoot():
		note(cmd.ErrOrStderr(), "this is what your own processes show; only root can see services and other users' sessions")
	case !inv.Partial:
		noteOutside(cmd.ErrOrStderr(), name)
	}
	if name != "" && !inv.Partial && len(inv.Sessions) == 0 && len(inv.Instances) == 0 {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "no session of %s has a private directory, and none is left of an earlier one\n", printable(name))
		return err
	}
	return printInventory(cmd.OutOrStdout(), inv)
}

// noteOutside names users with processes that see the host's directories although logins
// of theirs would not; of one user, where there is a name. takeInventory has moved this
// thread to the host's namespace.
func noteOutside(errOut io.Writer, name string) {
	p, err := config.Load(configInPlace())
	if err != nil {
		return // which another note says
	}
	users := check.UsersOutside(p, pamconf.Read())
	if name != "" {
		users = slices.DeleteFunc(users, func(user string) bool { return user != name })
	}
	const shown = 5
	more := ""
	if len(users) > shown {
		users, more = users[:shown], fmt.Sprintf(" and %d more", len(users)-shown)
	}
	if len(users) > 0 {
		note(errOut, fmt.Sprintf("processes of %s%s see the host's directories: \"gotmpns check\" says more", strings.Join(users, ", "), more))
	}
}

// sortInventory sorts sessions and instances; those of one user and namespace stay
// together, the oldest first.
func sortInventory(inv *inventory.Inventory, key string) {
	bytes, since := map[string]uint64{}, map[string]time.Time{}
	for _, i := range inv.Instances {
		bytes[i.User] += i.Usage.Bytes
	}
	for _, s := range inv.Sessions {
		if first, ok := since[s.User]; !ok || s.Since.Before(first) {
			since[s.User] = s.Since
		}
	}
	users := func(a, b string) int {
		switch key {
		case bySize:
			return cmp.Or(cmp.Compare(bytes[b], bytes[a]), cmp.Compare(a, b))
		case bySince:
			return cmp.Or(since[a].Compare(since[b]), cmp.Compare(a, b))
		}
		return cmp.Compare(a, b)
	}
	slices.SortStableFunc(inv.Sessions, func(a, b inventory.Session) int {
		return cmp.Or(users(a.User, b.User), cmp.Compare(a.Namespace, b.Namespace), a.Since.Compare(b.Since))
	})
	slices.SortStableFunc(inv.Instances, func(a, b inventory.Instance) int {
		if key == bySize {
			return cmp.Compare(b.Usage.Bytes, a.Usage.Bytes)
		}
		return cmp.Or(users(a.User, b.User), cmp.Compare(a.Target, b.Target))
	})
}

// ---- for people ----

func printInventory(out io.Writer, inv inventory.Inventory) error {
	if len(inv.Sessions) == 0 && len(inv.Instances) == 0 {
		text := "no session has a private directory, and none is left of an earlier one"
		if inv.Partial {
			text = "no process of yours has a private directory"
		}
		_, err := fmt.Fprintln(out, text)
		return err
	}
	var table columns
	if len(inv.Sessions) > 0 {
		table.add("USER", "SERVICE", "SINCE", "PID", "NAMESPACE")
		addSessions(&table, inv.Sessions)
	}
	if err := table.print(out); err != nil || len(inv.Instances) == 0 {
		return err
	}
	if len(inv.Sessions) > 0 {
		fmt.Fprintln(out)
	}
	table = nil
	table.add("INSTANCE OF", "TARGET", "KIND", "SIZE", "ON THE HOST")
	for _, i := range inv.Instances {
		table.add(ownerOf(i), printable(i.Target), string(i.Kind), size(i), printable(i.Host))
	}
	return table.print(out)
}

// addSessions adds a line for each session and, after the last one of a namespace,
// what they see there.
func addSessions(table *columns, sessions []inventory.Session) {
	several := inSeveral(sessions)
	for i, s := range sessions {
		name, namespace := printable(s.User), number(s.Namespace)
		if i > 0 && sessions[i-1].User == s.User {
			name = ""
		}
		if i > 0 && sharesNamespace(sessions[i-1], s) {
			namespace = ""
		}
		table.add(name, orDash(s.Service), when(s.Since), strconv.Itoa(s.PID), namespace)
		if i+1 < len(sessions) && sharesNamespace(s, sessions[i+1]) {
			continue
		}
		for _, p := range s.Places {
			table.line("    " + printable(p.Target) + "  " + whereOf(p))
		}
		if s.Why != "" && several[s.User] {
			table.line("    own namespace: " + printable(s.Why))
		}
	}
}

// inSeveral are the users whose sessions are in more than one namespace.
func inSeveral(sessions []inventory.Session) map[string]bool {
	first, several := map[string]uint64{}, map[string]bool{}
	for _, s := range sessions {
		if s.Namespace == 0 {
			continue
		}
		if n, seen := first[s.User]; seen && n != s.Namespace {
			several[s.User] = true
		}
		first[s.User] = s.Namespace
	}
	return several
}

// sharesNamespace says whether two sessions of one user see the same.
func sharesNamespace(a, b inventory.Session) bool {
	return a.User == b.User && a.Namespace == b.Namespace && a.Namespace != 0
}

func whereOf(p inventory.Place) string {
	switch {
	case p.Kind == inventory.Gone:
		return "nothing is mounted there any more"
	case p.Kind == inventory.Removed:
		return "its directory has been removed on the host; the next login gets a new one"
	case p.Kind == inventory.Unknown:
		return "unknown: the process has moved to another namespace"
	case p.Host == "":
		return fmt.Sprintf("%s, reached by %s", p.Kind, p.Reach)
	case p.Kind == inventory.Bind:
		return printable(p.Host) + " (bind)"
	}
	return printable(p.Host)
}

func ownerOf(i inventory.Instance) string {
	switch {
	case i.Aside:
		return fmt.Sprintf("earlier uid %d", i.UID)
	case i.User == "":
		return fmt.Sprintf("uid %d", i.UID)
	}
	return printable(i.User)
}

func size(i inventory.Instance) string {
	text := bytesFor(i.Usage.Bytes)
	if i.Usage.AtLeast {
		return ">" + text
	}
	return text
}

// bytesFor writes a size as ls -h does.
func bytesFor(n uint64) string {
	units := "KMGTPE"
	if n < 1024 {
		return strconv.FormatUint(n, 10)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1023.5 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if value < 9.95 {
		return fmt.Sprintf("%.1f%c", value, units[unit])
	}
	return fmt.Sprintf("%.0f%c", value, units[unit])
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

func number(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("2006-01-02 15:04:05")
}

// ---- for programs ----

type jsonStatus struct {
	Complete  bool           `json:"complete"` // false: only the caller's
	Sessions  []jsonSession  `json:"sessions"`
	Instances []jsonInstance `json:"instances"`
}

type jsonSession struct {
	User      string      `json:"user"`
	UID       uint32      `json:"uid"`
	Service   string      `json:"service,omitempty"`
	TTY       string      `json:"tty,omitempty"`
	RHost     string      `json:"rhost,omitempty"`
	PID       int         `json:"pid"`
	Since     string      `json:"since,omitempty"`
	Namespace uint64      `json:"namespace,omitempty"`
	Why       string      `json:"why,omitempty"` // it has a namespace of its own
	Targets   []jsonPlace `json:"targets"`
}

type jsonPlace struct {
	Target string `json:"target"`
	Kind   string `json:"kind"`
	Host   string `json:"host,omitempty"`
	Reach  string `json:"reach,omitempty"`
}

type jsonInstance struct {
	User    string `json:"user,omitempty"`
	UID     uint32 `json:"uid"`
	Session string `json:"session,omitempty"`
	Target  string `json:"target"`
	Kind    string `json:"kind"`
	Aside   bool   `json:"aside,omitempty"`
	Host    string `json:"host"`
	Bytes   uint64 `json:"bytes"`
	AtLeast bool   `json:"at_least,omitempty"`
}

func statusOfInventory(inv inventory.Inventory) jsonStatus {
	status := jsonStatus{Complete: !inv.Partial, Sessions: []jsonSession{}, Instances: []jsonInstance{}}
	for _, s := range inv.Sessions {
		session := jsonSession{
			User: s.User, UID: s.UID, Service: s.Service, TTY: s.TTY, RHost: s.RHost,
			PID: s.PID, Namespace: s.Namespace, Why: s.Why, Targets: []jsonPlace{},
		}
		if !s.Since.IsZero() {
			session.Since = s.Since.UTC().Format(time.RFC3339)
		}
		for _, p := range s.Places {
			session.Targets = append(session.Targets, jsonPlace{p.Target, string(p.Kind), p.Host, cmp.Or(p.Reach, p.Host)})
		}
		status.Sessions = append(status.Sessions, session)
	}
	for _, i := range inv.Instances {
		status.Instances = append(status.Instances, jsonInstance{
			User: i.User, UID: i.UID, Session: i.Session, Target: i.Target, Kind: string(i.Kind),
			Aside: i.Aside, Host: i.Host, Bytes: i.Usage.Bytes, AtLeast: i.Usage.AtLeast,
		})
	}
	return status
}

func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
