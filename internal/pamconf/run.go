package pamconf

import (
	"slices"
	"strconv"
	"strings"
)

// Skips returns the line that makes PAM skip the one at a position, where every
// module before it succeeds; false means that PAM calls it. A jump cannot leave
// its substack, "done" ends the substack alone, and for a jump a substack is one
// module (pam.conf(5)).
func Skips(lines []Line, at int) (Line, bool) {
	for i := 0; i < at; {
		next := after(lines, i)
		if next > at {
			return lines[i], true
		}
		i = next
	}
	return Line{}, false
}

// after is the position at which PAM goes on when the module at i has succeeded.
func after(lines []Line, i int) int {
	if lines[i].Control == "substack" {
		return i + 1
	}
	level := lines[i].Level
	end := i + 1
	for end < len(lines) && lines[end].Level >= level {
		end++
	}
	action := onSuccess(lines[i].Control)
	if action == "done" || action == "die" {
		if level == 0 {
			return len(lines)
		}
		return end
	}
	jump, _ := strconv.Atoi(action)
	next := i + 1
	for ; jump > 0 && next < end; jump-- {
		next++
		for next < end && lines[next].Level > level {
			next++
		}
	}
	return next
}

// onSuccess is the action of a control when its module succeeds (pam.conf(5)).
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

// EndsStack says whether no module after the line is called when its own succeeds.
func (l Line) EndsStack() bool { return onSuccess(l.Control) == "done" }

// fragments are files that services include: no program opens a session by these names.
var fragments = []string{
	"system-auth", "system-login", "system-local-login", "system-remote-login", "system-services",
	"password-auth", "fingerprint-auth", "smartcard-auth", "postlogin",
}

// without are services whose programs open no session, although their files have
// session lines: they include a common file as a whole.
var without = []string{
	"chfn", "chsh", "passwd", "chpasswd", "newusers", "chage", "useradd", "usermod", "userdel", "groupadd", "groupmod",
	"groupdel", "groupmems", "shadow", "polkit-1", "cups", "dovecot", "smtp", "saslauthd", "imap", "pop3",
	"vlock", "xscreensaver", "i3lock", "swaylock", "light-locker", "mate-screensaver", "cinnamon-screensaver",
	"gnome-screensaver", "kscreensaver", "kde", "kde-fingerprint", "kde-smartcard", "xfce4-screensaver", "physlock",
	"ppp-auth", "apache2", "squid", "mumble-server", "postgresql", "mariadb", "pkexec",
}

// HasSessions says whether a file has session lines, its own or included ones.
func (s Stacks) HasSessions(name string) bool { return len(s.expand(name, 0, deepest)) > 0 }

// Services returns the names of the services that open sessions, sorted: every
// service with session lines of its own but the known exceptions. Files that only
// serve to be included are no services.
func (s Stacks) Services() []string {
	var names []string
	for _, name := range s.Names() {
		isFragment := strings.HasPrefix(name, "common-") || strings.HasPrefix(name, "/") || slices.Contains(fragments, name)
		if isFragment || name == otherService || slices.Contains(without, name) || !s.HasSessions(name) {
			continue
		}
		names = append(names, name)
	}
	return names
}
