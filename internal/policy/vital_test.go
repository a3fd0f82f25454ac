package policy

import (
	"strings"
	"testing"
)

// What a login opens cannot be a target: neither the thing itself, nor what is
// above or below it, however it is spelled.
func TestUnfitTargets(t *testing.T) {
	const refused, allowed = true, false
	cases := []struct {
		target        string
		private, bind bool
	}{
		{"/", refused, refused},
		// Each of these locked out everybody but root.
		{"/usr/bin", refused, refused},
		{"/usr/lib/x86_64-linux-gnu", refused, refused},
		{"/etc/pam.d", refused, refused},
		{"/run/user", refused, refused},
		{"/run/systemd", refused, refused},
		// Above.
		{"/usr", refused, refused}, {"/usr/lib", refused, refused}, {"/usr/sbin", refused, refused},
		{"/usr/share", refused, refused}, {"/usr/local", refused, refused}, {"/etc", refused, refused},
		{"/run", refused, refused}, {"/var", refused, refused}, {"/var/lib", refused, refused},
		{"/var/log", refused, refused}, {"/var/spool", refused, refused}, {"/home", refused, refused},
		// Below.
		{"/usr/lib/x86_64-linux-gnu/security", refused, refused},
		{"/usr/lib/x86_64-linux-gnu/security/pam_unix.so", refused, refused},
		{"/usr/lib/aarch64-linux-gnu/libc.so.6", refused, refused},
		{"/usr/lib64/ld-linux-x86-64.so.2", refused, refused}, {"/usr/lib64/security", refused, refused},
		{"/usr/lib/libnss_sss.so.2", refused, refused}, {"/usr/lib/systemd/systemd", refused, refused},
		{"/usr/libexec/gotmpns", refused, refused}, {"/usr/local/libexec/gotmpns/gotmpns-worker", refused, refused},
		{"/usr/lib/openssh/sftp-server", refused, refused}, {"/usr/libexec/openssh", refused, refused},
		{"/usr/bin/bash", refused, refused}, {"/usr/sbin/unix_chkpwd", refused, refused},
		{"/etc/pam.d/sshd", refused, refused}, {"/etc/security/gotmpns.d", refused, refused},
		{"/etc/passwd", refused, refused}, {"/etc/nsswitch.conf", refused, refused}, {"/etc/ld.so.cache", refused, refused},
		{"/run/user/1000", refused, refused}, {"/run/user/1000/bus", refused, refused},
		{"/run/systemd/userdb", refused, refused}, {"/run/dbus/system_bus_socket", refused, refused},
		{"/run/gotmpns/sessions", refused, refused}, {"/run/sssd/pipes", refused, refused},
		{"/proc", refused, refused}, {"/proc/self/root/usr", refused, refused}, {"/sys/fs/cgroup", refused, refused},
		{"/dev", refused, refused}, {"/dev/pts", refused, refused}, {"/dev/null", refused, refused},
		{"/var/lib/gotmpns/tmp", refused, refused}, {"/var/lib/sss/pipes", refused, refused},
		{"/var/log/wtmp", refused, refused}, {"/var/spool/cron/crontabs", refused, refused},
		{"/nix/store", refused, refused}, {"/boot/efi", refused, refused},
		// By another name.
		{"/bin", refused, refused}, {"/bin/sh", refused, refused}, {"/sbin", refused, refused},
		{"/lib", refused, refused}, {"/lib/x86_64-linux-gnu", refused, refused}, {"/lib64", refused, refused},
		{"/lib32/libc.so.6", refused, refused}, {"/libx32", refused, refused}, {"/lib/security", refused, refused},
		{"/var/run", refused, refused}, {"/var/run/user/1000", refused, refused}, {"/var/run/systemd", refused, refused},

		// One thing of the system over another is the administrator's choice; an
		// empty directory in its place is of no use.
		{"/etc/hosts", refused, allowed}, {"/etc/resolv.conf", refused, allowed}, {"/etc/motd", refused, allowed},
		{"/etc/ssh/ssh_config", refused, allowed}, {"/etc/profile.d", refused, allowed},
		{"/usr/bin/firefox", refused, allowed}, {"/bin/ping", refused, allowed}, {"/usr/sbin/reboot", refused, allowed},
		{"/usr/share/backgrounds", refused, allowed}, {"/usr/lib/python3/dist-packages", refused, allowed},
		{"/usr/local/bin/tool", refused, allowed}, {"/run/docker.sock", refused, allowed},

		{"/tmp", allowed, allowed}, {"/tmp/build", allowed, allowed}, {"/var/tmp", allowed, allowed},
		{"/dev/shm", allowed, allowed}, {"/dev/shm/lab", allowed, allowed},
		{"/run/lock", allowed, allowed}, {"/run/lock/lab", allowed, allowed}, {"/var/lock", allowed, allowed},
		{"/run/screen", allowed, allowed}, {"/run/user/.session", allowed, allowed},
		{"/var/cache", allowed, allowed}, {"/var/cache/man", allowed, allowed}, {"/var/lib/lab", allowed, allowed},
		{"/var/log/lab", allowed, allowed}, {"/var/mail", allowed, allowed}, {"/var/crash", allowed, allowed},
		{"/home/alice", allowed, allowed}, {"/home/alice/.cache", allowed, allowed}, {"/root/tmp", allowed, allowed},
		{"/usr/local/scratch", allowed, allowed}, {"/usr/local/tmp/x", allowed, allowed},
		{"/opt", allowed, allowed}, {"/srv/a/b", allowed, allowed}, {"/scratch", allowed, allowed},
		{"/mnt", allowed, allowed}, {"/media", allowed, allowed}, {"/lab", allowed, allowed},
		// These only begin like something else.
		{"/library", allowed, allowed}, {"/devices", allowed, allowed}, {"/binary", allowed, allowed}, {"/var/runs", allowed, allowed},
	}
	for _, c := range cases {
		t.Run(c.target, func(t *testing.T) {
			for kind, got := range map[string]string{"private": UnfitForPrivate(c.target), "bind": UnfitForBind(c.target)} {
				want := c.private
				if kind == "bind" {
					want = c.bind
				}
				switch {
				case (got != "") != want:
					t.Errorf("%s: got %q, want refused = %v", kind, got, want)
				case got != "" && !strings.HasPrefix(got, "cannot be replaced: logins depend on "):
					t.Errorf("%s: %q", kind, got)
				}
			}
		})
	}
}

func TestEveryVitalPathIsRefused(t *testing.T) {
	for _, v := range vital {
		target := strings.ReplaceAll(strings.ReplaceAll(v.path, "[0-9]*", "1"), "*", "")
		if refused := UnfitForPrivate(target) != "" && UnfitForBind(target) != ""; refused != (v.extent != free) {
			t.Errorf("%s: refused = %v", v.path, refused)
		}
	}
}
