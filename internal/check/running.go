package check

import (
	"fmt"
	"slices"
	"strings"

	"gotmpns/internal/pamconf"
)

// broker looks at the service that answers logins.
func broker(s System) []Finding {
	const subject, service, socket = "broker", "gotmpns.service", "gotmpns.socket"
	b := s.Broker
	asked := slices.ContainsFunc(ourLines(s.Stacks), func(l pamconf.Line) bool { return !pamconf.ParseArguments(l.Args).NoSocket })
	notice := func(id, text, advice string) []Finding { return []Finding{{id, Notice, subject, text, advice, ""}} }
	switch {
	case !b.Installed || !asked:
		return nil
	case b.Service == "failed" || b.Socket == "failed":
		return []Finding{{"broker-failed", Problem, subject, "it has failed: every login starts a worker, and nothing cleans up when sessions end",
			"\"journalctl -u " + service + "\" says why; then run \"systemctl reset-failed " + service + " " + socket + "\" and \"systemctl restart " + socket + "\"", ""}}
	case b.Socket != "active":
		return notice("broker-off", "its socket is "+b.Socket+": every login starts a worker, and nothing cleans up when sessions end",
			"run \"systemctl enable --now "+socket+"\"")
	case b.Replaced:
		return notice("broker-old", "it runs a program that has been replaced since: it may be of another version than the module",
			"run \"systemctl restart "+service+"\"")
	case b.Restarts > 0:
		return notice("broker-restarts", fmt.Sprintf("it has ended unexpectedly and was restarted, times: %d", b.Restarts),
			"\"journalctl -u "+service+"\" says why; \"systemctl restart "+service+"\" resets the count")
	case b.Service == "active":
		return []Finding{{"broker", OK, subject, "it is running", "", ""}}
	}
	return []Finding{{"broker", OK, subject, "its socket is active: the next login starts it", "", ""}}
}

// sessions looks for those that see something else than a login of today would.
func sessions(s System) []Finding {
	const subject = "sessions"
	var findings []Finding
	var old, removed []string
	for _, session := range s.Sessions {
		name := fmt.Sprintf("%s (%s, pid %d)", session.User, session.Service, session.PID)
		if session.Removed {
			removed = append(removed, name)
		}
		if !s.Changed.IsZero() && session.Since.Before(s.Changed) {
			old = append(old, name)
		}
	}
	if len(removed) > 0 {
		findings = append(findings, Finding{"session-removed", Notice, subject,
			"the private directory has been removed on the host: " + some(removed),
			"the next logins get new directories; what was started before has none until it ends", ""})
	}
	if len(old) > 0 && !s.Draft {
		findings = append(findings, Finding{"session-older", Notice, subject,
			"opened before the last change of the configuration: " + some(old), "they keep what they have until their users log in again", s.ConfigPath})
	}
	for _, o := range s.Outside {
		text := fmt.Sprintf("%d processes of %s see the host's directories: they are older than the module, or were started outside of a session", o.Count, o.User)
		if o.Count == 1 {
			text = fmt.Sprintf("1 process of %s sees the host's directories: it is older than the module, or was started outside of a session", o.User)
		}
		if len(o.Named) > 0 {
			text += ", and start others: " + some(o.Named)
		}
		findings = append(findings, Finding{"session-outside", Notice, subject, text,
			fmt.Sprintf("end them, for example by \"loginctl terminate-user %[1]s\" or, where that does not reach them, \"pkill -u %[1]s\"", o.User), ""})
	}
	return findings
}

// some lists a few names.
func some(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:shown], ", ") + fmt.Sprintf(" and %d more", len(names)-shown)
}
