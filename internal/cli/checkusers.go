package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"gotmpns/internal/check"
	"gotmpns/internal/session"
)

// userGroup are the users for whom a login comes to the same.
type userGroup struct {
	Outcome string   `json:"outcome"` // private, exempt, nothing or refused
	Reason  string   `json:"reason"`  // the targets, the rule, or why
	Users   []string `json:"users"`
}

// The outcomes of a login.
const (
	outcomePrivate = "private"
	outcomeExempt  = "exempt"
	outcomeNothing = "nothing"
	outcomeRefused = "refused"
)

// groupUsers follows a login of every user through the configuration. The largest
// group of each outcome comes first.
func groupUsers(call check.Call, system check.System) ([]userGroup, error) {
	accounts, err := listUsers()
	if err != nil {
		return nil, err
	}
	groups := []userGroup{}
	for _, u := range accounts {
		outcome, reason := outcomeFor(u, call, system)
		at := slices.IndexFunc(groups, func(g userGroup) bool { return g.Outcome == outcome && g.Reason == reason })
		if at < 0 {
			groups, at = append(groups, userGroup{Outcome: outcome, Reason: reason}), len(groups)
		}
		groups[at].Users = append(groups[at].Users, u.Username)
	}
	order := []string{outcomePrivate, outcomeExempt, outcomeNothing, outcomeRefused}
	slices.SortStableFunc(groups, func(a, b userGroup) int {
		if a.Outcome != b.Outcome {
			return slices.Index(order, a.Outcome) - slices.Index(order, b.Outcome)
		}
		return len(b.Users) - len(a.Users)
	})
	return groups, nil
}

// outcomeFor says what a login of a user comes to. Only root learns of refusals
// that depend on what is on disk.
func outcomeFor(u listedUser, call check.Call, system check.System) (outcome, reason string) {
	if !isCalled(call, system) {
		return outcomeNothing, notCalled(call)
	}
	request, err := requestWith(&u.User, u.shell, call.Service, configOf(call, system))
	if err != nil {
		return outcomeRefused, err.Error()
	}
	if system.ConfigErr != nil {
		return outcomeRefused, "the configuration has errors"
	}
	subject, err := session.SubjectOf(request, system.Policy)
	if err != nil {
		return outcomeRefused, err.Error()
	}
	outcome, reason = outcomeOf(check.Rules(system.Policy, subject))
	if outcome != outcomePrivate || !isRoot() {
		return outcome, reason
	}
	e, err := session.Explain(request)
	if err == nil {
		err = e.Err
	}
	if err != nil {
		return outcomeRefused, err.Error()
	}
	return outcome, reason
}

// outcomeOf sums up the rules of one login.
func outcomeOf(rules []check.Judged) (outcome, reason string) {
	var tables []string
	for _, r := range rules {
		switch {
		case !r.Applies:
		case r.Of == "exempt":
			return outcomeExempt, strconv.Quote(r.Rule)
		default:
			tables = append(tables, r.Of)
		}
	}
	if tables == nil {
		return outcomeNothing, "no table of the configuration is for them"
	}
	return outcomePrivate, strings.Join(slices.Compact(tables), ", ")
}

// refused counts the users whose logins would be refused.
func refused(groups []userGroup) int {
	n := 0
	for _, g := range groups {
		if g.Outcome == outcomeRefused {
			n += len(g.Users)
		}
	}
	return n
}

// listedUser is a line of passwd(5).
type listedUser struct {
	user.User
	shell string
}

// listUsers lists the users that the name service lists. A directory that does not
// list its users (enumerate = false in sssd.conf) is not in it.
func listUsers() ([]listedUser, error) {
	const path = "/usr/bin:/bin"
	getent, err := find("getent", path)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{Path: getent, Args: []string{"getent", "passwd"}, Env: []string{"PATH=" + path}, Stderr: os.Stderr}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list the users (getent passwd): %w", err)
	}
	var users []listedUser
	for line := range bytes.Lines(out) {
		fields := strings.Split(strings.TrimSpace(string(line)), ":")
		if len(fields) == 7 {
			users = append(users, listedUser{user.User{Username: fields[0], Uid: fields[2], Gid: fields[3], HomeDir: fields[5]}, fields[6]})
		}
	}
	return users, nil
}

func printUsers(s screen, groups []userGroup) error {
	const shown = 5
	fmt.Fprintln(s.out)
	var table columns
	table.add("USERS", "OUTCOME", "WHY")
	for _, g := range groups {
		names := g.Users
		more := ""
		if len(names) > shown {
			names, more = names[:shown], fmt.Sprintf(" and %d more", len(names)-shown)
		}
		table.add(strconv.Itoa(len(g.Users)), g.Outcome, g.Reason+": "+strings.Join(names, ", ")+more)
	}
	return table.print(s.out)
}
