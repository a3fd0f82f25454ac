package check

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

const moduleName = "pam_gotmpns.so"

// Line is a line of a PAM stack.
type Line struct {
	File    string // the name below pam.d
	Number  int
	Type    string // session, auth, …; without the dash that forgives a missing module
	Control string // optional, required, [success=1 default=ignore], …
	Module  string // or the file that is included
	Args    []string
}

// Place is where the line stands, for people.
func (l Line) Place() string { return fmt.Sprintf("%s:%d", l.File, l.Number) }

func (l Line) isOurs() bool { return path.Base(l.Module) == moduleName }

// Parse reads a service's file, as pam.d(5) has it.
func Parse(file, text string) []Line {
	var lines []Line
	number, begun, pending := 0, 0, ""
	for raw := range strings.Lines(text) {
		number++
		if pending == "" {
			begun = number
		}
		raw = strings.TrimRight(raw, "\n")
		if before, continued := strings.CutSuffix(raw, "\\"); continued {
			pending += before + " "
			continue
		}
		words := split(pending + raw)
		pending = ""
		switch {
		case len(words) >= 2 && words[0] == "@include":
			lines = append(lines, Line{File: file, Number: begun, Control: "@include", Module: words[1]})
		case len(words) >= 3:
			lines = append(lines, Line{
				File: file, Number: begun, Type: strings.ToLower(strings.TrimPrefix(words[0], "-")),
				Control: words[1], Module: words[2], Args: words[3:],
			})
		}
	}
	return lines
}

// split makes words of a line; [a b] is one, and a # begins a comment.
func split(line string) []string {
	line, _, _ = strings.Cut(line, "#")
	var words []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		end := strings.IndexAny(line, " \t")
		if line[0] == '[' {
			end = strings.IndexByte(line, ']') + 1
		}
		if end <= 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
	return words
}

// Sessions returns the session lines of a service in the order in which PAM
// calls them, with what is included in place.
func Sessions(files map[string]string, service string) []Line {
	const deepest = 16 // PAM has a limit as well
	return expand(files, service, deepest)
}

func expand(files map[string]string, service string, depth int) []Line {
	if depth == 0 {
		return nil
	}
	var lines []Line
	for _, l := range Parse(service, files[service]) {
		switch {
		case l.Control == "@include", l.Type == "session" && (l.Control == "include" || l.Control == "substack"):
			lines = append(lines, expand(files, path.Base(l.Module), depth-1)...)
		case l.Type == "session":
			lines = append(lines, l)
		}
	}
	return lines
}

// ---- what is to be said about the stacks ----

const (
	common         = "common-session"
	noninteractive = "common-session-noninteractive"
	userManager    = "systemd-user"
	enable         = "add the line \"session optional pam_gotmpns.so\" to /etc/pam.d/"
)

// logins are services by which people and their jobs come in.
var logins = []string{
	"sshd", "login", "remote", "su", "su-l", "sudo", "sudo-i", "runuser", "runuser-l", "cron", "crond", "atd",
	"gdm-password", "lightdm", "sddm", "xrdp-sesman", "cockpit",
}

// Stacks judges where the module stands in the PAM stacks.
func Stacks(s System) []Finding {
	const subject = "PAM"
	if len(s.PAM) == 0 {
		return []Finding{{Notice, subject, "there is no /etc/pam.d to be read", ""}}
	}
	lines := ourLines(s.PAM)
	if len(lines) == 0 {
		return []Finding{{Problem, subject, "no stack has pam_gotmpns.so, so no login gets a private directory",
			enable + common + " and " + noninteractive + "; see one before with \"gotmpns try USER\""}}
	}
	var findings []Finding
	for _, l := range lines {
		findings = append(findings, judgeLine(l)...)
	}
	findings = append(findings, judgeCommon(s.PAM)...)
	return append(findings, judgeServices(s.PAM)...)
}

// ourLines are all lines that name the module, file by file.
func ourLines(files map[string]string) []Line {
	var ours []Line
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for _, l := range Parse(name, files[name]) {
			if l.Control != "@include" && l.isOurs() {
				ours = append(ours, l)
			}
		}
	}
	return ours
}

func judgeLine(l Line) []Finding {
	var findings []Finding
	problem := func(text, advice string) {
		findings = append(findings, Finding{Problem, "PAM", l.Place() + ": " + text, advice})
	}
	switch {
	case l.Type != "session":
		problem(fmt.Sprintf("pam_gotmpns.so stands under %q, where it does nothing but fail", l.Type), "it is a session module; begin the line with \"session\"")
	case l.Control == "sufficient" || strings.Contains(l.Control, "success=done"):
		problem("with \""+l.Control+"\", no module behind it is called", "write \"optional\" or \"required\"")
	}
	for _, argument := range l.Args {
		if why := unknownArgument(argument); why != "" {
			problem(fmt.Sprintf("the argument %q %s", argument, why),
				"known are debug, config=/FILE, worker=/FILE, socket=/PATH|none, timeout=SECONDS (1 to 600)")
		}
	}
	if findings == nil {
		findings = []Finding{{OK, "PAM", fmt.Sprintf("%s: session %s pam_gotmpns.so", l.Place(), l.Control), ""}}
	}
	return findings
}

// unknownArgument knows what c/args.c knows.
func unknownArgument(argument string) string {
	name, value, _ := strings.Cut(argument, "=")
	const ignored = "is not known and ignored"
	switch name {
	case "debug":
		if argument != name {
			return ignored
		}
	case "config", "worker", "socket":
		if !strings.HasPrefix(value, "/") && argument != "socket=none" {
			return "is ignored: it needs an absolute path"
		}
	case "timeout":
		if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 600 {
			return "is ignored: it is no number from 1 to 600"
		}
	default:
		return ignored
	}
	return ""
}

// judgeCommon looks for half of what Debian's two files need, and at the user
// manager, which should see what the shell sees.
func judgeCommon(files map[string]string) []Finding {
	has := func(service string) bool {
		return slices.ContainsFunc(Sessions(files, service), Line.isOurs)
	}
	exists := func(service string) bool { _, ok := files[service]; return ok }
	var findings []Finding
	lacking := func(service, text string) {
		findings = append(findings, Finding{Problem, "PAM", service + " has no pam_gotmpns.so: " + text, enable + service})
	}
	if has(common) && exists(noninteractive) && !has(noninteractive) {
		lacking(noninteractive, "jobs of cron and at see another /tmp than the shells of their users")
	}
	if has(noninteractive) && exists(common) && !has(common) {
		lacking(common, "ssh, su and login give no private directory")
	}
	if exists(userManager) && !has(userManager) {
		lacking(userManager, "the services of users, and what a desktop starts, see another /tmp than their shells")
	}
	return findings
}

func judgeServices(files map[string]string) []Finding {
	var with, without []string
	var findings []Finding
	for _, service := range logins {
		if _, ok := files[service]; !ok {
			continue
		}
		lines := Sessions(files, service)
		at := slices.IndexFunc(lines, Line.isOurs)
		if at < 0 {
			without = append(without, service)
			continue
		}
		with = append(with, service)
		findings = append(findings, judgeOrder(service, lines, at)...)
	}
	if len(with) > 0 {
		findings = append(findings, Finding{OK, "PAM", "logins with the module: " + strings.Join(with, ", "), ""})
	}
	if len(without) > 0 {
		findings = append(findings, Finding{Notice, "PAM", "logins without the module: " + strings.Join(without, ", "),
			"they leave a session where it is; add the line to their files in /etc/pam.d if that is not meant"})
	}
	return findings
}

// judgeOrder looks for what keeps PAM from reaching the module, or calls it twice.
func judgeOrder(service string, lines []Line, at int) []Finding {
	for i, l := range lines[:at] {
		action := onSuccess(l.Control)
		jump, err := strconv.Atoi(action)
		if action == "done" || err == nil && i+jump >= at {
			return []Finding{{Problem, "PAM", fmt.Sprintf("%s: pam_gotmpns.so at %s is passed over by %s (%s %s)",
				service, lines[at].Place(), l.Place(), l.Control, l.Module), "put it further down, behind what is jumped over"}}
		}
	}
	var findings []Finding
	if again := slices.IndexFunc(lines[at+1:], Line.isOurs); again >= 0 {
		findings = append(findings, Finding{Notice, "PAM", fmt.Sprintf("%s: pam_gotmpns.so is called twice, at %s and %s",
			service, lines[at].Place(), lines[at+1+again].Place()), "take one of the lines out"})
	}
	return findings
}

// onSuccess is what a control does when its module succeeds (pam.conf(5)).
func onSuccess(control string) string {
	if control == "sufficient" {
		return "done"
	}
	inner, ok := strings.CutPrefix(control, "[")
	if !ok {
		return "ok"
	}
	action := "bad"
	for word := range strings.FieldsSeq(strings.TrimSuffix(inner, "]")) {
		switch name, value, _ := strings.Cut(word, "="); name {
		case "success":
			return value
		case "default":
			action = value
		}
	}
	return action
}

// ConfigOf returns the configuration that the module is told to use; empty: none.
func ConfigOf(files map[string]string) string {
	for _, l := range ourLines(files) {
		for _, argument := range l.Args {
			if path, ok := strings.CutPrefix(argument, "config=/"); ok {
				return "/" + path
			}
		}
	}
	return ""
}
