package check

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"gotmpns/internal/mounts"
	"gotmpns/internal/pamconf"
	"gotmpns/internal/paths"
	"gotmpns/internal/policy"
)

// configured looks for settings that are valid and hardly meant.
func configured(s System) []Finding {
	if s.ConfigErr != nil {
		return nil
	}
	return slices.Concat(unknownNames(s), shares(s), sizes(s), quotas(s), elsewhere(s), openTargets(s), homes(s), programs(s))
}

// programs says what cannot be found out without running a program of the administrator's.
func programs(s System) []Finding {
	var findings []Finding
	for _, p := range s.Policy.Private {
		if p.OnCreate != "" {
			findings = append(findings, Finding{"on-create", OK, p.Target,
				p.OnCreate + " is not run by check: if it fails, it refuses the first login of each user; \"gotmpns try\" runs it", "", p.OnCreate})
		}
	}
	return findings
}

// unknownNames reports rules that match nobody.
func unknownNames(s System) []Finding {
	var findings []Finding
	for _, r := range s.Unknown {
		kind, name := NameIn(r)
		text := fmt.Sprintf("%q matches nobody: there is no %s %s", r, kind, name)
		advice := "correct the name or remove the rule"
		if kind == Service {
			text = fmt.Sprintf("%q matches no login: no PAM service is called %s", r, name)
			advice = "\"ls /etc/pam.d /usr/lib/pam.d\" lists the services; " + advice
		}
		findings = append(findings, Finding{"rule-unknown", Notice, "configuration", text, advice, s.ConfigPath})
	}
	return findings
}

// NameKind says what a name in a rule is the name of.
type NameKind string

// The kinds of names.
const (
	User    NameKind = "user"
	Group   NameKind = "group"
	Service NameKind = "service"
	Shell   NameKind = "shell"
	NoName  NameKind = "" // a rule by uid
)

// NameIn returns the name in a rule.
func NameIn(r policy.Rule) (NameKind, string) {
	text := r.String()
	if name, ok := strings.CutPrefix(text, "@"); ok {
		return Group, name
	}
	if name, ok := strings.CutPrefix(text, "service:"); ok {
		return Service, name
	}
	if name, ok := strings.CutPrefix(text, "shell:"); ok {
		return Shell, name
	}
	if rest, ok := strings.CutPrefix(text, "uid"); ok && rest != "" && strings.Contains("<>=", rest[:1]) {
		return NoName, ""
	}
	return User, text
}

// shares reports shared names that the host does not have. The two for X11 are
// there where an X server is.
func shares(s System) []Finding {
	var findings []Finding
	for _, p := range s.Policy.Private {
		for _, name := range p.Share {
			if s.Shares[mounts.Join(p.Target, "/"+name)] || slices.Contains(policy.Default().Private[0].Share, name) {
				continue
			}
			text, advice := "the host has no "+mounts.Join(p.Target, "/"+name)+" to share", "a session shares it if it exists at login; create it at boot with tmpfiles.d, or remove the name"
			if strings.ContainsAny(name, "*?[") {
				text, advice = fmt.Sprintf("%q in share is a plain name: patterns are not supported", name), "share one directory, and have the programs make their files in it"
			}
			findings = append(findings, Finding{"share-missing", Notice, p.Target, text, advice, s.ConfigPath})
		}
	}
	return findings
}

// sizes reports a tmpfs without a limit of its own.
func sizes(s System) []Finding {
	var findings []Finding
	for _, p := range s.Policy.Private {
		if p.Kind == policy.Tmpfs && p.Size == 0 && p.Percent == 0 {
			findings = append(findings, Finding{"tmpfs-unlimited", Notice, p.Target,
				"a tmpfs without a size: each user can fill half of the memory", "set a size for it, such as size = \"1G\"", s.ConfigPath})
		}
	}
	return findings
}

// userQuota are mount options of file systems that count blocks for each user: ext4(5),
// xfs(5), and tmpfs(5) since Linux 6.6, which systemd 258 uses for its limits on /tmp and
// /dev/shm.
var userQuota = []string{"usrquota", "uquota", "quota", "usrjquota"}

// quotas says whether the file system's quotas of users count in instances.
func quotas(s System) []Finding {
	var findings []Finding
	for _, p := range s.Policy.Private {
		at := cmp.Or(p.Base, p.Target)
		if policy.IsVariable(at) || s.Mounts == nil {
			continue
		}
		m := s.Mounts.At(at)
		switch counts := m != nil && hasUserQuota(m.VFSOptions); {
		case counts && p.Kind == policy.Tmpfs: // whether it has a limit is another finding
			findings = append(findings, Finding{"quota-tmpfs", OK, p.Target,
				"quotas of users on " + m.Mountpoint + " do not count in it: it is a tmpfs of its own, which its size limits", "", ""})
		case counts:
			findings = append(findings, Finding{"quota", OK, p.Target, "quotas of users on " + m.Mountpoint + " count in it", "", ""})
		}
	}
	return findings
}

func hasUserQuota(options string) bool {
	return slices.ContainsFunc(strings.Split(options, ","), func(option string) bool {
		name, _, _ := strings.Cut(option, "=")
		return slices.Contains(userQuota, name)
	})
}

// elsewhere reports other paths at which sessions see the host's target.
func elsewhere(s System) []Finding {
	var findings []Finding
	for _, p := range s.Policy.Private {
		others := s.Mounts.Others(p.Target)
		others = slices.DeleteFunc(others, func(other string) bool {
			return slices.ContainsFunc(s.Policy.Private, func(o policy.Private) bool { return paths.IsWithin(other, o.Target) })
		})
		if len(others) == 0 {
			continue
		}
		advice := "make that a target as well, or unmount it"
		if len(others) > 1 {
			advice = "make these targets as well, or unmount them"
		}
		findings = append(findings, Finding{"target-elsewhere", Notice, p.Target,
			"the host's directory is mounted at " + strings.Join(others, ", ") + " as well: sessions see it there", advice, "/etc/fstab"})
	}
	return findings
}

// openTargets reports targets that any user can make first: the login of the user whose
// target it is fails where that is a file or a link, and a directory gives its owner and mode.
func openTargets(s System) []Finding {
	var findings []Finding
	for _, p := range s.Policy.Private {
		open := s.Targets[p.Target].Open
		if open.Dir == "" {
			continue
		}
		findings = append(findings, Finding{"target-open", Notice, p.Target,
			"others than root can create names in " + open.Dir + ": a user who creates this one first decides whether others can log in",
			open.close(p.Target, s.Targets[p.Target].Missing), open.Dir})
	}
	return findings
}

// close advises what keeps others from a target. A directory with the sticky bit, such as
// /tmp, is meant to be open, and protects what root owns in it.
func (o Opening) close(target string, missing bool) string {
	const instead = "use a directory that only root can write to"
	switch {
	case !o.Sticky:
		return fmt.Sprintf("run \"chmod go-w %s\", or %s", o.Dir, instead)
	case policy.IsVariable(target):
		return instead
	case missing:
		return fmt.Sprintf("create %s as root, or %s", target, instead)
	}
	return fmt.Sprintf("run \"chown root %s\", or %s", o.Entry, instead)
}

func homes(s System) []Finding {
	var findings []Finding
	for _, h := range s.Homes {
		findings = append(findings, Finding{"home-hidden", Problem, h.Target,
			fmt.Sprintf("the home of %s, %s, is hidden in the user's own sessions", h.User, h.Path),
			fmt.Sprintf("exempt %s in the configuration, or move the home: \"usermod -m -d /home/%s %s\"", h.User, h.User, h.User), s.ConfigPath})
	}
	return findings
}

// mounters are modules that mount when a session opens and unmount when it closes.
var mounters = []string{"pam_mount.so", "pam_ecryptfs.so", "pam_zfs_key.so", "pam_encfs.so"}

// judgeMounters reports modules whose mounts do not travel between the session and
// the host.
func judgeMounters(s System, lines []pamconf.Line) []Finding {
	if s.ConfigErr != nil || s.Mounts == nil || !s.cutsOff("/home") {
		return nil
	}
	advice := "set propagation = \"auto\" and mount_points = \"make\", so that all mounts but those on the targets travel"
	var findings []Finding
	for _, l := range lines {
		if !slices.Contains(mounters, path.Base(l.Module)) {
			continue
		}
		findings = append(findings, Finding{"pam-mounts", Problem, "PAM",
			fmt.Sprintf("%s at %s mounts at login and unmounts at logout: the host does not see the one or the other", path.Base(l.Module), l.Place()),
			advice, l.File})
	}
	return findings
}

// cutsOff says whether mounts that a session makes at or below a path stay in it.
func (s System) cutsOff(below string) bool {
	switch s.Policy.Propagation {
	case policy.Shared:
		return false
	case policy.Slave, policy.PropagationPrivate:
		return len(s.Policy.Private) > 0
	}
	_, carriers := s.carried()
	m := s.Mounts.At(below)
	return m != nil && slices.Contains(carriers, m.Mountpoint)
}
