package check

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"

	"gotmpns/internal/config"
	"gotmpns/internal/mounts"
	"gotmpns/internal/pamconf"
	"gotmpns/internal/policy"
)

// Debian's files, but for comments.
const (
	debianCommon = `session	[default=1]			pam_permit.so
session	requisite			pam_deny.so
session	required			pam_permit.so
session	required	pam_unix.so
session	optional	pam_systemd.so
`
	debianCron = "@include common-auth\nsession required pam_env.so\n@include common-session-noninteractive\n"
	debianSSHD = "@include common-auth\nsession [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so close\n@include common-session\n"
	ours       = "session optional pam_gotmpns.so\n"
)

// files makes the service files of a Debian.
func files(common, noninteractive string) pamconf.Stacks {
	return pamconf.Stacks{
		"common-session":                {Path: "/etc/pam.d/common-session", Text: common},
		"common-session-noninteractive": {Path: "/etc/pam.d/common-session-noninteractive", Text: noninteractive},
		"sshd":                          {Path: "/etc/pam.d/sshd", Text: debianSSHD},
		"cron":                          {Path: "/etc/pam.d/cron", Text: debianCron},
		"systemd-user":                  {Path: "/usr/lib/pam.d/systemd-user", Text: "session required pam_limits.so\n@include common-session-noninteractive\n"},
	}
}

// set replaces a file of /etc/pam.d.
func (s *System) set(service, text string) {
	s.Stacks[service] = pamconf.File{Path: "/etc/pam.d/" + service, Text: text}
}

func table(t *testing.T, text string) mounts.Table {
	t.Helper()
	parsed, err := mountinfo.GetMountsFromReader(strings.NewReader(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

const (
	sharedRoot  = "20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
	privateRoot = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
	tmpOnTmpfs  = "21 20 0:30 / /tmp rw shared:2 - tmpfs tmpfs rw\n"
)

// healthy is a machine on which nothing is wrong.
func healthy(t *testing.T) System {
	return System{
		Root: true, ConfigPath: config.DefaultPath, Policy: policy.Default(),
		Kernel:   Kernel{Release: "6.1.0-18-amd64", Admin: true},
		Mounts:   table(t, sharedRoot),
		Targets:  map[string]Target{"/tmp": {Directory: true, Mode: 0o1777}},
		Shares:   map[string]bool{},
		Files:    []File{{Path: "/usr/lib/security/pam_gotmpns.so", Mode: 0o644}},
		Stacks:   files(debianCommon+ours, debianCommon+ours),
		Tmpfiles: map[string]Part{"gotmpns.conf": {"/usr/lib/tmpfiles.d/gotmpns.conf", "X /tmp/gotmpns-*\nX /tmp/gotmpns-*/[0-9]*\n"}},
		Units: map[string]Unit{
			"ssh.service":   {"/usr/lib/systemd/system/ssh.service", "[Service]\nExecStart=/usr/sbin/sshd -D\n", false},
			"user@.service": {"/usr/lib/systemd/system/user@.service", "[Service]\nUser=%i\nPAMName=systemd-user\nType=notify\n", false},
		},
		SSHD:     []Part{{"/etc/ssh/sshd_config", "UsePAM yes\n"}},
		Kerberos: []Part{{"/etc/krb5.conf", "[libdefaults]\ndefault_ccache_name = KEYRING:persistent:%{uid}\n"}},
		Broker:   Broker{Installed: true, Socket: "active", Service: "active"},
	}
}

func TestAHealthyMachineHasOnlyGoodFindings(t *testing.T) {
	for _, f := range All(healthy(t)) {
		if f.Level != OK || f.Advice != "" {
			t.Errorf("%+v", f)
		}
	}
}

// fault is one thing that is not as it should be, or that looks so.
type fault struct {
	id    string
	name  string
	spoil func(*System)
	level Level
	want  string // in the text of the one finding
}

// faults breaks one thing in each row.
func faults(t *testing.T) []fault {
	t.Helper()
	sshd := func(text string) []Part { return []Part{{"/etc/ssh/sshd_config", text}} }
	kerberos := func(text string) []Part { return []Part{{"/etc/krb5.conf", "[libdefaults]\n" + text}} }
	rule := func(source string) policy.Rule {
		r, err := policy.ParseRule(source)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	unit := func(name, more string) func(*System) {
		return func(s *System) {
			u := s.Units[name]
			u.Text += more
			s.Units[name] = u
		}
	}
	return []fault{
		{"kernel-old", "old kernel", func(s *System) { s.Kernel.Release = "5.10.0-28-amd64" }, Problem, "too old"},
		{"", "the first kernel", func(s *System) { s.Kernel.Release = "5.12.0" }, OK, ""},
		{"", "a release of rc", func(s *System) { s.Kernel.Release = "6.19-rc1" }, OK, ""},
		{"kernel-refused", "no open_tree", func(s *System) { s.Kernel.Refused = []string{"open_tree"} }, Problem, "refused: open_tree"},
		{"kernel-refused", "seccomp", func(s *System) {
			s.Kernel.Refused, s.Kernel.Filtered = []string{"open_tree", "statx"}, true
		}, Problem, "a filter of system calls (seccomp) refuses open_tree, statx"},
		{"kernel-capability", "no capability", func(s *System) { s.Kernel.Admin = false }, Problem, "CAP_SYS_ADMIN"},
		{"kernel-capability", "no capability, and a filter", func(s *System) {
			s.Kernel.Admin, s.Kernel.Refused = false, []string{"open_tree"}
		}, Problem, "CAP_SYS_ADMIN"},
		{"", "not root", func(s *System) { s.Root, s.Kernel.Admin = false, false }, OK, ""},
		{"not-checked", "sessions that cannot be seen", func(s *System) { s.NotSeen = []string{"sessions are not checked: setns: EPERM"} }, Notice, "not checked"},
		{"module-missing", "no module", func(s *System) { s.Files[0].Err = "cannot find it" }, Problem, "cannot find it"},
		{"module-writable", "module of a user", func(s *System) { s.Files[0].UID = 1000 }, Problem, "users other than root can change"},
		{"module-writable", "module writable", func(s *System) { s.Files[0].Mode = 0o664 }, Problem, "users other than root can change"},
		{"configuration-invalid", "mistake", func(s *System) { s.ConfigErr = &config.Errors{Problems: []string{"/etc/x.toml:9: unknown key"}} }, Problem, "/etc/x.toml:9"},
		{"configuration-invalid", "unreadable", func(s *System) { s.ConfigErr = errors.New("cannot trust /etc/x.toml") }, Problem, "cannot trust"},
		{"target-missing", "no target", func(s *System) { s.Targets["/tmp"] = Target{Err: "cannot open /tmp", Missing: true} }, Problem, "cannot open /tmp"},
		{"target-missing", "a target that cannot be opened", func(s *System) { s.Targets["/tmp"] = Target{Err: "cannot open /tmp"} }, Problem, "cannot open /tmp"},
		{"target-missing", "a target that is a link", func(s *System) { s.Targets["/tmp"] = Target{Err: "cannot open /tmp", Behind: "/x"} }, Problem, "cannot open /tmp"},
		{"", "a target that the first login makes", func(s *System) {
			s.Targets["/tmp"] = Target{Err: "cannot open /tmp", Missing: true}
			s.Policy.Private[0].Create = &policy.Create{}
		}, OK, ""},
		{"", "a target in each home", func(s *System) {
			s.Policy.Private[0].Target, s.Policy.Private[0].Base, s.Policy.Private[0].Share = "~/.cache", "/var/lib/x", nil
		}, OK, ""},
		{"target-file", "target a file", func(s *System) { s.Targets["/tmp"] = Target{Mode: 0o644} }, Problem, "not a directory"},
		{"target-owner", "target of a user", func(s *System) { s.Targets["/tmp"] = Target{Directory: true, UID: 7, Mode: 0o1777} }, Problem, "belongs to uid 7"},
		{"target-sticky", "no sticky bit", func(s *System) { s.Targets["/tmp"] = Target{Directory: true, Mode: 0o777} }, Problem, "no sticky bit"},
		{"", "a program that a login runs", func(s *System) { s.Policy.Private[0].OnCreate = "/opt/program" }, OK, ""},
		{"login-refused", "what a login refuses by a draft", func(s *System) {
			s.ConfigPath, s.Draft, s.Refused = "/root/new.toml", true, errors.New("no room")
		}, Problem, "would be refused: no room"},
		{"configuration-invalid", "mistake in a draft", func(s *System) { s.Draft, s.ConfigErr = true, errors.New("cannot read it") }, Problem, "cannot read"},
		{"login-refused", "what a login refuses", func(s *System) { s.Refused = errors.New("cannot make the base /x/y: no such file") }, Problem, "would be refused: cannot make the base /x/y"},
		{"target-sticky", "what a login refuses, and is seen", func(s *System) {
			s.Refused = errors.New("cannot keep instances in /tmp")
			s.Targets["/tmp"] = Target{Directory: true, Mode: 0o777}
		}, Problem, "no sticky bit"},
		{"", "a base elsewhere", func(s *System) {
			s.Targets["/tmp"] = Target{Directory: true, Mode: 0o777}
			s.Policy.Private[0].Base = "/var/lib/x"
		}, OK, ""},
		{"bind-source", "source", func(s *System) {
			s.Policy.Bind = []policy.Bind{{Source: "/opt/hosts", Target: "/etc/hosts"}}
			s.Sources = map[string]Target{"/opt/hosts": {Err: "no such file", Missing: true}}
		}, Problem, "no such file"},
		{"bind-source", "a source that is a link", func(s *System) {
			s.Policy.Bind = []policy.Bind{{Source: "/opt/hosts", Target: "/etc/hosts"}}
			s.Sources = map[string]Target{"/opt/hosts": {Err: "a link", Behind: "/x"}}
		}, Problem, "a link"},
		{"propagation-host", "private root", func(s *System) { s.Mounts = table(t, privateRoot) }, Notice, "/ is not shared"},
		{"", "private root, shared target", func(s *System) { s.Mounts = table(t, privateRoot+tmpOnTmpfs) }, OK, ""},
		{"propagation-refused", "shared is impossible", func(s *System) { s.Policy.Propagation = policy.Shared }, Problem, "not a mount point of its own"},
		{"", "shared is possible", func(s *System) { s.Policy.Propagation = policy.Shared; s.Mounts = table(t, sharedRoot+tmpOnTmpfs) }, OK, ""},
		{"target-elsewhere", "/tmp bound to /var/tmp", func(s *System) {
			s.Mounts = table(t, sharedRoot+"30 20 8:1 /tmp /var/tmp rw shared:1 - ext4 /dev/sda1 rw\n")
		}, Notice, "mounted at /var/tmp as well"},
		{"", "/tmp bound to another target", func(s *System) {
			s.Mounts = table(t, sharedRoot+"30 20 8:1 /tmp /var/tmp rw shared:1 - ext4 /dev/sda1 rw\n")
			s.Policy.Private = append(s.Policy.Private, policy.Private{Target: "/var/tmp", Kind: policy.Tmpfs, Size: 1})
			s.Targets["/var/tmp"] = Target{Directory: true}
		}, OK, ""},
		{"quota", "quotas on a directory", func(s *System) {
			s.Mounts = table(t, sharedRoot+strings.Replace(tmpOnTmpfs, "tmpfs rw\n", "tmpfs rw,size=1g,usrquota\n", 1))
		}, OK, "quotas of users on /tmp count in it"},
		{"", "quotas, and a tmpfs", func(s *System) {
			s.Policy.Private[0].Kind, s.Policy.Private[0].Size = policy.Tmpfs, 1<<30
			s.Mounts = table(t, strings.Replace(sharedRoot, "sda1 rw", "sda1 rw,quota,usrjquota=aquota.user", 1))
		}, OK, ""},
		{"", "a group's quotas, and a share of the memory", func(s *System) {
			s.Policy.Private[0].Kind, s.Policy.Private[0].Percent = policy.Tmpfs, 20
			s.Mounts = table(t, strings.Replace(sharedRoot, "sda1 rw", "sda1 rw,grpquota,prjquota", 1))
		}, OK, ""},
		{"target-elsewhere", "the whole disk a second time", func(s *System) {
			s.Mounts = table(t, sharedRoot+"30 20 8:1 / /mnt/disk rw shared:1 - ext4 /dev/sda1 rw\n")
		}, Notice, "mounted at /mnt/disk/tmp as well"},
		{"target-open", "a target that any user can create", func(s *System) {
			s.Policy.Private[0].Target = "/scratch/$USER"
			s.Policy.Private[0].Base = "/srv/base"
			s.Targets["/scratch/$USER"] = Target{Missing: true, Err: "it is missing", Open: Opening{"/scratch", true, "/scratch/$USER"}}
		}, Notice, "others than root can create names in /scratch"},
		{"target-open", "a target that any user can replace", func(s *System) {
			s.Targets["/tmp"] = Target{Directory: true, Mode: 0o1777, Open: Opening{"/open", false, "/open/tmp"}}
		}, Notice, "others than root can create names in /open"},
		{"target-open", "a target that one user can replace", func(s *System) {
			s.Targets["/tmp"] = Target{Directory: true, Mode: 0o1777, Open: Opening{"/sticky", true, "/sticky/tmp"}}
		}, Notice, "others than root can create names in /sticky"},
		{"target-open", "a target that any user can create once", func(s *System) {
			s.Policy.Private[0].Create = &policy.Create{}
			s.Targets["/tmp"] = Target{Missing: true, Err: "it is missing", Open: Opening{"/sticky", true, "/sticky/tmp"}}
		}, Notice, "others than root can create names in /sticky"},
		{"home-hidden", "a home below a target", func(s *System) { s.Homes = []Home{{"carol", "/tmp/home/carol", "/tmp"}} }, Problem, "the home of carol"},
		{"rule-unknown", "a user nobody knows", func(s *System) { s.Unknown = []policy.Rule{rule("alcie")} }, Notice, `"alcie" matches nobody: there is no user alcie`},
		{"rule-unknown", "a group nobody knows", func(s *System) { s.Unknown = []policy.Rule{rule("@studnets")} }, Notice, "there is no group studnets"},
		{"rule-unknown", "a service nobody knows", func(s *System) { s.Unknown = []policy.Rule{rule("service:shhd")} }, Notice, "no PAM service is called shhd"},
		{"rule-unknown", "a shell nobody has", func(s *System) { s.Unknown = []policy.Rule{rule("shell:/bin/zhs")} }, Notice, "there is no shell /bin/zhs"},
		{"share-missing", "a share that is not there", func(s *System) { s.Policy.Private[0].Share = []string{".X11-unix", "mysql"} }, Notice, "the host has no /tmp/mysql"},
		{"share-missing", "a pattern", func(s *System) { s.Policy.Private[0].Share = []string{"ssh-*"} }, Notice, "patterns are not supported"},
		{"", "a share", func(s *System) {
			s.Policy.Private[0].Share = []string{"mysql"}
			s.Shares["/tmp/mysql"] = true
		}, OK, ""},
		{"tmpfs-unlimited", "a tmpfs without size", func(s *System) { s.Policy.Private[0].Kind = policy.Tmpfs }, Notice, "half of the memory"},
		{"pam-disabled", "not enabled", func(s *System) { s.Stacks = files(debianCommon, debianCommon) }, Problem, "no stack has pam_gotmpns.so"},
		{"pam-disabled", "commented out", func(s *System) { s.Stacks = files(debianCommon+"# "+ours, debianCommon+"#"+ours) }, Problem, "no stack has"},
		{"pam-skipped", "skipped", func(s *System) {
			s.set("common-session", "session [default=1] pam_permit.so\n"+ours+debianCommon)
		}, Problem, "sshd: pam_gotmpns.so at /etc/pam.d/common-session:2 is skipped by /etc/pam.d/common-session:1"},
		{"pam-skipped", "behind sufficient", func(s *System) { s.set("common-session", "session sufficient pam_unix.so\n"+ours) }, Problem, "is skipped by /etc/pam.d/common-session:1"},
		{"", "behind a short jump", func(s *System) {
			s.set("common-session", "session [success=1 default=ignore] pam_x.so\nsession required pam_y.so\n"+ours)
		}, OK, ""},
		{"pam-last", "sufficient itself", func(s *System) { s.set("common-session", "session sufficient pam_gotmpns.so\n") }, Problem, "no module after it"},
		{"pam-type", "wrong type", func(s *System) { s.set("su", "auth optional pam_gotmpns.so\nsession include common-session\n") }, Problem, `stands under "auth"`},
		{"pam-disabled", "not enabled, with a profile", func(s *System) { s.Stacks, s.Profile = files(debianCommon, debianCommon), true }, Problem, "no stack has"},
		{"pam-half", "half of the stacks", func(s *System) {
			s.Stacks = files(debianCommon+ours, debianCommon)
			delete(s.Stacks, "systemd-user")
			delete(s.Stacks, "cron")
		}, Problem, "common-session-noninteractive has no pam_gotmpns.so"},
		{"pam-long", "a line that is too long", func(s *System) {
			s.set("common-session", "session optional pam_gotmpns.so config=/"+strings.Repeat("x", 1000)+"\n")
		}, Problem, "libpam 1.5 cuts it"},
		{"", "a long line", func(s *System) {
			s.set("common-session", "session optional pam_gotmpns.so config=/"+strings.Repeat("x", 983)+"\n")
		}, OK, ""},
		{"pam-twice", "twice", func(s *System) { s.set("sshd", debianSSHD+ours) }, Notice, "called twice"},
		{"pam-without", "a service without", func(s *System) { s.set("runuser", "session required pam_unix.so\n") }, Notice, "without the module: runuser"},
		{"pam-without", "any service without", func(s *System) { s.set("slurm", "session required pam_unix.so\n") }, Notice, "without the module: slurm"},
		{"pam-without", "one of a package without", func(s *System) {
			s.Stacks["cockpit"] = pamconf.File{Path: "/usr/lib/pam.d/cockpit", Text: "session required pam_unix.so\n"}
		}, Notice, "without the module: cockpit"},
		{"pam-argument", "unknown argument", func(s *System) { s.set("common-session", "session optional pam_gotmpns.so debgu\n") }, Problem, `"debgu" is unknown`},
		{"pam-argument", "relative path", func(s *System) { s.set("common-session", "session optional pam_gotmpns.so config=x\n") }, Problem, "absolute path"},
		{"pam-argument", "timeout", func(s *System) { s.set("common-session", "session optional pam_gotmpns.so timeout=+5\n") }, Problem, "from 1 to 600"},
		{"", "all arguments", func(s *System) {
			s.set("common-session", "-session optional pam_gotmpns.so debug config=/x worker=/y socket=none timeout=600\n")
			s.Workers = map[string]File{"/y": {Path: "/y", Mode: 0o755}}
		}, OK, ""},
		{"module-missing", "no such worker", func(s *System) {
			s.set("common-session", "session optional pam_gotmpns.so socket=none worker=/nowhere\n")
			s.Workers = map[string]File{"/nowhere": {Path: "/nowhere", Err: "cannot find /nowhere"}}
		}, Problem, "cannot find /nowhere"},
		{"pam-mounts", "a module that mounts", func(s *System) { s.set("common-session", debianCommon+ours+"session optional pam_mount.so\n") }, Problem, "pam_mount.so at /etc/pam.d/common-session:7 mounts at login"},
		{"", "a module that mounts, where mounts travel", func(s *System) {
			s.set("common-session", debianCommon+ours+"session optional pam_mount.so\n")
			s.Mounts = table(t, sharedRoot+tmpOnTmpfs)
		}, OK, ""},
		{"", "a module that mounts on a file system of its own", func(s *System) {
			s.set("common-session", debianCommon+ours+"session optional pam_mount.so\n")
			s.Mounts = table(t, sharedRoot+"21 20 8:2 / /home rw shared:2 - ext4 /dev/sda2 rw\n")
		}, OK, ""},
		{"", "a module that mounts, where targets are made mount points", func(s *System) {
			s.set("common-session", debianCommon+ours+"session optional pam_mount.so\n")
			s.Policy.MountPoints = policy.MakeMountPoints
		}, OK, ""},
		{"pam-mounts", "a module that mounts, with slave", func(s *System) {
			s.set("common-session", debianCommon+ours+"session optional pam_mount.so\n")
			s.Mounts, s.Policy.Propagation = table(t, sharedRoot+tmpOnTmpfs), policy.Slave
		}, Problem, "pam_mount.so"},
		{"broker-off", "no socket", func(s *System) { s.Broker.Socket = "inactive" }, Notice, "its socket is inactive"},
		{"broker-failed", "a failed broker", func(s *System) { s.Broker.Service = "failed" }, Problem, "it has failed"},
		{"broker-old", "an old broker", func(s *System) { s.Broker.Replaced = true }, Notice, "has been replaced"},
		{"broker-restarts", "a broker that ends", func(s *System) { s.Broker.Restarts = 3 }, Notice, "times: 3"},
		{"", "no broker wanted", func(s *System) {
			s.Broker.Socket = "inactive"
			s.Stacks = files(debianCommon+"session optional pam_gotmpns.so socket=none\n", debianCommon+"session optional pam_gotmpns.so socket=none\n")
		}, OK, ""},
		{"", "no systemd", func(s *System) { s.Broker = Broker{} }, OK, ""},
		{"session-removed", "rm -rf /tmp/*", func(s *System) {
			s.Sessions = []Session{{User: "alice", Service: "su", PID: 9, Removed: true}}
		}, Notice, "has been removed on the host: alice (su, pid 9)"},
		{"session-older", "older than the configuration", func(s *System) {
			s.Sessions = []Session{{User: "alice", Service: "su", PID: 9, Since: time.Unix(100, 0)}, {User: "bob", Service: "sshd", PID: 8, Since: time.Unix(300, 0)}}
			s.Changed = time.Unix(200, 0)
		}, Notice, "last change of the configuration: alice (su, pid 9)"},
		{"", "younger than the configuration", func(s *System) {
			s.Sessions = []Session{{User: "alice", Service: "su", PID: 9, Since: time.Unix(300, 0)}}
			s.Changed = time.Unix(200, 0)
		}, OK, ""},
		{"session-outside", "a user manager from before", func(s *System) {
			s.Outside = []Outside{{User: "alice", UID: 1000, Count: 4, Named: []string{"systemd (pid 12)"}}}
		}, Notice, "4 processes of alice see the host's directories: they are older than the module, or were started outside of a session, and start others: systemd (pid 12)"},
		{"session-outside", "one process from before", func(s *System) {
			s.Outside = []Outside{{User: "alice", UID: 1000, Count: 1}}
		}, Notice, "1 process of alice sees the host's directories: it is older"},
		{"tmpfiles", "cleaner", func(s *System) {
			s.Tmpfiles = map[string]Part{"tmp.conf": {"/usr/lib/tmpfiles.d/tmp.conf", "q /tmp 1777 root root 10d\n"}}
		}, Problem, "when they are old"},
		{"tmpfiles", "our file hidden", func(s *System) {
			s.Tmpfiles["gotmpns.conf"] = Part{"/etc/tmpfiles.d/gotmpns.conf", "# nothing\n"}
		}, Problem, "when they are old"},
		{"tmpfiles", "instances that age", func(s *System) {
			s.Tmpfiles["gotmpns.conf"] = Part{"/usr/lib/tmpfiles.d/gotmpns.conf", "X /tmp/gotmpns-*\n"}
		}, Problem, "when they are old"},
		{"", "our own line", func(s *System) {
			s.Tmpfiles = map[string]Part{"mine.conf": {"/etc/tmpfiles.d/mine.conf", "x /tmp/gotmpns-*\n"}}
		}, OK, ""},
		{"", "no cleaner", func(s *System) { s.Tmpfiles = nil }, OK, ""},
		{"", "tmpfs needs no rule", func(s *System) {
			s.Tmpfiles = map[string]Part{}
			s.Policy.Private[0].Kind, s.Policy.Private[0].Size = policy.Tmpfs, 1<<20
		}, OK, ""},
		{"unit-privatetmp", "PrivateTmp", unit("ssh.service", "PrivateTmp=true\n"), Problem, "PrivateTmp=true hides"},
		{"", "PrivateTmp, reset", unit("ssh.service", "PrivateTmp=true\n\n[Service]\nPrivateTmp=no\n"), OK, ""},
		{"unit-sandbox", "PrivateTmp of the user manager", unit("user@.service", "PrivateTmp=yes\n"), Problem, "PrivateTmp=yes uses a directory"},
		{"", "PrivateTmp in memory", unit("user@.service", "PrivateTmp=disconnected\n"), OK, ""},
		{"unit-sandbox", "BindPaths", unit("user@.service", "BindPaths=/tmp/shared:/srv\n"), Problem, "BindPaths=/tmp/shared lies below a target"},
		{"unit-sandbox", "ReadWritePaths", unit("user@.service", "ReadWritePaths=/var /tmp/a\n"), Problem, "ReadWritePaths=/tmp/a"},
		{"", "paths that may be missing", unit("user@.service", "ReadWritePaths=-/tmp/a /tmp\nBindPaths=/tmp/x\nBindPaths=\n"), OK, ""},
		{"", "a unit whose service is exempt", func(s *System) {
			s.Units["x.service"] = Unit{"/etc/x.service", "PAMName=sshd\nPrivateTmp=yes\n", true}
		}, OK, ""},
		{"", "a unit without a session", func(s *System) { s.Units["x.service"] = Unit{"/etc/x.service", "BindPaths=/tmp/x\n", false} }, OK, ""},
		{"pam-namespace", "pam_namespace", func(s *System) {
			s.set("login", "session required pam_namespace.so\n"+ours)
			s.Namespace = []Part{{"/etc/security/namespace.conf", ""}, {"/etc/security/namespace.d/x.conf", "#/var/tmp x\n/tmp /tmp/inst/ user root\n"}}
		}, Problem, "login:1 calls it"},
		{"", "pam_namespace elsewhere", func(s *System) {
			s.set("login", "session required pam_namespace.so\n"+ours)
			s.Namespace = []Part{{"/etc/security/namespace.conf", "/var/tmp /var/inst/ user\n"}}
		}, OK, ""},
		{"kerberos", "tickets in /tmp", func(s *System) { s.Kerberos = kerberos("default_ccache_name = FILE:/tmp/krb5cc_%{uid}\n") }, Problem, "tickets"},
		{"kerberos-default", "tickets by default", func(s *System) { s.Kerberos = kerberos("") }, Notice, "without default_ccache_name"},
		{"kerberos", "tickets in /tmp, by the first of two files", func(s *System) {
			s.Kerberos = append([]Part{{"/etc/krb5.conf.d/x", "[libdefaults]\n default_ccache_name = /tmp/krb5cc\n"}}, s.Kerberos...)
		}, Problem, "default_ccache_name = /tmp/krb5cc"},
		{"kerberos-default", "tickets elsewhere, in a section that does not count", func(s *System) {
			s.Kerberos = kerberos("[appdefaults]\ndefault_ccache_name = KCM:\n")
		}, Notice, "without default_ccache_name"},
		{"", "no Kerberos", func(s *System) { s.Kerberos = nil }, OK, ""},
		{"sshd-pam", "sshd without PAM", func(s *System) { s.SSHD = sshd("UsePAM no\nUsePAM yes\n") }, Problem, "does not use PAM"},
		{"sshd-pam", "sshd without PAM by a file that is included", func(s *System) {
			s.SSHD = append([]Part{{"/etc/ssh/sshd_config", ""}, {"/etc/ssh/sshd_config.d/x.conf", "UsePAM no\n"}}, s.SSHD...)
		}, Problem, "does not use PAM"},
		{"sshd-pam", "sshd as shipped by OpenSSH", func(s *System) { s.SSHD = sshd("#UsePAM yes\n") }, Problem, "does not use PAM"},
		{"tmpdir", "libpam-tmpdir", func(s *System) {
			s.set("login", ours+"session optional pam_tmpdir.so\n")
			s.Policy.Environment = policy.Keep
		}, Notice, "TMPDIR points to its directory"},
		{"selinux", "SELinux", func(s *System) { s.SELinux = true }, Notice, "enforcing"},
		{"leftover-records", "dead sessions", func(s *System) { s.Leftovers.Records = 3 }, Notice, "ended sessions: 3"},
		{"leftover-base", "old base", func(s *System) { s.Leftovers.Bases = []string{"/tmp/gotmpns-00000000"} }, Notice, "look like a base, and are not in use: 1"},
		{"leftover-aside", "set aside", func(s *System) { s.Leftovers.Aside = []string{"/x"} }, Notice, "set aside"},
		{"leftover-unknown", "unknown users", func(s *System) { s.Leftovers.Unknown = []string{"/x"} }, Notice, "no longer exist: 1"},
	}
}

// Each fault has the one finding that says so.
func TestWhatIsFound(t *testing.T) {
	for _, c := range faults(t) {
		t.Run(c.name, func(t *testing.T) {
			s := healthy(t)
			c.spoil(&s)
			var found []Finding
			for _, f := range All(s) {
				if f.Level != OK {
					found = append(found, f)
				}
			}
			if Fine(found) != (c.level != Problem) {
				t.Errorf("fine: %v", Fine(found))
			}
			if c.level == OK {
				if len(found) > 0 {
					t.Errorf("nothing is wrong, and it says %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].ID != c.id || found[0].Level != c.level || !strings.Contains(found[0].Text, c.want) {
				t.Errorf("want a %s %s with %q: %+v", c.level, c.id, c.want, found)
			}
			if len(found) > 0 && found[0].File == "" && strings.Contains(found[0].Advice, "/etc/") {
				t.Errorf("it does not carry the file that it advises to change: %+v", found[0])
			}
			if len(found) > 0 && found[0].Advice == "" && c.name != "mistake" {
				t.Errorf("it does not say what to do: %+v", found[0])
			}
		})
	}
}

// A file in /etc/pam.d hides a package's file of that name, so the line goes to a
// file that this one includes or, where there is none, into one that includes it.
func TestWhereToAddTheLine(t *testing.T) {
	vendors := func(text string) pamconf.File { return pamconf.File{Path: "/usr/lib/pam.d/x", Text: text} }
	administrators := func(text string) pamconf.File { return pamconf.File{Path: "/etc/pam.d/x", Text: text} }
	for _, c := range []struct {
		name    string
		profile bool
		file    pamconf.File
		want    string
	}{
		{"a package's that includes a common file", false, vendors("@include common-session\n"),
			`add the line "session optional pam_gotmpns.so" at the end of /etc/pam.d/common-session`},
		{"the same with a profile", true, vendors("session include common-session\n"),
			`run "pam-auth-update --enable gotmpns", which adds the line to /etc/pam.d/common-session`},
		{"a package's that includes nothing", true, vendors("session required pam_unix.so\n"),
			`create /etc/pam.d/x with two lines: "@include /usr/lib/pam.d/x" and "session optional pam_gotmpns.so"`},
		{"a package's that includes a package's", true, vendors("@include postlogin\n"),
			`create /etc/pam.d/x with two lines: "@include /usr/lib/pam.d/x" and "session optional pam_gotmpns.so"`},
		{"the administrator's", true, administrators("session required pam_unix.so\n"),
			`add the line "session optional pam_gotmpns.so" at the end of /etc/pam.d/x`},
		{"one that includes another service", false, administrators("session include cron\nsession optional pam_x.so\n"),
			`add the line "session optional pam_gotmpns.so" at the end of /etc/pam.d/common-session-noninteractive`},
		{"one that includes what has no sessions", false, administrators("@include common-auth\nsession required pam_unix.so\n"),
			`add the line "session optional pam_gotmpns.so" at the end of /etc/pam.d/x`},
		{"one that includes for passwords only", false, administrators("password include common-session\nsession required pam_unix.so\n"),
			`add the line "session optional pam_gotmpns.so" at the end of /etc/pam.d/x`},
	} {
		s := System{Stacks: files(debianCommon, debianCommon), Profile: c.profile}
		s.Stacks["x"] = c.file
		s.Stacks["postlogin"] = pamconf.File{Path: "/usr/lib/pam.d/postlogin", Text: "session optional pam_lastlog.so\n"}
		if diff := cmp.Diff(c.want, s.enable("x")); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestHowAServiceCallsTheModule(t *testing.T) {
	s := files(debianCommon+"session optional pam_gotmpns.so config=/etc/other.toml\n", "session sufficient pam_unix.so\n"+ours)
	s["runuser"] = pamconf.File{Path: "/etc/pam.d/runuser", Text: "session required pam_unix.so\n"}
	for service, want := range map[string]struct {
		called bool
		line   string
		config string
	}{
		"sshd": {true, "/etc/pam.d/common-session:6", "/etc/other.toml"},
		"cron": {false, "/etc/pam.d/common-session-noninteractive:2", ""}, "runuser": {}, "nosuch": {},
	} {
		c := CallOf(s, service)
		if c.Called != want.called || c.Arguments.Config != want.config || want.line != "" && c.Line.Place() != want.line {
			t.Errorf("%s: %+v", service, c)
		}
		if (c.File == "") != (service == "nosuch") {
			t.Errorf("%s has the file %q", service, c.File)
		}
	}
}

func TestHalfOfTheStacks(t *testing.T) {
	found := stacks(System{Stacks: files(debianCommon+ours, debianCommon)})
	var problems []string
	for _, f := range found {
		if f.Level == Problem {
			problems = append(problems, f.Text+" -> "+f.Advice)
		}
	}
	const advice = ` -> add the line "session optional pam_gotmpns.so" at the end of /etc/pam.d/common-session-noninteractive`
	want := []string{
		"/etc/pam.d/common-session-noninteractive has no pam_gotmpns.so: jobs of cron and at see another /tmp than the shells of their users" + advice,
		"/usr/lib/pam.d/systemd-user has no pam_gotmpns.so: the services of users, and programs that a desktop starts, see another /tmp than their shells" + advice,
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Error(diff)
	}
	found = stacks(System{Stacks: files(debianCommon, debianCommon+ours)})
	if Fine(found) || !strings.HasPrefix(found[1].Text, "/etc/pam.d/common-session has no pam_gotmpns.so") {
		t.Errorf("%+v", found)
	}
}

// A file that is not in place is not described as if it were.
func TestADraft(t *testing.T) {
	s := healthy(t)
	s.Draft = true
	if text := Configuration(s)[0].Text; !strings.Contains(text, "(not in place)") {
		t.Errorf("%q", text)
	}
	s.ConfigErr = errors.New("no such file")
	if f := Configuration(s)[0]; strings.Contains(f.Advice, "root") || !strings.Contains(f.Advice, "before you put the file in place") {
		t.Errorf("%+v", f)
	}
}

func TestTheConfigurationsThatStacksName(t *testing.T) {
	const other = "session optional pam_gotmpns.so debug config=/etc/other.toml\n"
	for _, c := range []struct {
		stacks pamconf.Stacks
		want   []string
	}{
		{files(debianCommon+other, ""), []string{"/etc/other.toml"}},
		{files(debianCommon+ours, debianCommon+other), []string{config.DefaultPath, "/etc/other.toml"}},
		{files(debianCommon, debianCommon), []string{config.DefaultPath}},
	} {
		if diff := cmp.Diff(c.want, ConfigsOf(c.stacks)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRulesSayWhy(t *testing.T) {
	rule := func(text string) policy.Rule {
		r, err := policy.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	p := policy.Default()
	p.Exempt = []policy.Rule{rule("bob"), rule("uid<1000"), rule("service:cron"), rule("shell:/bin/sh")}
	p.Private[0].For = []policy.Rule{rule("@students")}
	p.Private = append(p.Private, policy.Private{Target: "/var/tmp", For: []policy.Rule{}})
	p.Bind = []policy.Bind{{Target: "/etc/hosts"}, {Target: "/etc/issue", Except: []policy.Rule{rule("bob"), rule("alice")}}}
	alice := policy.Subject{User: "alice", UID: 1000, Shell: "/bin/bash", Service: "sshd", Groups: []string{"students"}}
	want := []Judged{
		{"exempt", "bob", false, "the user is alice"},
		{"exempt", "uid<1000", false, "the uid is 1000"},
		{"exempt", "service:cron", false, "the service is sshd"},
		{"exempt", "shell:/bin/sh", false, "the login shell is /bin/bash"},
		{"private /tmp", "@students", true, "alice is in the group students"},
		{"private /var/tmp", "", false, "its list is empty, so it is for nobody"},
		{"bind /etc/hosts", "", true, "it is for everybody who is not exempt"},
		{"bind /etc/issue", "except alice", false, "the user is alice"},
	}
	if diff := cmp.Diff(want, Rules(p, alice)); diff != "" {
		t.Error(diff)
	}
	alice.Service = "cron"
	for _, judged := range Rules(p, alice)[4:] {
		if judged.Applies || judged.Why != "the login is exempt" {
			t.Errorf("%+v", judged)
		}
	}
}

// A user could make the target of another, or replace it.
func TestWhereOthersCanMakeATarget(t *testing.T) {
	top := t.TempDir()
	for name, mode := range map[string]os.FileMode{"open": 0o777, "sticky": 0o777 | os.ModeSticky, "group": 0o775} {
		if err := errors.Join(os.Mkdir(top+"/"+name, 0o700), os.Chmod(top+"/"+name, mode), os.Mkdir(top+"/"+name+"/made", 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	for target, want := range map[string]string{
		"/open/made": "/open", "/open/made/x": "/open", "/open/$USER": "/open", "/group/$USER/x": "/group",
		"/sticky/missing": "/sticky", "/sticky/$USER": "/sticky",
	} {
		if got := openAbove(top + target); got.Dir != top+want || got.Sticky != strings.Contains(want, "sticky") {
			t.Errorf("%s: %+v, expected %q", target, got, top+want)
		}
	}
	if got := openAbove(top + "/sticky/made"); os.Getuid() == 0 && got.Dir != "" {
		t.Errorf("what root has made below a sticky bit: %+v", got)
	}
	if got := openAbove("~/x"); got.Dir != "" {
		t.Errorf("below a home directory: %+v", got)
	}
}
