package login

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// namespaceConfs are configurations of pam_namespace, each with the directories
// that it is about. Most have the shape of one that is in use somewhere.
var namespaceConfs = map[string]struct{ text, targets string }{
	"levels": {
		"/tmp /tmp-inst/ level root,adm\n/var/tmp /var/tmp/tmp-inst/ level root,adm\n#$HOME $HOME/$USER.inst/ level\n", "/tmp /var/tmp",
	},
	"contexts with scripts": {
		"/tmp /tmp-inst/tmp-$USER context:create:iscript=tmp root\n/var/tmp /tmp-inst/var-tmp-$USER context:create:iscript=missing root\n" +
			"$HOME /home/.inst/home-$USER context:create:iscript=home root,www-data\n", "/tmp /var/tmp",
	},
	"created, with and without a script": {
		"/tmp /tmp/tmp-inst/ user:create=0700:mntopts=nosuid,noexec,nodev ~alice,foo\n" +
			" /var/tmp  /var/tmp/tmp-inst/\tuser:create=0700:noinit:iscript=tmp\t~alice,foo\t\t\n", "/tmp /var/tmp",
	},
	"directories of the system": {
		"/tmp /tmp/inst/ user root\n/var/tmp /var/tmp/inst/ user root\n/run/lock /run/lock/inst/ user root\n", "/tmp /var/tmp /run/lock",
	},
	"in the home, by a script": {
		"/tmp $HOME/.tmp/ user:iscript=/usr/local/sbin/prepare root,adm,www-data\n" +
			"/dev/shm tmpfs tmpfs:mntopts=size=5M:iscript=/usr/local/sbin/prepare root,adm\n", "/tmp /dev/shm",
	},
	"homes, kept in the homes": {
		"/tmp /tmp-inst/ user root,adm\n/var/tmp /var/tmp/tmp-inst/ user root,adm\n$HOME $HOME/$USER.inst/ user root,www-data\n", "/tmp /var/tmp",
	},
	"options, and another directory": {
		"/tmp /tmp/inst/ user:mntopts=nosuid,nodev root,bob,carol\n/var/tmp /var/tmp/inst/ user:mntopts=nosuid,nodev root,bob,carol\n" +
			"/dev/shm /dev/shm/inst/ tmpfs:mntopts=nosuid,nodev,size=2g root,bob,carol\n/scratch /nvme/inst/ user root,bob,carol\n", "/tmp /var/tmp /dev/shm /scratch",
	},
	"in memory, for one user": {"/tmp/ tmpfs tmpfs:mntopts=size=1G ~bob\n/var/tmp tmpfs tmpfs ~bob\n$HOME tmpfs tmpfs ~bob\n", "/tmp /var/tmp"},
	"for a session, made for it": {
		"/tmp /.polydir/tmp- tmpdir root\n/run/user/.session /run/user/.polydir/sess- tmpdir:create=0700 ~alice\n", "/tmp /run/user/.session",
	},
	"nothing":      {"# no line\n", "/tmp /var/tmp"},
	"another one":  {"/scratch /nvme/inst/ user root\n", "/scratch /tmp"},
	"by the name":  {"/scratch/$USER /nvme/inst/ user root,www-data\n", "/scratch/alice /scratch/bob /scratch/carol"},
	"for everyone": {"/tmp /tmp-inst/ user\n", "/tmp"},
	"each their own line": {
		"/tmp none tmpfs:mntopts=size=1m,nosuid,nodev,noexec ~alice\n/dev/shm none tmpfs ~alice\n/tmp none tmpfs:mntopts=size=1m,nosuid,nodev,noexec ~bob\n", "/tmp /dev/shm",
	},
	"shared is nothing without SELinux": {
		"/tmp /tmp-inst/ level root\n/tmp /tmp-inst/ level:iscript=missing:shared:noinit root\n/var/tmp /var-inst/ context:shared root\n", "/tmp /var/tmp",
	},
	"exclusive":         {"/tmp /tmp-inst/ user ~root,alice\n/var/tmp /var/tmp/inst/ user root,www-data\n", "/tmp /var/tmp"},
	"for a session":     {"/tmp /tmp-inst/t- tmpdir root\n/run/lock none tmpfs root\n", "/tmp /run/lock"},
	"some but others":   {"/tmp /tmp-inst/ user root,bob\n/var/tmp /var-inst/ user root\n", "/tmp /var/tmp"},
	"the last applies":  {"/tmp /tmp-inst/ user root\n/tmp none tmpfs ~bob\n", "/tmp"},
	"homes":             {"$HOME /home/.inst/ user root,www-data\n", "/tmp"},
	"options":           {"/tmp none tmpfs:mntopts=size=10m,mode=1777,noexec,nosuid root\n/var/tmp none tmpfs:mntopts=size=2%,nr_inodes=100 root\n", "/tmp /var/tmp"},
	"made":              {"/made /tmp-inst/ user:create=0755 root\n", "/made"},
	"made for a group":  {"/made /tmp-inst/ user:create=01777,root,adm root\n", "/made"},
	"made for its user": {"/made /var/tmp/inst/ user:create=0700 ~alice\n", "/made"},
	"quoted":            {"\"/made\\ it\" \"/tmp-inst/\" user:create=0755 \"root\"\n", "/tmp"},
}

// alsoAsDropIn are those that differ in what they change of the file that is shipped.
var alsoAsDropIn = []string{"nothing", "another one", "levels", "homes", "each their own line", "exclusive", "for everyone"}

// With what import prints, alone and as a drop-in beside the file that is shipped,
// every user sees what pam_namespace shows: private or not, of which kind, whose, and
// for how long.
func TestImportGivesWhatPamNamespaceGives(t *testing.T) {
	for name, c := range namespaceConfs {
		t.Run(name, func(t *testing.T) {
			begin(t)
			prepareTargets(t, c.targets)
			prepareScripts(t)
			replace(t, "/etc/security/namespace.conf", func(string) string { return c.text })
			imported := output(t, exec.Command("gotmpns", "import"))
			want := ""
			t.Run("pam_namespace", func(t *testing.T) {
				for _, file := range []string{"common-session", "common-session-noninteractive"} {
					replace(t, "/etc/pam.d/"+file, func(stack string) string { return strings.ReplaceAll(stack, "pam_gotmpns.so", "pam_namespace.so") })
				}
				want = seenByAll(t, c.targets)
			})
			t.Run("alone", func(t *testing.T) {
				configure(t, imported)
				compareSeen(t, want, seenByAll(t, c.targets))
			})
			if !slices.Contains(alsoAsDropIn, name) {
				return
			}
			t.Run("as a drop-in", func(t *testing.T) {
				dropIn := "/etc/security/gotmpns.d/import.toml"
				write(t, dropIn, imported)
				defer os.Remove(dropIn)
				compareSeen(t, want, seenByAll(t, c.targets))
			})
		})
	}
}

// Where pam_namespace refuses a login, import names the line, and where it hides what
// programs depend on, import says so.
func TestWhatIsNotImported(t *testing.T) {
	begin(t)
	for text, c := range map[string]struct{ pamNamespace, imported string }{
		"/tmp /tmp/user_%{UID} level=root,root\n": {"cannot open session", "namespace.conf:1: the method \"level=root,root\" is unknown"},
		"/dev none tmpfs ~alice\n":                {"names: .\n", "Not converted: target = \"/dev\" cannot be replaced: logins depend on it\n#[[private]]"},
	} {
		replace(t, "/etc/security/namespace.conf", func(string) string { return text })
		want(t, output(t, exec.Command("gotmpns", "import")), c.imported)
		replace(t, "/etc/pam.d/common-session", func(stack string) string { return strings.ReplaceAll(stack, "pam_gotmpns.so", "pam_namespace.so") })
		want(t, runSu(t, "alice", "echo names: $(ls -A /dev)."), c.pamNamespace)
	}
}

// prepareTargets makes the directories, with a file of the host's in each, and those
// in which pam_namespace keeps its own.
func prepareTargets(t *testing.T, targets string) {
	t.Helper()
	for _, dir := range strings.Fields(targets) {
		if slices.Contains(created, dir) {
			continue // is made by the module
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
		write(t, dir+"/of-the-host", "")
	}
	if err := os.Mkdir("/run/user", 0o755); err == nil { // a booted host has it
		t.Cleanup(func() { _ = os.Remove("/run/user") })
	}
	for _, dir := range strings.Fields(instanceDirs)[:9] {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		removeLeft(t, targets)
		for _, dir := range strings.Fields(targets) {
			forgetBases(t, dir)
		}
		leftovers := slices.Concat(strings.Fields(instanceDirs+" /scratch /nvme"), created, hostFiles(targets))
		for _, user := range []string{"alice", "bob", "carol"} {
			leftovers = append(leftovers, "/home/"+user+"/.tmp", "/home/"+user+"/"+user+".inst", "/home/"+user+"/of-the-host")
		}
		for _, dir := range leftovers {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		}
	})
}

// instanceDirs are where pam_namespace keeps its own, first those that it does not make, and
// where import has ours kept.
const instanceDirs = "/tmp-inst /tmp/tmp-inst /tmp/inst /var/tmp/tmp-inst /var/tmp/inst /var-inst /nvme/inst /home/.inst /run/lock/inst " +
	"/run/user/.polydir /.polydir /home/gotmpns-home /home/gotmpns-tmp /var/lib/gotmpns-tmp /var/lib/gotmpns-made /run/user/gotmpns-run-user-.session"

// created are the targets that are missing before the first login.
var created = []string{"/made", "/made it", "/run/user/.session"}

// prepareScripts makes the scripts of the lines. Those of pam_namespace run at each login, and ours
// for a new directory only, so they say what they do once.
func prepareScripts(t *testing.T) {
	t.Helper()
	for _, script := range []string{"/etc/security/namespace.d/tmp", "/etc/security/namespace.d/home", "/usr/local/sbin/prepare"} {
		write(t, script, "#!/bin/sh -e\n[ \"$3\" = 1 ] || exit 0\necho \"$1 of $4\" > \"$1/prepared\"\nchmod 644 \"$1/prepared\"\n")
		mustRun(t, "chmod", "755", script)
	}
	for _, user := range []string{"alice", "bob", "carol"} {
		write(t, "/home/"+user+"/of-the-host", "")
	}
}

// hostFiles are what prepareTargets leaves in the targets.
func hostFiles(targets string) []string {
	var files []string
	for _, dir := range strings.Fields(targets) {
		files = append(files, filepath.Join(dir, "of-the-host"))
	}
	return files
}

// seenByAll returns a line for each user and target, of two sessions one after the other: the
// first leaves a file, which the second one of the user finds, or one of another user. A
// target keeps the options that it has on the host, unlike with pam_namespace, so these are
// taken for granted. So is the mode of a home: on Debian 13, the script that comes with
// pam_namespace gives it the mode 0777, where login.defs(5) has no UMASK. No program is
// tried in /run/lock, which is noexec on a host.
func seenByAll(t *testing.T, targets string) string {
	t.Helper()
	// Of the mount that is on top, which is not always the last in the table.
	write(t, "/opt/restrictions", `exec 9< "$1" || exit 0
		id=$(sed -n 's/^mnt_id:[^0-9]*//p' /proc/self/fdinfo/9)
		awk -v id="$id" '$1 == id { gsub(",", "\n", $6); print $6 }' /proc/self/mountinfo | grep -xE 'ro|nosuid|nodev|noexec' || true`)
	hosts := ""
	for _, dir := range strings.Fields(targets) {
		at := dir
		if slices.Contains(created, dir) {
			at = filepath.Dir(dir)
		}
		for option := range strings.FieldsSeq(runIn(t, "/", "sh", "/opt/restrictions", at)) {
			hosts += dir + " " + option + "\n"
		}
	}
	write(t, "/opt/hosts", hosts)
	script := `for d in ` + targets + `; do
		[ -e $d ] || { echo "$(id -un) $d: missing"; continue; }
		echo "$(id -un) $d: $([ -e $d/of-the-host ] && echo host || echo private)" \
			"$(stat -c '%a %U:%G' $d) $(stat -f -c %T $d)" \
			"size $(df --output=size,itotal $d | tail -1)" \
			"options $({ sh /opt/restrictions $d 2>/dev/null; sed -n "s,^$d ,,p" /opt/hosts; } | sort -u | tr '\n' ' ')" \
			"$([ $d != /run/lock ] && cp /bin/true $d/program 2>/dev/null && $d/program 2>/dev/null && echo runs programs; rm -f $d/program)" \
			"$(cat $d/prepared 2>&1)" \
			"of others: $(ls $d | grep left-by- | grep -v by-$(id -un)$ | tr '\n' ' ')" \
			"$([ -e $d/left-by-$(id -un) ] && echo kept || echo new)"
		touch $d/left-by-$(id -un)
	done
	echo "$(id -un) home: $([ -e ~/of-the-host ] && echo host || echo private) $(stat -c %U:%G ~) $(cat ~/prepared 2>&1)"
	ls -A ~ | grep -vx -e .tmp -e ".*[.]inst" | tr '\n' ' '; echo`
	for _, dir := range created { // the module makes them again
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	removeLeft(t, targets)
	var all strings.Builder
	// Why a session is refused has other words.
	refusal := regexp.MustCompile(`(?m)^This session cannot get a private /tmp\..*\n|^(su: cannot open session).*`)
	for range 2 {
		for _, user := range []string{"root", "www-data", "alice", "bob", "carol"} {
			all.WriteString(refusal.ReplaceAllString(output(t, exec.Command("su", "-s", "/bin/sh", user, "-c", script)), "$1"))
		}
	}
	return all.String()
}

// removeLeft removes what sessions have left to be found.
func removeLeft(t *testing.T, targets string) {
	t.Helper()
	mustRun(t, "sh", "-c", "find "+targets+" "+instanceDirs+" -name 'left-by-*' -delete 2>/dev/null || true")
}

func compareSeen(t *testing.T, want, got string) {
	t.Helper()
	wanted, gotten := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(wanted), len(gotten)) {
		var w, g string
		if i < len(wanted) {
			w = wanted[i]
		}
		if i < len(gotten) {
			g = gotten[i]
		}
		if w != g {
			t.Errorf("pam_namespace: %s\n   pam_gotmpns: %s", w, g)
		}
	}
}
