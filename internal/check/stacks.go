package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gotmpns/internal/config"
	"gotmpns/internal/pamconf"
)

const moduleName = "pam_gotmpns.so"

// The files that Debian's services include.
const (
	common         = "common-session"
	noninteractive = "common-session-noninteractive"
	userManager    = "systemd-user"
)

const ourLine = "session optional " + moduleName

// stacks looks at the lines that call the module, and at the services without one.
func stacks(s System) []Finding {
	if len(s.Stacks) == 0 {
		return nil
	}
	ours := ourLines(s.Stacks)
	if len(ours) == 0 {
		file := s.Stacks[common].Path
		advice := s.enableIn(cmp.Or(file, "the files in /etc/pam.d that open sessions"))
		return []Finding{{"pam-disabled", Problem, "PAM", "no stack has " + moduleName + ", so no login uses it", advice, file}}
	}
	var findings []Finding
	for _, l := range ours {
		findings = append(findings, judgeLine(s, l)...)
	}
	if slices.ContainsFunc(ours, func(l pamconf.Line) bool { return l.Type == "session" }) {
		findings = append(findings, judgeHalves(s)...)
	}
	return append(findings, judgeServices(s)...)
}

// ourLines are all lines that name the module, file by file.
func ourLines(s pamconf.Stacks) []pamconf.Line {
	return slices.DeleteFunc(s.Lines(), func(l pamconf.Line) bool { return !l.Is(moduleName) })
}

// file is the path of a service's file.
func (s System) file(service string) string {
	if f, ok := s.Stacks[service]; ok {
		return f.Path
	}
	return "/etc/pam.d/" + service
}

// enableIn advises to add the line to a file.
func (s System) enableIn(file string) string {
	if s.Profile && strings.HasPrefix(file, "/etc/pam.d/common-session") {
		return "run \"pam-auth-update --enable gotmpns\", which adds the line to " + file
	}
	return "add the line \"" + ourLine + "\" at the end of " + file
}

// enable advises how to get the line into the stack of a service. A file in /etc
// hides all of a vendor's file of that name, so it is not advised but with the
// vendor's included: an included file of the administrator's is the better place.
func (s System) enable(service string) string {
	f := s.Stacks[service]
	for _, name := range slices.Backward(s.Stacks.Included(service)) {
		included, ok := s.Stacks[name]
		if ok && !included.IsVendors() && s.Stacks.HasSessions(name) {
			return s.enableIn(included.Path)
		}
	}
	if !f.IsVendors() {
		return s.enableIn(f.Path)
	}
	return fmt.Sprintf("create /etc/pam.d/%s with two lines: \"@include %s\" and \"%s\"", service, f.Path, ourLine)
}

func judgeLine(s System, l pamconf.Line) []Finding {
	var findings []Finding
	problem := func(id, text, advice string) {
		findings = append(findings, Finding{id, Problem, "PAM", l.Place() + ": " + text, advice, l.File})
	}
	switch {
	case l.Type != "session":
		problem("pam-type", fmt.Sprintf("%s stands under %q, where it does nothing but fail", moduleName, l.Type), "it is a session module: begin the line with \"session\"")
	case l.Length > pamconf.LongestLine:
		problem("pam-long", fmt.Sprintf("it has %d characters, and libpam 1.5 cuts it after %d", l.Length, pamconf.LongestLine), "shorten its arguments: use shorter paths")
	case l.EndsStack():
		problem("pam-last", "with \""+l.Control+"\", no module after it is called", "write \"optional\" or \"required\"")
	}
	arguments := pamconf.ParseArguments(l.Args)
	for _, ignored := range arguments.Ignored {
		problem("pam-argument", fmt.Sprintf("the argument %q %s", ignored.Argument, ignored.Reason),
			"valid arguments are debug, config=/FILE, worker=/FILE, socket=/PATH, socket=none and timeout=SECONDS (1 to 600)")
	}
	if worker, ok := s.Workers[arguments.Worker]; ok {
		findings = append(findings, judgeFile(worker, "take worker= out of "+l.Place())...)
	}
	if findings == nil {
		findings = []Finding{{"pam-line", OK, "PAM", fmt.Sprintf("%s: session %s %s", l.Place(), l.Control, moduleName), "", l.File}}
	}
	return findings
}

// has says whether the stack of a service, or of a file that services include,
// calls the module.
func (s System) has(service string) bool {
	return pamconf.Index(s.Stacks.Sessions(service), moduleName) >= 0
}

// judgeHalves looks for half of what Debian's two files need, and at the user
// manager, which should see what the shell sees.
func judgeHalves(s System) []Finding {
	exists := func(service string) bool { _, ok := s.Stacks[service]; return ok }
	var findings []Finding
	lacking := func(service, text string) {
		findings = append(findings, Finding{"pam-half", Problem, "PAM", s.file(service) + " has no " + moduleName + ": " + text,
			s.enable(service), s.file(service)})
	}
	if s.has(common) && exists(noninteractive) && !s.has(noninteractive) {
		lacking(noninteractive, "jobs of cron and at see another /tmp than the shells of their users")
	}
	if s.has(noninteractive) && exists(common) && !s.has(common) {
		lacking(common, "ssh, su and login give no private directory")
	}
	if exists(userManager) && !s.has(userManager) {
		lacking(userManager, "the services of users, and programs that a desktop starts, see another /tmp than their shells")
	}
	return findings
}

func judgeServices(s System) []Finding {
	var with, without []string
	var orders []Finding
	services := map[string][]string{} // by the text of a finding in orders
	for _, service := range s.Stacks.Services() {
		lines := s.Stacks.Sessions(service)
		at := pamconf.Index(lines, moduleName)
		if at < 0 {
			without = append(without, service)
			continue
		}
		with = append(with, service)
		for _, f := range append(judgeOrder(lines, at), judgeMounters(s, lines)...) {
			if services[f.Text] == nil {
				orders = append(orders, f)
			}
			services[f.Text] = append(services[f.Text], service)
		}
	}
	var findings []Finding
	for _, f := range orders {
		f.Text = strings.Join(services[f.Text], ", ") + ": " + f.Text
		findings = append(findings, f)
	}
	if len(with) > 0 {
		findings = append(findings, Finding{"pam-with", OK, "PAM", "services with the module: " + strings.Join(with, ", "), "", ""})
	}
	for _, place := range s.placesFor(without) {
		findings = append(findings, Finding{"pam-without", Notice, "PAM", "services without the module: " + strings.Join(place.services, ", "),
			"their sessions stay in the namespace of their caller; if that is not meant, " + place.advice, s.file(place.services[0])})
	}
	return findings
}

// placeFor is one place for the line, and the services that get it there.
type placeFor struct {
	advice   string
	services []string
}

// placesFor groups services by the file that their line belongs in.
func (s System) placesFor(services []string) []placeFor {
	var places []placeFor
	for _, service := range services {
		advice := s.enable(service)
		at := slices.IndexFunc(places, func(p placeFor) bool { return p.advice == advice })
		if at < 0 {
			places, at = append(places, placeFor{advice: advice}), len(places)
		}
		places[at].services = append(places[at].services, service)
	}
	return places
}

// judgeOrder looks for what keeps PAM from calling the module, or calls it twice.
func judgeOrder(lines []pamconf.Line, at int) []Finding {
	if l, skipped := pamconf.Skips(lines, at); skipped {
		advice := "move it down, behind the lines that are skipped"
		if l.EndsStack() {
			advice = "move it up, above " + l.Place()
		}
		return []Finding{{"pam-skipped", Problem, "PAM", fmt.Sprintf("%s at %s is skipped by %s (%s %s)",
			moduleName, lines[at].Place(), l.Place(), l.Control, l.Module), advice, lines[at].File}}
	}
	again := pamconf.Index(lines[at+1:], moduleName)
	if again < 0 {
		return nil
	}
	second := lines[at+1+again]
	return []Finding{{"pam-twice", Notice, "PAM", fmt.Sprintf("%s is called twice, at %s and %s",
		moduleName, lines[at].Place(), second.Place()), "remove one of the two lines", second.File}}
}

// Call is how a service calls the module.
type Call struct {
	Service   string
	File      string // of the service; empty: it has none, and PAM uses "other"
	Line      pamconf.Line
	Called    bool
	Arguments pamconf.Arguments
}

// IsEnabled says whether any stack calls the module.
func IsEnabled(s pamconf.Stacks) bool { return len(ourLines(s)) > 0 }

// CallOf says how a service calls the module.
func CallOf(s pamconf.Stacks, service string) Call {
	c := Call{Service: service, File: s[service].Path}
	lines := s.Sessions(service)
	at := pamconf.Index(lines, moduleName)
	if at < 0 {
		return c
	}
	_, skipped := pamconf.Skips(lines, at)
	c.Line, c.Called = lines[at], !skipped
	c.Arguments = pamconf.ParseArguments(lines[at].Args)
	return c
}

// ConfigsOf returns the configurations that logins use, in the order of the lines that call
// the module. There is at least one.
func ConfigsOf(s pamconf.Stacks) []string {
	var names []string
	for _, l := range ourLines(s) {
		name := cmp.Or(pamconf.ParseArguments(l.Args).Config, config.DefaultPath)
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if names == nil {
		return []string{config.DefaultPath}
	}
	return names
}
