package check

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/config"
	"gotmpns/internal/policy"
)

const writableByOthers = 0o022

// Configuration has one finding for each mistake.
func Configuration(s System) []Finding {
	const subject = "configuration"
	const until = "mend it; until then nobody but root gets a private directory, and where the PAM stack says \"required\", no session"
	var mistakes *config.Errors
	switch {
	case s.ConfigErr == nil:
		return []Finding{{OK, subject, describe(s), ""}}
	case errors.As(s.ConfigErr, &mistakes):
		var findings []Finding
		for _, mistake := range mistakes.Problems {
			findings = append(findings, Finding{Problem, subject, mistake, ""})
		}
		findings[len(findings)-1].Advice = until
		return findings
	}
	return []Finding{{Problem, subject, s.ConfigErr.Error(), until}}
}

func describe(s System) string {
	var targets []string
	for _, p := range s.Policy.Private {
		targets = append(targets, p.Target)
	}
	where := s.ConfigPath
	if s.Defaults {
		where = "there is no " + s.ConfigPath + ", so by default"
	}
	text := fmt.Sprintf("%s: private %s", where, strings.Join(targets, ", "))
	if len(targets) == 0 {
		text = where + ": nothing is private"
	}
	if n := len(s.Policy.Bind); n > 0 {
		text += fmt.Sprintf(", %d of the host's in the place of others", n)
	}
	return text
}

func kernel(s System) []Finding {
	const subject = "kernel"
	k := s.Kernel
	switch {
	case isOlder(k.Release, 5, 12):
		return []Finding{{Problem, subject, "Linux " + k.Release + " is too old", "5.12 or later is needed"}}
	case len(k.Refused) > 0:
		return []Finding{{Problem, subject, "refused: " + strings.Join(k.Refused, ", "),
			"a container's seccomp filter has to let these system calls through"}}
	case s.Root && !k.Admin:
		return []Finding{{Problem, subject, "root has no CAP_SYS_ADMIN here", "a container has it with --privileged, or --cap-add SYS_ADMIN"}}
	}
	return []Finding{{OK, subject, "Linux " + k.Release + " has what is needed", ""}}
}

// isOlder compares the first two numbers of a release; one that cannot be read
// is not older.
func isOlder(release string, major, minor int) bool {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, err1 := strconv.Atoi(parts[0])
	b, err2 := strconv.Atoi(strings.TrimRight(parts[1], "-+abcdefghijklmnopqrstuvwxyz"))
	return err1 == nil && err2 == nil && (a < major || a == major && b < minor)
}

func module(s System) []Finding {
	const subject = "module"
	var findings []Finding
	for _, f := range s.Files {
		switch {
		case f.Err != "":
			findings = append(findings, Finding{Problem, subject, f.Err, "install it again"})
		case f.UID != 0 || f.Mode&writableByOthers != 0:
			findings = append(findings, Finding{Problem, subject,
				fmt.Sprintf("others than root can change %s, which root runs in every login: it belongs to uid %d with mode %#o", f.Path, f.UID, f.Mode),
				fmt.Sprintf("run \"chown root %[1]s\" and \"chmod go-w %[1]s\", if it is what was installed", f.Path)})
		}
	}
	if findings == nil && len(s.Files) > 0 {
		return []Finding{{OK, subject, s.Files[0].Path + " and its worker are installed", ""}}
	}
	return findings
}

func targets(s System) []Finding {
	if s.ConfigErr != nil {
		return nil
	}
	var findings []Finding
	for _, p := range s.Policy.Private {
		if f := judgeTarget(p, s.Targets[p.Target]); f.Text != "" {
			findings = append(findings, f)
		}
	}
	for _, b := range s.Policy.Bind {
		if source := s.Sources[b.Source]; source.Err != "" {
			findings = append(findings, Finding{Problem, b.Target, "its source cannot be used: " + source.Err,
				"make " + b.Source + ", or take it out of the configuration"})
		}
	}
	return findings
}

func judgeTarget(p policy.Private, t Target) Finding {
	name := "a base for it in the configuration: base = \"/var/lib/gotmpns/NAME\""
	switch {
	case t.Err != "":
		return Finding{Problem, p.Target, t.Err, "make it a directory, or take it out of the configuration"}
	case !t.Directory:
		return Finding{Problem, p.Target, "it is not a directory", "make it one, or take it out of the configuration"}
	case p.Kind == policy.Tmpfs || p.Base != "":
		return Finding{}
	case t.UID != 0:
		return Finding{Problem, p.Target, fmt.Sprintf("instances cannot be kept in it: it belongs to uid %d", t.UID),
			"run \"chown root " + p.Target + "\", or name " + name}
	case t.Mode&writableByOthers != 0 && t.Mode&unix.S_ISVTX == 0:
		return Finding{Problem, p.Target, fmt.Sprintf("instances cannot be kept in it: others can write to it, and its mode %#o has no sticky bit", t.Mode),
			"run \"chmod +t " + p.Target + "\", or name " + name}
	}
	return Finding{}
}

// propagation says what the setting comes to on this machine.
func propagation(s System) []Finding {
	const subject = "propagation"
	if s.ConfigErr != nil || s.Mounts == nil {
		return nil
	}
	var plain []string // directories of a file system that has more in it
	for _, p := range s.Policy.Private {
		if !s.Mounts.IsPoint(p.Target) {
			plain = append(plain, p.Target)
		}
	}
	names := strings.Join(plain, ", ")
	switch mode := s.Policy.Propagation; {
	case mode == policy.Shared && len(plain) > 0:
		return []Finding{{Problem, subject, `"shared" is refused, for ` + names + " is not a mount point of its own",
			"mount a file system there, or set propagation = \"auto\""}}
	case mode == policy.PropagationPrivate:
		return []Finding{{OK, subject, `"private": mounts travel neither from the host into sessions nor back`, ""}}
	case mode != policy.Slave && len(plain) == 0:
		return []Finding{{OK, subject, fmt.Sprintf("%q works as \"shared\": mounts of the host and of sessions are seen by both", mode), ""}}
	case !s.Mounts.IsShared("/"):
		return []Finding{{Notice, subject, "/ is not shared on this host: what is mounted later is not seen in sessions that are open",
			"systemd shares it at boot; \"mount --make-rshared /\" does so now"}}
	case mode == policy.Auto:
		return []Finding{{OK, subject, `"auto" works as "slave", for ` + names +
			" is not a mount point of its own: mounts of the host come into sessions, those of a session stay in it", ""}}
	}
	return []Finding{{OK, subject, `"slave": mounts of the host come into sessions, those of a session stay in it`, ""}}
}

func leftovers(s System) []Finding {
	const subject = "leftovers"
	const advice = "\"gotmpns clean --dry-run\" lists what is due"
	if !s.Root {
		return nil
	}
	var findings []Finding
	add := func(count int, text string) {
		if count > 0 {
			findings = append(findings, Finding{Notice, subject, fmt.Sprintf(text, count), advice})
		}
	}
	l := s.Leftovers
	add(l.Records, "records of ended sessions: %d; a later login takes them away")
	for _, base := range l.Bases {
		findings = append(findings, Finding{Notice, subject, base + " looks like a base, and no record knows it: nothing of it is used", advice})
	}
	add(len(l.Aside), "directories set aside because their uid has a new owner: %d")
	add(len(l.Unknown), "directories of users who are not known any more: %d")
	if findings == nil {
		return []Finding{{OK, subject, "nothing is left of earlier sessions but what is in use or waits for the next login", ""}}
	}
	return findings
}
