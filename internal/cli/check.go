package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gotmpns/internal/check"
	"gotmpns/internal/config"
	"gotmpns/internal/pamconf"
	"gotmpns/internal/session"
	"gotmpns/internal/trial"
	"gotmpns/internal/wire"
)

// Where the worker is installed, with the session library beside it; the
// Makefile sets it, and the module has the same path.
var workerPath = "/usr/lib/gotmpns/gotmpns-worker"

// usualService is the PAM service of a login where none is named.
const usualService = "sshd"

type checkFlags struct {
	user, service, config string
	allUsers, json        bool
}

func newCheck() *cobra.Command {
	var flags checkFlags
	cmd := &cobra.Command{
		Use:   "check [--user USER | --all-users] [--service NAME] [--config FILE] [--json]",
		Short: "Say what is fine, what is not, and what to do",
		Long: `Checks the configuration, the kernel, the targets, propagation, the PAM stacks,
tmpfiles.d, leftovers of earlier sessions, and programs that are known to clash.
Nothing is changed.

With --user, it also shows whether each rule matches a login of that user, and the
plan: the steps that would be done for that login. The plan is shown only to root.
With --all-users, it counts the users who get private directories, are exempt or
would be refused, and names the rule or the reason.

With --config, it checks that file, with the drop-ins in the directory beside it
(FILE without ".toml" and with ".d"), instead of the one in place.

The exit status is 3 if there is a problem, or if a login that was asked about
would be refused, and 0 otherwise.`,
		Example: `  gotmpns check
  gotmpns check --user alice --service cron   # why has her job no private /tmp?
  gotmpns check --all-users                    # who gets one, who does not
  gotmpns check --config ./new.toml            # before it is put in place
  gotmpns check --json | jq '.findings[] | select(.level == "problem") | .id'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case flags.user != "" && flags.allUsers:
				return usage(errors.New("cannot use --user and --all-users together"), cmd)
			case flags.service != "" && flags.user == "" && !flags.allUsers:
				return usage(errors.New("cannot use --service alone: name a user with --user, or use --all-users"), cmd)
			}
			return runCheck(cmd.OutOrStdout(), flags)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.allUsers, "all-users", false, "count the users with and without private directories, by rule")
	f.StringVar(&flags.user, "user", "", "show the rules and the plan for a login of `USER`")
	f.StringVar(&flags.service, "service", "", "… through the PAM service `NAME` (default "+usualService+")")
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
	Users    []userGroup     `json:"users,omitempty"`
}

// login is what the rules make of a user.
type login struct {
	User        string         `json:"user"`
	Service     string         `json:"service"`
	Called      bool           `json:"called"` // the service calls the module
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
	var err error
	if where.Config, err = configFile(flags.config); err != nil {
		return err
	}
	system := check.Read(where)
	r := report{Findings: allFindings(where, system)}
	call, err := callFor(flags, system)
	if err != nil {
		return err
	}
	if flags.user != "" {
		if r.Login, err = explainLogin(flags.user, call, system); err != nil {
			return err
		}
	}
	if flags.allUsers {
		if r.Users, err = groupUsers(call, system); err != nil {
			return err
		}
	}
	r.Fine = check.Fine(r.Findings) && (r.Login == nil || r.Login.Refused == "") && refused(r.Users) == 0
	if flags.json {
		err = printJSON(out, r)
	} else {
		err = printReport(screenOf(out), r)
	}
	if err == nil && !r.Fine {
		err = statusError(exitFindings)
	}
	return err
}

// allFindings judges a system and, where no configuration was named, by each that logins
// use.
func allFindings(where check.Where, system check.System) []check.Finding {
	findings := check.All(system)
	if where.Config != "" {
		return findings
	}
	for _, other := range check.ConfigsOf(system.Stacks)[1:] {
		where.Config = other
		for _, f := range check.All(check.Read(where)) {
			if !slices.Contains(findings, f) {
				findings = append(findings, f)
			}
		}
	}
	return findings
}

// callFor says how the service of the flags calls the module.
func callFor(flags checkFlags, system check.System) (check.Call, error) {
	service := flags.service
	if service == "" {
		service = usualService
	}
	call := check.CallOf(system.Stacks, service)
	if flags.service != "" && call.File == "" && service != trial.Service {
		return call, hinted(fmt.Errorf("cannot find the PAM service %s: no directory of PAM has a file of that name", printable(service)),
			"the services are the files in "+strings.Join(pamconf.Dirs, ", "))
	}
	return call, nil
}

// configOf is the configuration that a login reads.
func configOf(call check.Call, system check.System) string {
	if call.Line.File == "" || system.Draft {
		return system.ConfigPath
	}
	return cmp.Or(call.Arguments.Config, config.DefaultPath)
}

// explainLogin follows a login through the configuration.
func explainLogin(name string, call check.Call, system check.System) (*login, error) {
	u, err := account(name)
	if err != nil {
		return nil, err
	}
	l := &login{User: u.Username, Service: call.Service, Called: isCalled(call, system)}
	request, err := requestOf(u, l.Service, configOf(call, system))
	if err != nil {
		return nil, err
	}
	if !call.Called {
		l.Remarks = []string{notCalled(call)}
	}
	if !isRoot() {
		return l, l.fillRules(request, system, "only root can see what it depends on")
	}
	e, err := session.Explain(request)
	if err != nil {
		return l, l.fillRules(request, system, err.Error())
	}
	l.fill(e)
	return l, nil
}

// fillRules adds what can be said without a plan, and why there is none.
func (l *login) fillRules(request wire.Request, system check.System, reason string) error {
	subject, err := session.SubjectOf(request, system.Policy)
	if err == nil && system.ConfigErr == nil {
		l.Rules = check.Rules(system.Policy, subject)
	}
	l.Remarks = append(l.Remarks, "the plan is not shown: "+reason)
	return err
}

// isCalled says whether a login is explained: its service calls the module, or none
// does yet.
func isCalled(call check.Call, system check.System) bool {
	return call.Called || !check.IsEnabled(system.Stacks)
}

// notCalled says why a service's sessions stay as they are.
func notCalled(call check.Call) string {
	switch {
	case call.Line.File != "":
		return "the session stays in the namespace of its caller: " + call.Line.Place() + " is skipped"
	case call.File == "":
		return "the session stays in the namespace of its caller: there is no file for " + call.Service + ", and \"other\" does not call pam_gotmpns.so"
	}
	return "the session stays in the namespace of its caller: " + call.File + " does not call pam_gotmpns.so"
}

// fill adds what a login would get. Without a line in the service's stack, that is
// nothing, whatever the rules say.
func (l *login) fill(e session.Explanation) {
	l.Rules = check.Rules(e.Policy, e.Subject)
	if !l.Called {
		return
	}
	var mistakes *config.Errors
	switch {
	case errors.As(e.Err, &mistakes):
		l.Refused = "the configuration has errors"
	case e.Err != nil:
		l.Refused = e.Err.Error()
	}
	l.Outcome, l.Remarks = e.Plan.Outcome, append(l.Remarks, e.Plan.Remarks...)
	l.Steps = e.Plan.Actions()
	for _, setting := range e.Plan.Env {
		l.Environment = append(l.Environment, setting.String())
	}
}

// ---- for people ----

func printReport(s screen, r report) error {
	const indent = 9
	for _, f := range r.Findings {
		s.paragraph(s.levelHead(f.Level), indent, f.Subject+": "+f.Text)
		if f.Advice != "" {
			const arrow = "  -> "
			s.paragraph(strings.Repeat(" ", indent)+arrow, indent+len(arrow), f.Advice)
		}
	}
	if r.Login != nil {
		if err := printLogin(s, *r.Login); err != nil {
			return err
		}
	}
	if r.Users != nil {
		if err := printUsers(s, r.Users); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(s.out, "\n%s\n", summary(r))
	return err
}

func printLogin(s screen, l login) error {
	fmt.Fprintf(s.out, "\nA login of %s through %s:\n", printable(l.User), printable(l.Service))
	var table columns
	for _, rule := range l.Rules {
		applies := "no"
		if rule.Applies {
			applies = "yes"
		}
		text := rule.Rule
		if text == "" {
			text = "-"
		}
		table.add("  "+rule.Of, text, applies, rule.Why)
	}
	if err := table.print(s.out); err != nil {
		return err
	}
	if l.Refused != "" {
		s.paragraph("", 2, "The login would be refused (except for root): "+l.Refused)
	}
	if l.Outcome != "" {
		s.paragraph("", 2, "The plan: "+l.Outcome)
	}
	for _, line := range append(l.Steps, l.Environment...) {
		fmt.Fprintln(s.out, "  "+line)
	}
	for _, remark := range l.Remarks {
		s.paragraph("  remark: ", len("  remark: "), remark)
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
		parts = append(parts, "the login would be refused")
	}
	switch n := refused(r.Users); n {
	case 0:
	case 1:
		parts = append(parts, "the logins of 1 user would be refused")
	default:
		parts = append(parts, fmt.Sprintf("the logins of %d users would be refused", n))
	}
	if parts == nil {
		return "no problems found"
	}
	return strings.Join(parts, ", ")
}
