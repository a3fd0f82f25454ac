package check

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"gotmpns/internal/pamconf"
	"gotmpns/internal/paths"
	"gotmpns/internal/policy"
)

// tmpfiles makes sure that the age-based cleaner keeps the bases.
func tmpfiles(s System) []Finding {
	const subject = "tmpfiles"
	if s.Tmpfiles == nil || s.ConfigErr != nil {
		return nil
	}
	var findings []Finding
	for _, p := range s.Policy.Private {
		aged := p.Base == "" && (p.Target == "/tmp" || p.Target == "/var/tmp") && p.Kind == policy.Directory
		if aged && !isKept(s.Tmpfiles, p.Target+"/gotmpns-1a2b3c4d") {
			findings = append(findings, Finding{"tmpfiles", Problem, subject,
				"systemd-tmpfiles may remove the private directories in " + p.Target + " when they are old",
				"install gotmpns.conf into /usr/lib/tmpfiles.d; it has the line \"x " + p.Target + "/gotmpns-*\"", ""})
		}
	}
	if findings == nil {
		return []Finding{{"tmpfiles", OK, subject, "systemd-tmpfiles keeps the private directories until boot", "", ""}}
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

// clashes are programs that are known not to work together with private directories.
func clashes(s System) []Finding {
	return slices.Concat(units(s), namespace(s), kerberos(s), sshd(s), tmpdir(s), selinux(s))
}

// namespace finds directories that pam_namespace makes private as well.
func namespace(s System) []Finding {
	lines := slices.DeleteFunc(s.Stacks.Lines(), func(l pamconf.Line) bool { return l.Type != "session" || !l.Is("pam_namespace.so") })
	if len(lines) == 0 {
		return nil
	}
	var findings []Finding
	for line := range strings.Lines(s.Namespace) {
		fields := strings.Fields(line)
		if len(fields) == 0 || !isTarget(s.Policy, strings.TrimSuffix(fields[0], "/")) {
			continue
		}
		findings = append(findings, Finding{"pam-namespace", Problem, "pam_namespace",
			fmt.Sprintf("%s calls it, and namespace.conf has %s, which is private already: one hides the other", lines[0].Place(), fields[0]),
			"remove the directory from namespace.conf; \"gotmpns import\" converts the rest", "/etc/security/namespace.conf"})
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
	cache := last(settings(*s.Kerberos, key))
	file, isFile := strings.CutPrefix(cache, "FILE:")
	if cache == "" {
		file, isFile = "/tmp/krb5cc_%{uid}", true // the library's own
	}
	if strings.HasPrefix(cache, "/") {
		file, isFile = cache, true
	}
	for _, p := range s.Policy.Private {
		if !isFile || !paths.IsWithin(file, p.Target) {
			continue
		}
		const advice = "set " + key + " = KEYRING:persistent:%{uid} (or KCM:) under [libdefaults] in /etc/krb5.conf"
		if cache == "" {
			return []Finding{{"kerberos-default", Notice, subject, "without " + key + ", tickets are kept in " + file +
				": those that a login fetches stay on the host, and the session does not see them", advice, "/etc/krb5.conf"}}
		}
		return []Finding{{"kerberos", Problem, subject, key + " = " + cache +
			": tickets that a login fetches stay on the host, and the session does not see them", advice, "/etc/krb5.conf"}}
	}
	return []Finding{{"kerberos", OK, subject, "tickets are kept outside of the private directories", "", "/etc/krb5.conf"}}
}

// sshd without PAM opens no sessions of ours; the first line of a name counts.
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
	return []Finding{{"sshd-pam", Problem, "sshd", "it does not use PAM, so ssh gives no private directory",
		"set \"UsePAM yes\" in /etc/ssh/sshd_config", "/etc/ssh/sshd_config"}}
}

func tmpdir(s System) []Finding {
	if s.ConfigErr != nil || s.Policy.Environment != policy.Keep {
		return nil
	}
	for _, l := range s.Stacks.Lines() {
		if l.Type == "session" && l.Is("pam_tmpdir.so") {
			return []Finding{{"tmpdir", Notice, "libpam-tmpdir", l.Place() + ": TMPDIR points to its directory, and environment = \"keep\" leaves it so",
				"set environment = \"unset\", or remove libpam-tmpdir", s.ConfigPath}}
		}
	}
	return nil
}

func selinux(s System) []Finding {
	if !s.SELinux {
		return nil
	}
	return []Finding{{"selinux", Notice, "SELinux", "it is enforcing: without a policy for the worker, logins get no private directories",
		"install the module's policy, gotmpns.cil, as docs/security-modules.md describes", ""}}
}
