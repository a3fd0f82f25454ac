package check

import (
	"cmp"
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
				restoreTmpfiles(s.Tmpfiles[tmpfilesOurs]), s.Tmpfiles[tmpfilesOurs].Path})
		}
	}
	if findings == nil {
		return []Finding{{"tmpfiles", OK, subject, "systemd-tmpfiles keeps the private directories until boot", "", ""}}
	}
	return findings
}

// tmpfilesOurs is the file that is installed for systemd-tmpfiles.
const tmpfilesOurs = "gotmpns.conf"

// restoreTmpfiles advises how to get the lines of our file to take effect: an administrator's
// file of that name hides it.
func restoreTmpfiles(ours Part) string {
	if strings.HasPrefix(ours.Path, "/etc/") || strings.HasPrefix(ours.Path, "/run/") {
		return fmt.Sprintf("remove %s, which hides the file of that name that was installed", ours.Path)
	}
	return "install the package again, as a whole: its " + tmpfilesOurs + " in tmpfiles.d keeps them"
}

// isKept looks for a line of type x, or for two of type X, whose patterns have a base and
// an instance in it: X spares nothing below a directory (tmpfiles.d(5)).
func isKept(files map[string]Part, base string) bool {
	if isExcluded(files, base, "x") {
		return true
	}
	return isExcluded(files, base, "X") && isExcluded(files, base+"/1000", "xX")
}

// isExcluded looks for a line of one of these types whose pattern has the path.
func isExcluded(files map[string]Part, name, types string) bool {
	for _, file := range files {
		for line := range strings.Lines(file.Text) {
			fields := strings.Fields(line)
			if len(fields) < 2 || !strings.ContainsAny(fields[0][:1], types) {
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
	for _, file := range s.Namespace {
		for line := range strings.Lines(file.Text) {
			fields := strings.Fields(line)
			if len(fields) == 0 || !isTarget(s.Policy, strings.TrimSuffix(fields[0], "/")) {
				continue
			}
			findings = append(findings, Finding{"pam-namespace", Problem, "pam_namespace",
				fmt.Sprintf("%s calls it, and %s has %s, which is private already: one hides the other", lines[0].Place(), file.Path, fields[0]),
				fmt.Sprintf("remove the line of %s from %s; \"gotmpns import\" converts the rest", fields[0], file.Path), file.Path})
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
	const subject, main = "Kerberos", "/etc/krb5.conf"
	cache, where := cacheName(s.Kerberos)
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
		const advice = "set " + ccacheName + " = KEYRING:persistent:%{uid} (or KCM:) under [libdefaults] in "
		if cache == "" {
			return []Finding{{"kerberos-default", Notice, subject, "without " + ccacheName + ", tickets are kept in " + file +
				": those that a login fetches stay on the host, and the session does not see them", advice + main, main}}
		}
		return []Finding{{"kerberos", Problem, subject, ccacheName + " = " + cache +
			": tickets that a login fetches stay on the host, and the session does not see them", advice + where, where}}
	}
	return []Finding{{"kerberos", OK, subject, "tickets are kept outside of the private directories", "", cmp.Or(where, main)}}
}

const ccacheName = "default_ccache_name"

// cacheName returns the first value in [libdefaults], which is the one that the library
// uses, and its file; empty: there is none.
func cacheName(parts []Part) (cache, file string) {
	isDefaults := map[string]bool{} // by file: each has sections of its own
	for _, part := range parts {
		for line := range strings.Lines(part.Text) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "[") {
				isDefaults[part.Path] = strings.HasPrefix(line, "[libdefaults]")
			}
			key, value, ok := strings.Cut(line, "=")
			if ok && isDefaults[part.Path] && strings.TrimSpace(key) == ccacheName {
				return strings.TrimSpace(value), part.Path
			}
		}
	}
	return "", ""
}

// sshd without PAM opens no sessions of ours; the first line of a name counts.
func sshd(s System) []Finding {
	if s.SSHD == nil {
		return nil
	}
	const main = "/etc/ssh/sshd_config"
	value, file := usePAM(s.SSHD)
	advice := fmt.Sprintf("set \"UsePAM yes\" in %s, and restart sshd", file)
	switch {
	case strings.EqualFold(value, "yes"):
		return nil
	case file == "":
		file, advice = main, "write \"UsePAM yes\" at the beginning of "+main+", and restart sshd"
	}
	return []Finding{{"sshd-pam", Problem, "sshd", "it does not use PAM, so ssh gives no private directory", advice, file}}
}

// usePAM returns the value of the first line, and its file; empty: there is none.
func usePAM(parts []Part) (value, file string) {
	for _, part := range parts {
		for line := range strings.Lines(part.Text) {
			fields := strings.Fields(strings.Replace(line, "=", " ", 1))
			if len(fields) >= 2 && strings.EqualFold(fields[0], "UsePAM") {
				return fields[1], part.Path
			}
		}
	}
	return "", ""
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
