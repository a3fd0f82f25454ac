package check

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"

	"gotmpns/internal/config"
	"gotmpns/internal/mounts"
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

func stacks(common, noninteractive string) map[string]string {
	return map[string]string{
		"common-session": common, "common-session-noninteractive": noninteractive,
		"sshd": debianSSHD, "cron": debianCron, "systemd-user": "session required pam_limits.so\n@include common-session-noninteractive\n",
	}
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
	usePAM, krb := "UsePAM yes\n", "[libdefaults]\ndefault_ccache_name = KEYRING:persistent:%{uid}\n"
	return System{
		Root: true, ConfigPath: config.DefaultPath, Policy: policy.Default(),
		Kernel:   Kernel{Release: "6.1.0-18-amd64", Admin: true},
		Mounts:   table(t, sharedRoot),
		Targets:  map[string]Target{"/tmp": {Directory: true, Mode: 0o1777}},
		Files:    []File{{Path: "/usr/lib/security/pam_gotmpns.so", Mode: 0o644}},
		PAM:      stacks(debianCommon+ours, debianCommon+ours),
		Tmpfiles: map[string]string{"gotmpns.conf": "x /tmp/gotmpns-*\n"},
		Units:    map[string]string{"ssh.service": "[Service]\nExecStart=/usr/sbin/sshd -D\n"},
		SSHD:     &usePAM, Kerberos: &krb,
	}
}

func TestAHealthyMachineHasNothingToBeToldOf(t *testing.T) {
	for _, f := range All(healthy(t)) {
		if f.Level != OK || f.Advice != "" {
			t.Errorf("%+v", f)
		}
	}
}

// Each row breaks one thing, and has the one finding that says so.
func TestWhatIsFound(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		name  string
		spoil func(*System)
		level Level
		want  string
	}{
		{"old kernel", func(s *System) { s.Kernel.Release = "5.10.0-28-amd64" }, Problem, "too old"},
		{"the first kernel", func(s *System) { s.Kernel.Release = "5.12.0" }, OK, ""},
		{"a release of rc", func(s *System) { s.Kernel.Release = "6.19-rc1" }, OK, ""},
		{"seccomp", func(s *System) { s.Kernel.Refused = []string{"open_tree"} }, Problem, "refused: open_tree"},
		{"no capability", func(s *System) { s.Kernel.Admin = false }, Problem, "CAP_SYS_ADMIN"},
		{"not root", func(s *System) { s.Root, s.Kernel.Admin = false, false }, OK, ""},
		{"no module", func(s *System) { s.Files[0].Err = "cannot find it" }, Problem, "cannot find it"},
		{"module of a user", func(s *System) { s.Files[0].UID = 1000 }, Problem, "others than root can change"},
		{"module writable", func(s *System) { s.Files[0].Mode = 0o664 }, Problem, "others than root can change"},
		{"mistake", func(s *System) { s.ConfigErr = &config.Errors{Problems: []string{"/etc/x.toml:9: unknown key"}} }, Problem, "/etc/x.toml:9"},
		{"unreadable", func(s *System) { s.ConfigErr = errors.New("cannot trust /etc/x.toml") }, Problem, "cannot trust"},
		{"no target", func(s *System) { s.Targets["/tmp"] = Target{Err: "cannot open /tmp"} }, Problem, "cannot open /tmp"},
		{"target a file", func(s *System) { s.Targets["/tmp"] = Target{Mode: 0o644} }, Problem, "not a directory"},
		{"target of a user", func(s *System) { s.Targets["/tmp"] = Target{Directory: true, UID: 7, Mode: 0o1777} }, Problem, "belongs to uid 7"},
		{"no sticky bit", func(s *System) { s.Targets["/tmp"] = Target{Directory: true, Mode: 0o777} }, Problem, "no sticky bit"},
		{"a base elsewhere", func(s *System) {
			s.Targets["/tmp"] = Target{Directory: true, Mode: 0o777}
			s.Policy.Private[0].Base = "/var/lib/x"
		}, OK, ""},
		{"source", func(s *System) {
			s.Policy.Bind = []policy.Bind{{Source: "/opt/hosts", Target: "/etc/hosts"}}
			s.Sources = map[string]Target{"/opt/hosts": {Err: "no such file"}}
		}, Problem, "no such file"},
		{"private root", func(s *System) { s.Mounts = table(t, privateRoot) }, Notice, "/ is not shared"},
		{"private root, shared target", func(s *System) { s.Mounts = table(t, privateRoot+tmpOnTmpfs) }, OK, ""},
		{"shared is impossible", func(s *System) { s.Policy.Propagation = policy.Shared }, Problem, "not a mount point of its own"},
		{"shared is possible", func(s *System) { s.Policy.Propagation = policy.Shared; s.Mounts = table(t, sharedRoot+tmpOnTmpfs) }, OK, ""},
		{"not enabled", func(s *System) { s.PAM = stacks(debianCommon, debianCommon) }, Problem, "no stack has pam_gotmpns.so"},
		{"commented out", func(s *System) { s.PAM = stacks(debianCommon+"# "+ours, debianCommon+"#"+ours) }, Problem, "no stack has"},
		{"passed over", func(s *System) {
			s.PAM["common-session"] = "session [default=1] pam_permit.so\n" + ours + debianCommon
		}, Problem, "sshd: pam_gotmpns.so at common-session:2 is passed over by common-session:1"},
		{"behind sufficient", func(s *System) { s.PAM["common-session"] = "session sufficient pam_unix.so\n" + ours }, Problem, "is passed over by common-session:1"},
		{"behind done", func(s *System) { s.PAM["common-session"] = "session [success=done default=bad] pam_unix.so\n" + ours }, Problem, "is passed over"},
		{"behind a short jump", func(s *System) {
			s.PAM["common-session"] = "session [success=1 default=ignore] pam_x.so\nsession required pam_y.so\n" + ours
		}, OK, ""},
		{"sufficient itself", func(s *System) { s.PAM["common-session"] = "session sufficient pam_gotmpns.so\n" }, Problem, "no module behind it"},
		{"wrong type", func(s *System) { s.PAM["su"] = "auth optional pam_gotmpns.so\nsession include common-session\n" }, Problem, `stands under "auth"`},
		{"twice", func(s *System) { s.PAM["sshd"] = debianSSHD + ours }, Notice, "called twice"},
		{"a service without", func(s *System) { s.PAM["runuser"] = "session required pam_unix.so\n" }, Notice, "without the module: runuser"},
		{"unknown argument", func(s *System) { s.PAM["common-session"] = "session optional pam_gotmpns.so debgu\n" }, Problem, `"debgu" is not known`},
		{"relative path", func(s *System) { s.PAM["common-session"] = "session optional pam_gotmpns.so config=x\n" }, Problem, "absolute path"},
		{"timeout", func(s *System) { s.PAM["common-session"] = "session optional pam_gotmpns.so timeout=0\n" }, Problem, "from 1 to 600"},
		{"all arguments", func(s *System) {
			s.PAM["common-session"] = "-session optional pam_gotmpns.so debug config=/x worker=/y socket=none timeout=600\n"
		}, OK, ""},
		{"cleaner", func(s *System) { s.Tmpfiles = map[string]string{"tmp.conf": "q /tmp 1777 root root 10d\n"} }, Problem, "when they are old"},
		{"no cleaner", func(s *System) { s.Tmpfiles = nil }, OK, ""},
		{"tmpfs needs no rule", func(s *System) { s.Tmpfiles = map[string]string{}; s.Policy.Private[0].Kind = policy.Tmpfs }, OK, ""},
		{"PrivateTmp", func(s *System) { s.Units["ssh.service"] += "PrivateTmp=true\n" }, Problem, "PrivateTmp=true hides"},
		{"PrivateTmp, taken back", func(s *System) { s.Units["ssh.service"] += "PrivateTmp=true\n\n[Service]\nPrivateTmp=no\n" }, OK, ""},
		{"pam_namespace", func(s *System) {
			s.PAM["login"], s.Namespace = "session required pam_namespace.so\n"+ours, "#/var/tmp x\n/tmp /tmp/inst/ user root\n"
		}, Problem, "login:1 calls it"},
		{"pam_namespace elsewhere", func(s *System) {
			s.PAM["login"], s.Namespace = "session required pam_namespace.so\n"+ours, "/var/tmp /var/inst/ user\n"
		}, OK, ""},
		{"tickets in /tmp", func(s *System) { s.Kerberos = text("default_ccache_name = FILE:/tmp/krb5cc_%{uid}\n") }, Problem, "tickets"},
		{"tickets by default", func(s *System) { s.Kerberos = text("[libdefaults]\n") }, Notice, "without default_ccache_name"},
		{"no Kerberos", func(s *System) { s.Kerberos = nil }, OK, ""},
		{"sshd without PAM", func(s *System) { s.SSHD = text("UsePAM no\nUsePAM yes\n") }, Problem, "does not use PAM"},
		{"sshd as shipped by OpenSSH", func(s *System) { s.SSHD = text("#UsePAM yes\n") }, Problem, "does not use PAM"},
		{"libpam-tmpdir", func(s *System) {
			s.PAM["login"], s.Policy.Environment = ours+"session optional pam_tmpdir.so\n", policy.Keep
		}, Notice, "TMPDIR points to its directory"},
		{"SELinux", func(s *System) { s.SELinux = true }, Notice, "enforcing"},
		{"dead sessions", func(s *System) { s.Leftovers.Records = 3 }, Notice, "ended sessions: 3"},
		{"old base", func(s *System) { s.Leftovers.Bases = []string{"/tmp/gotmpns-00000000"} }, Notice, "no record knows it"},
		{"set aside", func(s *System) { s.Leftovers.Aside = []string{"/x"} }, Notice, "set aside"},
		{"unknown users", func(s *System) { s.Leftovers.Unknown = []string{"/x"} }, Notice, "not known any more: 1"},
	} {
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
			if len(found) != 1 || found[0].Level != c.level || !strings.Contains(found[0].Text, c.want) {
				t.Errorf("want a %s with %q: %+v", c.level, c.want, found)
			}
			if len(found) > 0 && found[0].Advice == "" && c.name != "mistake" {
				t.Errorf("it does not say what to do: %+v", found[0])
			}
		})
	}
}

func TestHalfOfTheStacks(t *testing.T) {
	found := Stacks(System{PAM: stacks(debianCommon+ours, debianCommon)})
	var problems []string
	for _, f := range found {
		if f.Level == Problem {
			problems = append(problems, f.Text)
		}
	}
	want := []string{
		"common-session-noninteractive has no pam_gotmpns.so: jobs of cron and at see another /tmp than the shells of their users",
		"systemd-user has no pam_gotmpns.so: the services of users, and what a desktop starts, see another /tmp than their shells",
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Error(diff)
	}
	found = Stacks(System{PAM: stacks(debianCommon, debianCommon+ours)})
	if Fine(found) || !strings.HasPrefix(found[1].Text, "common-session has no pam_gotmpns.so") {
		t.Errorf("%+v", found)
	}
}

func TestStacksAreReadAsPAMReadsThem(t *testing.T) {
	text := "# comment\n\n-session [success=1 default=ignore] \\\n  pam_x.so a=[b c] # more\n@include other\nauth required pam_y.so\nbroken\n"
	want := []Line{
		{"s", 3, "session", "[success=1 default=ignore]", "pam_x.so", []string{"a=[b", "c]"}},
		{"s", 5, "", "@include", "other", nil},
		{"s", 6, "auth", "required", "pam_y.so", []string{}},
	}
	if diff := cmp.Diff(want, Parse("s", text)); diff != "" {
		t.Error(diff)
	}
}

func TestIncludesComeInOrderAndEndlessOnesEnd(t *testing.T) {
	files := map[string]string{
		"a": "session required pam_1.so\n@include b\nsession include c\nauth include b\nsession required pam_4.so\n",
		"b": "session required pam_2.so\nauth required pam_0.so\n",
		"c": "session required pam_3.so\n",
		"d": "@include d\n",
	}
	var got []string
	for _, l := range Sessions(files, "a") {
		got = append(got, l.Module)
	}
	if diff := cmp.Diff([]string{"pam_1.so", "pam_2.so", "pam_3.so", "pam_4.so"}, got); diff != "" {
		t.Error(diff)
	}
	if lines := Sessions(files, "d"); lines != nil {
		t.Error(lines)
	}
}

func TestTheConfigurationThatAStackNames(t *testing.T) {
	if got := ConfigOf(stacks(debianCommon+"session optional pam_gotmpns.so debug config=/etc/other.toml\n", "")); got != "/etc/other.toml" {
		t.Errorf("%q", got)
	}
	if got := ConfigOf(stacks(debianCommon+ours, "")); got != "" {
		t.Errorf("%q", got)
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
	p.Bind = []policy.Bind{{Target: "/etc/hosts"}}
	alice := policy.Subject{User: "alice", UID: 1000, Shell: "/bin/bash", Service: "sshd", Groups: []string{"students"}}
	want := []Judged{
		{"exempt", "bob", false, "the user is alice"},
		{"exempt", "uid<1000", false, "the uid is 1000"},
		{"exempt", "service:cron", false, "the service is sshd"},
		{"exempt", "shell:/bin/sh", false, "the login shell is /bin/bash"},
		{"private /tmp", "@students", true, "alice is in the group students"},
		{"private /var/tmp", "", false, "its list is empty, so it is for nobody"},
		{"bind /etc/hosts", "", true, "it is for everybody who is not exempt"},
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
