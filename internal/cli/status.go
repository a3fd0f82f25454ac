package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gotmpns/internal/inventory"
)

func newStatus() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the sessions and the private directories that there are",
		Long: `Lists the open sessions that have private directories, and the directories
("instances") themselves: whose they are, for which target, where they are on
the host and how much is in them.

Root sees everybody's. Anybody else sees their own, as far as their own
processes show it: which PAM service opened a session, and directories in which
no process of theirs is, only root can see.`,
		Example: `  gotmpns status
  gotmpns status --json | jq -r '.sessions[] | [.user, .service] | @tsv'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			inv, err := takeInventory(cmd)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), statusOfInventory(inv))
			}
			if !isRoot() {
				note(cmd.ErrOrStderr(), "this is what your own processes show; services and other users' sessions only root can see")
			}
			return printInventory(cmd.OutOrStdout(), inv)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	return cmd
}

// ---- for people ----

func printInventory(out io.Writer, inv inventory.Inventory) error {
	if len(inv.Sessions) == 0 && len(inv.Instances) == 0 {
		text := "no session has a private directory, and none is left of an earlier one"
		if !isRoot() {
			text = "no process of yours has a private directory"
		}
		_, err := fmt.Fprintln(out, text)
		return err
	}
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	if len(inv.Sessions) > 0 {
		fmt.Fprintln(table, "USER\tSERVICE\tSINCE\tPID\tNAMESPACE\tTARGET\tON THE HOST")
	}
	for _, s := range inv.Sessions {
		for i, p := range s.Places {
			head := "\t\t\t\t"
			if i == 0 {
				head = fmt.Sprintf("%s\t%s\t%s\t%d\t%s", printable(s.User), orDash(s.Service), when(s.Since), s.PID, number(s.Namespace))
			}
			fmt.Fprintf(table, "%s\t%s\t%s\n", head, printable(p.Target), whereOf(p))
		}
	}
	if len(inv.Sessions) > 0 && len(inv.Instances) > 0 {
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(inv.Instances) > 0 {
		fmt.Fprintln(table, "INSTANCE OF\tTARGET\tKIND\tSIZE\tON THE HOST")
	}
	for _, i := range inv.Instances {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", ownerOf(i), printable(i.Target), i.Kind, size(i), printable(i.Host))
	}
	return table.Flush()
}

func whereOf(p inventory.Place) string {
	switch {
	case p.Kind == inventory.Gone:
		return "nothing is mounted there any more"
	case p.Kind == inventory.Unknown:
		return "not to be told: its process has left for another namespace"
	case p.Host == "":
		return fmt.Sprintf("nowhere (%s); reached by %s", p.Kind, p.Reach)
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
	Complete  bool           `json:"complete"` // false: only one's own
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
	status := jsonStatus{Complete: isRoot(), Sessions: []jsonSession{}, Instances: []jsonInstance{}}
	for _, s := range inv.Sessions {
		session := jsonSession{
			User: s.User, UID: s.UID, Service: s.Service, TTY: s.TTY, RHost: s.RHost,
			PID: s.PID, Namespace: s.Namespace, Targets: []jsonPlace{},
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
