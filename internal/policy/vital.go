package policy

import (
	"path"
	"strings"

	"gotmpns/internal/paths"
)

// extent says how much of a path is refused as a target.
type extent uint8

const (
	free     extent = iota // neither the path nor anything below it
	itself                 // the path; what is below it can be a target
	contents               // the path, and what is below it, except to [[bind]] one thing over another
	tree                   // the path and everything below it
)

// vital is what a login program, PAM, the name service, a shell or the module's own
// worker opens during a login, and in a session at the next su or sudo. Without it
// nobody but root could log in, so it cannot be a target. Of several entries for a
// path, the longest applies; an element may be a pattern as in [path.Match].
//
// [[bind]] tables may replace single programs and files of the system that a login
// does not depend on, such as /etc/hosts. That is what contents is for: an empty
// private directory is of no use there.
var vital = []struct {
	path   string
	extent extent
}{
	{"/usr", contents},
	{"/usr/bin/sh", tree}, {"/usr/bin/bash", tree}, {"/usr/bin/rbash", tree}, {"/usr/bin/dash", tree}, {"/usr/bin/zsh", tree},
	{"/usr/bin/fish", tree}, {"/usr/bin/csh", tree}, {"/usr/bin/tcsh", tree}, {"/usr/bin/ksh*", tree}, {"/usr/bin/login", tree},
	{"/usr/bin/su", tree}, {"/usr/bin/sudo", tree}, {"/usr/bin/env", tree}, {"/usr/bin/gotmpns", tree},
	{"/usr/bin/newuidmap", tree}, {"/usr/bin/newgidmap", tree}, {"/usr/bin/systemd*", tree}, {"/usr/bin/dbus-*", tree},
	{"/usr/sbin/sshd", tree}, {"/usr/sbin/unix_chkpwd", tree}, {"/usr/sbin/pam_*", tree}, {"/usr/sbin/mkhomedir_helper", tree},
	{"/usr/sbin/cron*", tree}, {"/usr/sbin/atd", tree}, {"/usr/sbin/nologin", tree},
	// Libraries, PAM and NSS modules, with and without a directory for the architecture.
	{"/usr/lib*/*-linux-*", tree}, {"/usr/lib*/*.so", tree}, {"/usr/lib*/*.so.*", tree},
	{"/usr/lib*/security", tree}, {"/usr/lib*/pam.d", tree}, {"/usr/lib*/systemd", tree}, {"/usr/lib*/gotmpns", tree},
	{"/usr/lib*/openssh", tree}, {"/usr/lib*/ssh", tree}, {"/usr/lib*/sudo", tree}, {"/usr/lib*/dbus-1.0", tree},
	{"/usr/lib/environment.d", tree}, {"/usr/lib/tmpfiles.d", tree},
	{"/usr/share/gotmpns", tree}, {"/usr/share/pam", tree}, {"/usr/share/pam-configs", tree}, {"/usr/share/dbus-1", tree},
	{"/usr/etc", tree}, // what /etc is on image-based systems
	{"/usr/local", itself},
	{"/usr/local/bin", contents}, {"/usr/local/sbin", contents}, {"/usr/local/etc", contents},
	{"/usr/local/lib*", contents}, {"/usr/local/lib*/*.so", tree}, {"/usr/local/lib*/*.so.*", tree},
	{"/usr/local/lib*/*-linux-*", tree}, {"/usr/local/lib*/security", tree}, {"/usr/local/lib*/gotmpns", tree},
	{"/nix", tree}, {"/gnu", tree}, // the systems that have their programs there

	{"/etc", contents},
	{"/etc/pam.d", tree}, {"/etc/pam.conf", tree}, {"/etc/security", tree}, {"/etc/login.defs", tree},
	{"/etc/passwd", tree}, {"/etc/group", tree}, {"/etc/shadow", tree}, {"/etc/gshadow", tree}, {"/etc/tcb", tree},
	{"/etc/subuid", tree}, {"/etc/subgid", tree}, {"/etc/nsswitch.conf", tree}, {"/etc/authselect", tree},
	{"/etc/shells", tree}, {"/etc/nologin", tree}, {"/etc/securetty", tree},
	{"/etc/ld.so.*", tree}, {"/etc/sudoers", tree}, {"/etc/sudoers.d", tree}, {"/etc/sudo.conf", tree},
	{"/etc/systemd", tree}, {"/etc/dbus-1", tree}, {"/etc/selinux", tree}, {"/etc/machine-id", tree},

	{"/boot", tree}, {"/proc", tree}, {"/sys", tree},
	{"/dev", tree}, {"/dev/shm", free},

	{"/run", contents},
	{"/run/gotmpns", tree}, {"/run/systemd", tree}, {"/run/dbus", tree}, {"/run/udev", tree}, {"/run/credentials", tree},
	{"/run/user", itself}, {"/run/user/[0-9]*", tree},
	{"/run/utmp", tree}, {"/run/nologin", tree}, {"/run/sshd", tree}, {"/run/sudo", tree}, {"/run/faillock", tree},
	{"/run/nscd", tree}, {"/run/nslcd", tree}, {"/run/sssd", tree}, {"/run/samba", tree}, {"/run/oddjobd*", tree},
	{"/run/lock", free}, {"/run/shm", free}, {"/run/screen", free},

	{"/var", itself},
	{"/var/lib", itself},
	{"/var/lib/gotmpns", tree}, {"/var/lib/sss", tree}, {"/var/lib/samba", tree}, {"/var/lib/extrausers", tree},
	{"/var/lib/pam", tree}, {"/var/lib/systemd", tree}, {"/var/lib/dbus", tree}, {"/var/lib/lastlog", tree}, {"/var/lib/wtmpdb", tree},
	{"/var/db", contents}, {"/var/empty", tree},
	{"/var/log", itself}, {"/var/log/wtmp", tree}, {"/var/log/btmp", tree}, {"/var/log/lastlog", tree}, {"/var/log/journal", tree},
	{"/var/spool", itself}, {"/var/spool/cron", tree}, {"/var/spool/at*", tree},

	{"/home", itself}, {"/root", itself},
}

// links are directories that are symbolic links on most systems, and where they lead.
var links = []struct{ from, to string }{
	{"/bin", "/usr/bin"}, {"/sbin", "/usr/sbin"}, {"/lib", "/usr/lib"},
	{"/lib32", "/usr/lib32"}, {"/lib64", "/usr/lib64"}, {"/libx32", "/usr/libx32"}, {"/libo32", "/usr/libo32"},
	{"/var/run", "/run"}, {"/var/lock", "/run/lock"},
}

// UnfitForPrivate says why a path cannot be the target of a [[private]] table; it
// is absolute and clean. Empty: it can.
func UnfitForPrivate(target string) string { return unfit(target, contents) }

// UnfitForBind says it of the target of a [[bind]] table.
func UnfitForBind(target string) string { return unfit(target, tree) }

// unfit refuses what is above, at, or below something vital; what is below counts
// from the extent least on.
func unfit(target string, least extent) string {
	if target == "/" {
		return "cannot be replaced: logins depend on it"
	}
	elements := split(followLink(target))
	longest, applies := 0, free
	for _, v := range vital {
		pattern := split(v.path)
		switch {
		case len(elements) < len(pattern) && v.extent != free && matches(pattern[:len(elements)], elements):
			return "cannot be replaced: logins depend on what is in it"
		case len(elements) == len(pattern) && v.extent != free && matches(pattern, elements):
			return "cannot be replaced: logins depend on it"
		case len(elements) >= len(pattern) && len(pattern) >= longest && matches(pattern, elements[:len(pattern)]):
			longest, applies = len(pattern), v.extent
		}
	}
	if applies >= least {
		return "cannot be replaced: logins depend on " + path.Join("/", path.Join(elements[:longest]...))
	}
	return ""
}

func split(p string) []string { return strings.Split(strings.TrimPrefix(p, "/"), "/") }

// matches compares element by element.
func matches(patterns, elements []string) bool {
	for i, pattern := range patterns {
		if ok, err := path.Match(pattern, elements[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

func followLink(target string) string {
	for _, link := range links {
		if paths.IsWithin(target, link.from) {
			return link.to + strings.TrimPrefix(target, link.from)
		}
	}
	return target
}
