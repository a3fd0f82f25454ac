package login

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// namespaceConfs are configurations of pam_namespace, each with the directories
// that it is about.
var namespaceConfs = map[string]struct{ text, targets string }{
	"levels": {
		"/tmp /tmp-inst/ level root,adm\n/var/tmp /var/tmp/tmp-inst/ level root,adm\n", "/tmp /var/tmp",
	},
	"nothing":      {"# no line\n", "/tmp /var/tmp"},
	"another one":  {"/scratch /nvme/inst/ user root\n", "/scratch /tmp"},
	"for everyone": {"/tmp /tmp-inst/ user\n", "/tmp"},
	"each their own line": {
		"/tmp none tmpfs:mntopts=size=1m ~alice\n/dev/shm none tmpfs ~alice\n/tmp none tmpfs:mntopts=size=1m ~bob\n", "/tmp /dev/shm",
	},
	"shared is nothing without SELinux": {
		"/tmp /tmp-inst/ level root\n/tmp /tmp-inst/ level:shared root\n/var/tmp /var-inst/ context:shared root\n", "/tmp /var/tmp",
	},
	"exclusive":         {"/tmp /tmp-inst/ user ~root,alice\n/var/tmp /var/tmp/inst/ user root,www-data\n", "/tmp /var/tmp"},
	"for a session":     {"/tmp /tmp-inst/t- tmpdir root\n/run/lock none tmpfs root\n", "/tmp /run/lock"},
	"some but others":   {"/tmp /tmp-inst/ user root,bob\n/var/tmp /var-inst/ user root\n", "/tmp /var/tmp"},
	"the last applies":  {"/tmp /tmp-inst/ user root\n/tmp none tmpfs ~bob\n", "/tmp"},
	"homes":             {"$HOME /home/.inst/ user root,www-data\n", "/tmp"},
	"options":           {"/tmp none tmpfs:mntopts=size=10m,mode=1777,noexec,nosuid root\n/var/tmp none tmpfs:mntopts=size=2%,nr_inodes=100 root\n", "/tmp /var/tmp"},
	"made":              {"/made /tmp-inst/ user:create=0755 root\n", "/made"},
	"made for its user": {"/made /var/tmp/inst/ user:create=0700 ~alice\n", "/made"},
}

// With what import prints, alone and as a drop-in beside the file that is shipped,
// every user sees what pam_namespace shows: private or not, of which kind, whose, and
// for how long.
func TestImportGivesWhatPamNamespaceGives(t *testing.T) {
	for name, c := range namespaceConfs {
		t.Run(name, func(t *testing.T) {
			begin(t)
			prepareTargets(t, c.targets)
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
			t.Run("as a drop-in", func(t *testing.T) {
				dropIn := "/etc/security/gotmpns.d/import.toml"
				write(t, dropIn, imported)
				defer os.Remove(dropIn)
				compareSeen(t, want, seenByAll(t, c.targets))
			})
		})
	}
}

// prepareTargets makes the directories, with a file of the host's in each, and those
// in which pam_namespace keeps its own.
func prepareTargets(t *testing.T, targets string) {
	t.Helper()
	for _, dir := range strings.Fields(targets) {
		if dir == "/made" {
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
	for _, dir := range []string{"/tmp-inst", "/var/tmp/tmp-inst", "/var/tmp/inst", "/var-inst", "/nvme/inst", "/home/.inst"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, dir := range strings.Fields(targets) {
			forgetBases(t, dir)
		}
		for _, dir := range append(strings.Fields("/tmp-inst /var/tmp/tmp-inst /var/tmp/inst /var-inst /nvme /home/.inst /scratch /made /var/lib/gotmpns-made"), hostFiles(targets)...) {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		}
	})
}

// hostFiles are what prepareTargets leaves in the targets.
func hostFiles(targets string) []string {
	var files []string
	for _, dir := range strings.Fields(targets) {
		files = append(files, filepath.Join(dir, "of-the-host"))
	}
	return files
}

// seenByAll returns a line for each user and target, of two sessions one after the
// other: the first leaves a file, and the second removes it. No program is tried in
// /run/lock, which is noexec on a host: a target keeps that, and pam_namespace does not.
func seenByAll(t *testing.T, targets string) string {
	t.Helper()
	script := `for d in ` + targets + `; do
		echo "$(id -un) $d: $([ -e $d/of-the-host ] && echo host || echo private)" \
			"$(stat -c '%a %U:%G' $d) $(stat -f -c %T $d)" \
			"size $(df --output=size $d | tail -1)" \
			"$([ $d != /run/lock ] && cp /bin/true $d/program 2>/dev/null && $d/program 2>/dev/null && echo runs programs; rm -f $d/program)" \
			"$([ -e $d/kept-by-$(id -un) ] && echo kept || echo new)"
		[ $1 = first ] && touch $d/kept-by-$(id -un) || rm -f $d/kept-by-$(id -un)
	done; echo "$(id -un) home: $(ls -A ~ 2>&1 | tr '\n' ' ')"`
	if err := os.RemoveAll("/made"); err != nil { // the module makes it again
		t.Fatal(err)
	}
	var all strings.Builder
	for _, user := range []string{"root", "www-data", "alice", "bob", "carol"} {
		for _, session := range []string{"first", "second"} {
			all.WriteString(output(t, exec.Command("su", "-s", "/bin/sh", user, "-c", script, "sh", session)))
		}
	}
	return all.String()
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
