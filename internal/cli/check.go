package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gotmpns/internal/check"
	"gotmpns/internal/config"
	"gotmpns/internal/session"
)

// Where the worker is installed, with the session library beside it; the
// Makefile says it, and the module knows it, too.
var workerPath = "/usr/lib/gotmpns/gotmpns-worker"

type checkFlags struct {
	user, service, config string
	json                  bool
}

func newCheck() *cobra.Command {
	var flags checkFlags
	cmd := &cobra.Command{
		Use:   "check [--user USER [--service NAME]] [--config FILE] [--json]",
		Short: "Say what is fine, what is not, and what to do",
		Long: `Looks at the configuration, the kernel, the targets, propagation, the PAM stacks,
tmpfiles.d, what is left of earlier sessions, and at programs that are known to
clash. Nothing is changed.

With --user, it also shows how each rule works out for a login of that user, and
the plan that follows: what the module would tell the kernel. The plan needs root.

With --config, it looks at that file (and at the drop-ins in the directory beside
it, FILE without ".toml" and with ".d") instead of the one in place.

The exit status is 0 when nothing is wrong and 3 when there is a problem.`,
		Example: `  gotmpns check
  gotmpns check --user alice --service cron   # why has her job no private /tmp?
  gotmpns check --config ./new.toml            # before it is put in place
  gotmpns check --json | jq '.findings[] | select(.level == "problem")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.service != "" && flags.user == "" {
				return usage(errors.New("cannot use --service alone: say with --user whose login it is"), cmd)
			}
			return runCheck(cmd.OutOrStdout(), flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.user, "user", "", "show the rules and the plan for a login of `USER`")
	f.StringVar(&flags.service, "service", "", "… through the PAM service `NAME` (default sshd)")
	f.StringVar(&flags.config, "config", "", "look at the configuration `FILE` instead of the one in place")
	f.BoolVar(&flags.json, "json", false, "print JSON, for programs")
	_ = cmd.RegisterFlagCompletionFunc("user", completeUserFlag)
	_ = cmd.RegisterFlagCompletionFunc("service", services)
	return cmd
}

// report is all that check has to say.
type report struct {
	Fine     bool            `json:"fine"`
	Findings []check.Finding `json:"findings"`
	Login    *login          `json:"login,omitempty"`
}

// login is what the rules make of a user.
type login struct {
	User        string         `json:"user"`
	Service     string         `json:"service"`
	Rules       []check.Judged `json:"rules"`
	Outcome     string         `json:"outcome,omitempty"`
	Steps       []string       `json:"steps,omitempty"`
	Environment []string       `json:"environment,omitempty"`
	Remarks     []string       `json:"remarks,omitempty"`
	Refused     string         `json:"refused,omitempty"` // why there is no plan
}

func runCheck(out io.Writer, flags checkFlags) error {
	where := check.Where{Files: []string{
		modulePath, workerPath, filepath.Join(filepath.Dir(workerPath), "gotmpns-session.so"),
	}}
	if flags.config != "" {
		path, err := filepath.Abs(flags.config)
		if err != nil {
			return fmt.Errorf("cannot find %s: %w", flags.config, err)
		}
		where.Config = path
	}
	system, err := check.Read(where)
	if err != nil {
		return err
	}
	r := report{Findings: check.All(system)}
	if flags.user != "" {
		if r.Login, err = explain(flags, system); err != nil {
			return err
		}
	}
	r.Fine = check.Fine(r.Findings) && (r.Login == nil || r.Login.Refused == "")
	if flags.json {
		err = printJSON(out, r)
	} else {
		err = printReport(out, r)
	}
	if err == nil && !r.Fine {
		err = statusError(ExitFindings)
	}
	return err
}

// explain shows the way of a login through the configuration.
func explain(flags checkFlags, system check.System) (*login, error) {
	u, err := account(flags.user)
	if err != nil {
		return nil, err
	}
	l := &login{User: u.Username, Service: flags.service}
	if l.Service == "" {
		l.Service = "sshd"
	}
	request, err := requestOf(u, l.Service, system.ConfigPath)
	if err != nil {
		return nil, err
	}
	if !isRoot() {
		subject, err := session.SubjectOf(request, system.Policy)
		if err == nil && system.ConfigErr == nil {
			l.Rules = check.Rules(system.Policy, subject)
		}
		l.Remarks = []string{"the plan is not shown: only root can see what it depends on"}
		return l, err
	}
	e, err := session.Explain(request)
	if err != nil {
		return nil, err
	}
	l.fill(e)
	return l, nil
}

func (l *login) fill(e session.Explanation) {
	var mistakes *config.Errors
	switch {
	case errors.As(e.Err, &mistakes):
		l.Refused = "the configuration has mistakes"
	case e.Err != nil:
		l.Refused = e.Err.Error()
	}
	l.Rules = check.Rules(e.Policy, e.Facts.Subject)
	l.Outcome, l.Remarks = e.Plan.Outcome, e.Plan.Remarks
	for _, step := range e.Plan.Steps {
		l.Steps = append(l.Steps, step.String())
	}
	for _, setting := range e.Plan.Env {
		l.Environment = append(l.Environment, setting.String())
	}
}

// ---- for people ----

func printReport(out io.Writer, r report) error {
	for _, f := range r.Findings {
		level := string(f.Level)
		if f.Level == check.Problem {
			level = "PROBLEM"
		}
		fmt.Fprintf(out, "%-8s %s: %s\n", level, f.Subject, f.Text)
		if f.Advice != "" {
			fmt.Fprintf(out, "%-8s   -> %s\n", "", f.Advice)
		}
	}
	if r.Login != nil {
		if err := printLogin(out, *r.Login); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "\n%s\n", summary(r))
	return err
}

func printLogin(out io.Writer, l login) error {
	fmt.Fprintf(out, "\nA login of %s through %s:\n", printable(l.User), printable(l.Service))
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, rule := range l.Rules {
		applies := "no"
		if rule.Applies {
			applies = "yes"
		}
		text := rule.Rule
		if text == "" {
			text = "-"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", rule.Of, text, applies, rule.Why)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if l.Refused != "" {
		fmt.Fprintln(out, "It is refused, but for root: "+l.Refused)
	}
	if l.Outcome != "" {
		fmt.Fprintln(out, "The plan: "+l.Outcome)
	}
	for _, line := range append(l.Steps, l.Environment...) {
		fmt.Fprintln(out, "  "+line)
	}
	for _, remark := range l.Remarks {
		fmt.Fprintln(out, "  remark: "+remark)
	}
	return nil
}

func summary(r report) string {
	var parts []string
	for _, level := range []check.Level{check.Problem, check.Notice} {
		switch n := check.Count(r.Findings, level); n {
		case 0:
		case 1:
			parts = append(parts, fmt.Sprintf("1 %s", level))
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", n, level))
		}
	}
	if r.Login != nil && r.Login.Refused != "" {
		parts = append(parts, "the login is refused")
	}
	if parts == nil {
		return "all is well"
	}
	return strings.Join(parts, ", ")
}
