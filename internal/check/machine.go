package check

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/config"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
)

// Configuration has one finding for each mistake.
func Configuration(s System) []Finding {
	const subject = "configuration"
	advice := "fix it: until then nobody gets a private directory, and where the PAM stack says \"required\", only root gets a session"
	if s.Draft {
		advice = "fix it before you put the file in place"
	}
	problem := func(text, advice string) Finding {
		return Finding{"configuration-invalid", Problem, subject, text, advice, s.ConfigPath}
	}
	var mistakes *config.Errors
	switch {
	case s.ConfigErr == nil:
		return []Finding{{"configuration", OK, subject, describe(s), "", s.ConfigPath}}
	case errors.As(s.ConfigErr, &mistakes):
		var findings []Finding
		for _, mistake := range mistakes.Problems {
			findings = append(findings, problem(mistake, ""))
		}
		findings[len(findings)-1].Advice = advice
		return findings
	}
	return []Finding{problem(s.ConfigErr.Error(), advice)}
}

func describe(s System) string {
	var targets []string
	for _, p := range s.Policy.Private {
		if !slices.Contains(targets, p.Target) { // several tables can have one
			targets = append(targets, p.Target)
		}
	}
	where := s.ConfigPath
	if s.Draft {
		where += " (not in place)"
	}
	if s.Defaults {
		where = "there is no " + s.ConfigPath + ", so by default"
	}
	text := fmt.Sprintf("%s: private %s", where, strings.Join(targets, ", "))
	if len(targets) == 0 {
		text = where + ": nothing is private"
	}
	if n := len(s.Policy.Bind); n > 0 {
		text += fmt.Sprintf(", %d bind mounts", n)
	}
	return text
}

// kernel looks for the capability first: without it, what a filter refuses and what
// the kernel refuses look the same.
func kernel(s System) []Finding {
	const subject = "kernel"
	k := s.Kernel
	switch {
	case isOlder(k.Release, 5, 12):
		return []Finding{{"kernel-old", Problem, subject, "Linux " + k.Release + " is too old", "install Linux 5.12 or later", ""}}
	case s.Root && !k.Admin:
		return []Finding{{"kernel-capability", Problem, subject, "root has no CAP_SYS_ADMIN here, so no mount namespace can be made",
			"start the container with --cap-add SYS_ADMIN or --privileged", ""}}
	case len(k.Refused) > 0:
		refused := strings.Join(k.Refused, ", ")
		if k.Filtered {
			return []Finding{{"kernel-refused", Problem, subject, "a filter of system calls (seccomp) refuses " + refused,
				"allow them, in the profile of the container or in SystemCallFilter= of the service", ""}}
		}
		return []Finding{{"kernel-refused", Problem, subject, "refused: " + refused, "install a kernel that has these system calls, Linux 5.12 or later", ""}}
	}
	return []Finding{{"kernel", OK, subject, "Linux " + k.Release + " has all that is needed", "", ""}}
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

func notSeen(s System) []Finding {
	var findings []Finding
	for _, reason := range s.NotSeen {
		findings = append(findings, Finding{"not-checked", Notice, "check", reason, "run it where root has all capabilities to see the rest", ""})
	}
	return findings
}

func module(s System) []Finding {
	const subject = "module"
	var findings []Finding
	for _, f := range s.Files {
		findings = append(findings, judgeFile(f, "install the package again, as a whole")...)
	}
	if findings == nil && len(s.Files) > 0 {
		return []Finding{{"module", OK, subject, s.Files[0].Path + " and its worker are installed", "", s.Files[0].Path}}
	}
	return findings
}

// judgeFile looks at a file that root runs in every login.
func judgeFile(f File, advice string) []Finding {
	switch {
	case f.Err != "":
		return []Finding{{"module-missing", Problem, "module", f.Err, advice, f.Path}}
	case f.UID != 0 || f.Mode&mountfd.WritableByOthers != 0:
		return []Finding{{"module-writable", Problem, "module",
			fmt.Sprintf("users other than root can change %s, which root runs in every login: it belongs to uid %d and has mode %#o", f.Path, f.UID, f.Mode),
			fmt.Sprintf("if it is the file that was installed, run \"chown root %[1]s\" and \"chmod go-w %[1]s\"", f.Path), f.Path}}
	}
	return nil
}

// targets looks at each target and source by itself; what a login would refuse
// beside that, it reports with the login's own words.
func targets(s System) []Finding {
	if s.ConfigErr != nil {
		return nil
	}
	findings := judgeTargets(s)
	if findings == nil && s.Refused != nil {
		command := "gotmpns check --all-users"
		if s.Draft {
			command += " --config " + s.ConfigPath
		}
		return []Finding{{"login-refused", Problem, "login", "some logins would be refused: " + s.Refused.Error(),
			fmt.Sprintf("correct the target or its table; %q shows whose logins", command), s.ConfigPath}}
	}
	return findings
}

func judgeTargets(s System) []Finding {
	var findings []Finding
	for _, p := range s.Policy.Private {
		if policy.IsVariable(p.Target) {
			continue // another one for each user
		}
		if f := judgeTarget(p, s.Targets[p.Target]); f.Text != "" {
			findings = append(findings, f)
		}
	}
	for _, b := range s.Policy.Bind {
		if source := s.Sources[b.Source]; source.Err != "" {
			advice := source.instead("source")
			if source.Missing {
				advice = fmt.Sprintf("create %s, a directory or a file as %s is, or ", b.Source, b.Target)
			}
			findings = append(findings, Finding{"bind-source", Problem, b.Target, "its source cannot be used: " + source.Err,
				advice + "take the table out of the configuration", b.Source})
		}
	}
	return findings
}

// instead advises the path behind a symbolic link; where there is none, it is empty.
func (t Target) instead(key string) string {
	if t.Behind == "" {
		return ""
	}
	return fmt.Sprintf("write %s = %q, which is behind the link, or ", key, t.Behind)
}

func judgeTarget(p policy.Private, t Target) Finding {
	const base = "set a base in the configuration: base = \"/var/lib/NAME\", in a directory that exists"
	problem := func(id, text, advice string) Finding { return Finding{id, Problem, p.Target, text, advice, p.Target} }
	switch {
	case t.Missing && p.Create != nil:
		return Finding{} // the first login makes it
	case t.Missing:
		return problem("target-missing", t.Err, fmt.Sprintf("create the directory %s, or take the table out of the configuration", p.Target))
	case t.Err != "":
		return problem("target-missing", t.Err, t.instead("target")+"take the table out of the configuration")
	case !t.Directory:
		return problem("target-file", "it is not a directory", "replace it by a directory, or take the table out of the configuration")
	case p.Kind == policy.Tmpfs || p.Base != "":
		return Finding{}
	case t.UID != 0:
		return problem("target-owner", fmt.Sprintf("instances cannot be kept in it: it belongs to uid %d", t.UID),
			"run \"chown root "+p.Target+"\", or "+base)
	case t.Mode&mountfd.WritableByOthers != 0 && t.Mode&unix.S_ISVTX == 0:
		return problem("target-sticky", fmt.Sprintf("instances cannot be kept in it: others can write to it, and its mode %#o has no sticky bit", t.Mode),
			"run \"chmod +t "+p.Target+"\", or "+base)
	}
	return Finding{}
}

// propagation says what the setting amounts to on this machine: which mounts are
// passed on.
func propagation(s System) []Finding {
	const subject = "propagation"
	if s.ConfigErr != nil || s.Mounts == nil || len(s.Policy.Private) == 0 {
		return nil
	}
	fine := func(text string) []Finding { return []Finding{{"propagation", OK, subject, text, "", ""}} }
	plain, carriers := s.carried()
	switch mode := s.Policy.Propagation; {
	case mode == policy.Shared && plain != nil:
		return []Finding{{"propagation-refused", Problem, subject, `"shared" is refused, because ` + strings.Join(plain, ", ") + " is not a mount point of its own",
			"mount a file system there, or set propagation = \"auto\"", s.ConfigPath}}
	case mode == policy.PropagationPrivate:
		return fine(`"private": mounts travel neither from the host into sessions nor back`)
	case mode != policy.Slave && plain == nil:
		return fine(fmt.Sprintf("%q: mounts of the host and of sessions are seen by both, except on the targets", mode))
	case !s.Mounts.IsShared("/"):
		return []Finding{{"propagation-host", Notice, subject, "/ is not shared on this host: sessions that are open do not see what is mounted later",
			"systemd shares it at boot; \"mount --make-rshared /\" does so now", ""}}
	case mode == policy.Auto:
		return fine(fmt.Sprintf("%q: sessions see what the host mounts; the host sees what sessions mount, except on the targets and on %s, which carries %s",
			mode, strings.Join(carriers, ", "), strings.Join(plain, ", ")))
	}
	return fine(`"slave": mounts of the host come into sessions, those of a session stay in it`)
}

// carried returns the targets that are directories of a larger file system, and the
// mount points of these.
func (s System) carried() (targets, carriers []string) {
	for _, p := range s.Policy.Private {
		m := s.Mounts.At(p.Target)
		if m == nil || m.Mountpoint == p.Target || policy.IsVariable(p.Target) || s.Policy.MountPoints == policy.MakeMountPoints {
			continue
		}
		if !slices.Contains(targets, p.Target) {
			targets = append(targets, p.Target)
		}
		if !slices.Contains(carriers, m.Mountpoint) {
			carriers = append(carriers, m.Mountpoint)
		}
	}
	return targets, carriers
}

func leftovers(s System) []Finding {
	const subject = "leftovers"
	if !s.Root {
		return nil
	}
	var findings []Finding
	add := func(count int, id, text, advice string) {
		if count > 0 {
			findings = append(findings, Finding{id, Notice, subject, fmt.Sprintf(text, count), advice, ""})
		}
	}
	remove := func(option string) string {
		return fmt.Sprintf("\"gotmpns clean %s --dry-run\" lists them; without --dry-run it removes those that nothing uses", option)
	}
	l := s.Leftovers
	add(l.Records, "leftover-records", "records of ended sessions: %d", "the broker removes them; where it does not run, \"gotmpns clean\" does")
	add(len(l.Bases), "leftover-base", "directories that look like a base, and are not in use: %d", remove("--orphaned"))
	add(len(l.Aside), "leftover-aside", "directories set aside because their uid has a new owner: %d", remove("--set-aside"))
	add(len(l.Unknown), "leftover-unknown", "directories of users who no longer exist: %d", remove("--unknown-users"))
	if findings == nil && !notTaken(s) {
		return []Finding{{"leftovers", OK, subject, "nothing is left of earlier sessions but what is in use or waits for the next login", "", ""}}
	}
	return findings
}

// notTaken says whether the sessions and instances could not be looked at.
func notTaken(s System) bool { return len(s.NotSeen) > 0 }
