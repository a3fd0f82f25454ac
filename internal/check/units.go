package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gotmpns/internal/paths"
	"gotmpns/internal/policy"
)

// loginUnits are the units of programs through which people log in.
var loginUnits = []string{
	"ssh.service", "sshd.service", "ssh@.service", "sshd@.service", "cron.service", "crond.service", "atd.service",
	"getty@.service", "serial-getty@.service", "gdm.service", "lightdm.service", "sddm.service", "greetd.service", "xdm.service",
	"lxdm.service", "slim.service", "ly.service", "vsftpd.service", "proftpd.service", "pure-ftpd.service", "smbd.service",
	"xrdp-sesman.service", "cockpit-session@.service", "slurmd.service", "webmin.service", "dropbear.service",
}

// units looks for units whose sandbox and the private directories exclude each other.
func units(s System) []Finding {
	if s.ConfigErr != nil {
		return nil
	}
	var findings []Finding
	for _, name := range slices.Sorted(maps.Keys(s.Units)) {
		unit := s.Units[name]
		if slices.Contains(loginUnits, name) {
			findings = append(findings, judgeLoginUnit(name, unit)...)
		}
		if service := last(settings(unit.Text, "PAMName")); service != "" && !unit.Exempt && s.has(service) {
			findings = append(findings, judgePAMUnit(s, name, service, unit)...)
		}
	}
	return findings
}

func judgeLoginUnit(name string, unit Unit) []Finding {
	value := last(settings(unit.Text, "PrivateTmp"))
	if !isPrivateTmp(value) {
		return nil
	}
	return []Finding{{"unit-privatetmp", Problem, name,
		fmt.Sprintf("PrivateTmp=%s hides the host's /tmp from all who log in there, exempt users included", value),
		fmt.Sprintf("run \"systemctl edit %s\", write PrivateTmp=no under [Service], and restart it", name), unit.Path}}
}

// judgePAMUnit looks at a unit that opens a session itself: systemd sets the sandbox
// up in the session's namespace, where paths below a target do not exist.
func judgePAMUnit(s System, name, service string, unit Unit) []Finding {
	problem := func(text, advice string) Finding {
		return Finding{"unit-sandbox", Problem, name, text + fmt.Sprintf("; it opens a session (PAMName=%s), in which that path does not exist, and fails to start", service),
			advice + fmt.Sprintf(", or exempt \"service:%s\" in the configuration", service), unit.Path}
	}
	var findings []Finding
	private := func(target string) bool {
		return slices.ContainsFunc(s.Policy.Private, func(p policy.Private) bool { return p.Target == target })
	}
	if value := last(settings(unit.Text, "PrivateTmp")); isPrivateTmp(value) && value != "disconnected" && (private("/tmp") || private("/var/tmp")) {
		findings = append(findings, problem("PrivateTmp="+value+" uses a directory in /tmp or /var/tmp",
			fmt.Sprintf("run \"systemctl edit %s\" and write PrivateTmp=no under [Service], since its session has a private /tmp", name)))
	}
	for _, key := range sandboxPaths {
		for _, p := range unitPaths(settings(unit.Text, key)) {
			if slices.ContainsFunc(s.Policy.Private, func(t policy.Private) bool { return paths.IsBelow(p, t.Target) }) {
				findings = append(findings, problem(key+"="+p+" lies below a target",
					fmt.Sprintf("run \"systemctl edit %s\", write \"%s=\" under [Service] to clear the list, and then its paths again, as -%s if it may be missing", name, key, p)))
			}
		}
	}
	return findings
}

// sandboxPaths are the settings whose paths must exist (systemd.exec(5)).
var sandboxPaths = []string{
	"BindPaths", "BindReadOnlyPaths", "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths",
}

// unitPaths reads a list of paths; an empty assignment clears it. Paths with a dash
// may be missing, and are left out; of SOURCE:DESTINATION it is the source.
func unitPaths(values []string) []string {
	var paths []string
	for _, value := range values {
		if value == "" {
			paths = nil
		}
		for word := range strings.FieldsSeq(value) {
			word = strings.Trim(word, `"'`)
			if strings.HasPrefix(word, "-") {
				continue
			}
			source, _, _ := strings.Cut(strings.TrimPrefix(word, "+"), ":")
			paths = append(paths, source)
		}
	}
	return paths
}

func isPrivateTmp(value string) bool {
	return slices.Contains([]string{"yes", "true", "on", "1", "connected", "disconnected"}, strings.ToLower(value))
}

// settings returns the values of a key, in order, in a file of KEY=VALUE lines.
func settings(text, name string) []string {
	var values []string
	for line := range strings.Lines(text) {
		if key, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(key) == name {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// last is the value that takes effect; empty: there is none.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
