package check

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"gotmpns/internal/mounts"
	"gotmpns/internal/policy"
)

// tmpfiles makes sure that the age-based cleaner leaves the bases alone.
func tmpfiles(s System) []Finding {
	const subject = "tmpfiles"
	if s.Tmpfiles == nil || s.ConfigErr != nil {
		return nil
	}
	var findings []Finding
	for _, p := range s.Policy.Private {
		aged := p.Base == "" && (p.Target == "/tmp" || p.Target == "/var/tmp") && p.Kind == policy.Directory
		if aged && !isKept(s.Tmpfiles, p.Target+"/gotmpns-1a2b3c4d") {
			findings = append(findings, Finding{Problem, subject,
				"systemd-tmpfiles may remove the private directories in " + p.Target + " when they are old",
				"install gotmpns.conf into /usr/lib/tmpfiles.d; it has the line \"x " + p.Target + "/gotmpns-*\""})
		}
	}
	if findings == nil {
		return []Finding{{OK, subject, "systemd-tmpfiles leaves the private directories alone until boot", ""}}
	}
	return findings
}

// isKept looks for a line of type x or X whose pattern has the path (tmpfiles.d(5)).
func isKept(files map[string]string, name string) bool {
	for _, text := range files {
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) < 2 || !strings.HasPrefix(strings.ToLower(fields[0]), "x") {
				continue
			}
			if ok, err := path.Match(strings.Trim(fields[1], `"`), name); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// clashes are programs that are known not to go together with private directories.
func clashes(s System) []Finding {
	return slices.Concat(privateTmp(s), namespace(s), kerberos(s), sshd(s), tmpdir(s), selinux(s))
}

func privateTmp(s System) []Finding {
	var findings []Finding
	for _, unit := range slices.Sorted(maps.Keys(s.Units)) {
		value := lastSetting(s.Units[unit], "PrivateTmp")
		if slices.Contains([]string{"yes", "true", "on", "1", "connected", "disconnected"}, strings.ToLower(value)) {
			findings = append(findings, Finding{Problem, unit,
				fmt.Sprintf("PrivateTmp=%s hides the host's /tmp from everybody who logs in there, also from those whom the configuration leaves alone", value),
				fmt.Sprintf("run \"systemctl edit %s\" and set PrivateTmp=no under [Service]", unit)})
		}
	}
	return findings
}

// lastSetting reads a unit: of several lines the last one counts.
func lastSetting(text, name string) string {
	value := ""
	for line := range strings.Lines(text) {
		if key, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(key) == name {
			value = strings.TrimSpace(v)
		}
	}
	return value
}

// namespace finds directories that pam_namespace makes private, too.
func namespace(s System) []Finding {
	var findings []Finding
	for _, service := range slices.Sorted(maps.Keys(s.PAM)) {
		lines := Parse(service, s.PAM[service])
		at := slices.IndexFunc(lines, func(l Line) bool { return l.Type == "session" && path.Base(l.Module) == "pam_namespace.so" })
		if at < 0 {
			continue
		}
		for line := range strings.Lines(s.Namespace) {
			fields := strings.Fields(line)
			if len(fields) == 0 || !isTarget(s.Policy, strings.TrimSuffix(fields[0], "/")) {
				continue
			}
			findings = append(findings, Finding{Problem, "pam_namespace",
				fmt.Sprintf("%s calls it, and namespace.conf has %s, which is private already: one hides the other", lines[at].Place(), fields[0]),
				"take the directory out of namespace.conf; \"gotmpns import\" takes over the rest"})
		}
	}
	return findings
}

func isTarget(p policy.Policy, name string) bool {
	return slices.ContainsFunc(p.Private, func(private policy.Private) bool { return private.Target == name })
}

// kerberos looks where tickets are kept: made before the session opens, they
// are left behind in the host's directory.
func kerberos(s System) []Finding {
	if s.Kerberos == nil {
		return nil
	}
	const subject, key = "Kerberos", "default_ccache_name"
	cache := lastSetting(*s.Kerberos, key)
	file, isFile := strings.CutPrefix(cache, "FILE:")
	if cache == "" {
		file, isFile = "/tmp/krb5cc_%{uid}", true // the library's own
	}
	if strings.HasPrefix(cache, "/") {
		file, isFile = cache, true
	}
	for _, p := range s.Policy.Private {
		if !isFile || !mounts.Within(file, p.Target) {
			continue
		}
		const advice = "set " + key + " = KEYRING:persistent:%{uid} (or KCM:) under [libdefaults] in /etc/krb5.conf"
		if cache == "" {
			return []Finding{{Notice, subject, "without " + key + ", tickets are kept in " + file +
				": those that a login fetches stay on the host, and the session does not see them", advice}}
		}
		return []Finding{{Problem, subject, key + " = " + cache +
			": tickets that a login fetches stay on the host, and the session does not see them", advice}}
	}
	return []Finding{{OK, subject, "tickets are kept outside of the private directories", ""}}
}

// sshd without PAM has no sessions of ours; the first line of a name counts.
func sshd(s System) []Finding {
	if s.SSHD == nil {
		return nil
	}
	for line := range strings.Lines(*s.SSHD) {
		fields := strings.Fields(strings.Replace(line, "=", " ", 1))
		if len(fields) >= 2 && strings.EqualFold(fields[0], "UsePAM") {
			if strings.EqualFold(fields[1], "yes") {
				return nil
			}
			break
		}
	}
	return []Finding{{Problem, "sshd", "it does not use PAM, so ssh gives no private directory", "set \"UsePAM yes\" in /etc/ssh/sshd_config"}}
}

func tmpdir(s System) []Finding {
	for _, service := range slices.Sorted(maps.Keys(s.PAM)) {
		for _, l := range Parse(service, s.PAM[service]) {
			if l.Type == "session" && path.Base(l.Module) == "pam_tmpdir.so" && s.ConfigErr == nil && s.Policy.Environment == policy.Keep {
				return []Finding{{Notice, "libpam-tmpdir", l.Place() + ": TMPDIR points to its directory, and environment = \"keep\" leaves it so",
					"set environment = \"unset\", or do without libpam-tmpdir"}}
			}
		}
	}
	return nil
}

func selinux(s System) []Finding {
	if !s.SELinux {
		return nil
	}
	return []Finding{{Notice, "SELinux", "it is enforcing: login programs may be denied to mount", "run \"setsebool -P allow_polyinstantiation on\""}}
}
