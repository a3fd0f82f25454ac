package login

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gotmpns/test/journal"
)

// tmpfsTable is a target in memory, by which a test sees which table applies: by size.
func tmpfsTable(target, size, users string) string {
	return "[[private]]\ntarget = \"" + target + "\"\nkind = \"tmpfs\"\nsize = \"" + size + "\"\n" + users + "\n"
}

const sizeOfTmp = "df -B1 --output=size /tmp | tail -1"

func TestTheFirstTableThatIsForAUserApplies(t *testing.T) {
	begin(t)
	configure(t, tmpfsTable("/tmp", "1M", `for = ["alice"]`)+tmpfsTable("/tmp", "2M", `except = ["carol"]`))
	want(t, runSu(t, "alice", sizeOfTmp), "1048576")
	want(t, runSu(t, "bob", sizeOfTmp), "2097152")
	want(t, runSu(t, "carol", "cat /tmp/host-file"), "the host's")
}

// The login process of bob's session comes from alice's, which has a target that he has
// not: he sees the host's there, and his own where he has one.
func TestFromASessionWithOtherTables(t *testing.T) {
	begin(t)
	t.Cleanup(func() { forgetBases(t, "/var/tmp") })
	write(t, "/var/tmp/of-the-host", "the host's\n")
	t.Cleanup(func() { _ = os.Remove("/var/tmp/of-the-host") })
	configure(t, "[[private]]\ntarget = \"/tmp\"\n[[private]]\ntarget = \"/var/tmp\"\nexcept = [\"bob\"]\n")
	runSu(t, "carol", ": > /tmp/hers; : > /var/tmp/hers")
	got := runSuInsideSu(t, "bob", "ls -A /tmp /var/tmp; cat /var/tmp/of-the-host")
	want(t, got, "the host's")
	if strings.Contains(got, "hers") {
		t.Errorf("bob sees carol's files: %s", got)
	}
}

func TestATargetInTheHomeDirectory(t *testing.T) {
	begin(t)
	homeTarget(t)
	configure(t, "[[private]]\ntarget = \"~/.cache\"\nbase = \"/opt/caches\"\n")
	want(t, runSu(t, "alice", "ls -A ~/.cache; stat -c '%U %a' ~/.cache; echo kept > ~/.cache/note"), "alice 700\n")
	want(t, runSu(t, "alice", "cat ~/.cache/note"), "kept")
	want(t, read(t, "/home/alice/.cache/of-the-host"), "hers")
	// Its mode is hers to change, and not a reason to refuse her next login.
	runSu(t, "alice", "chmod 755 ~/.cache")
	want(t, runSu(t, "alice", "cat ~/.cache/note"), "kept")
}

// What a user can put instead of a target of their own leads to nothing else.
func TestATargetInTheHomeDirectoryThatIsReplaced(t *testing.T) {
	for name, script := range map[string]string{
		"by a link to a directory of root's": "mv ~/.cache ~/old && ln -s /etc ~/.cache",
		"by a link to one's own":             "mv ~/.cache ~/old && ln -s ~/old ~/.cache",
		"by a file":                          "mv ~/.cache ~/old && : > ~/.cache",
		"by nothing":                         "mv ~/.cache ~/old",
	} {
		t.Run(name, func(t *testing.T) {
			begin(t)
			homeTarget(t)
			configure(t, "[[private]]\ntarget = \"~/.cache\"\nbase = \"/opt/caches\"\n")
			byUser(t, "alice", script)
			if got := runSu(t, "alice", "echo opened"); strings.Contains(got, "opened") {
				t.Errorf("the login is not refused: %s", got)
			}
			want(t, runSu(t, "bob", "ls -A ~/.cache | wc -l"), "0")
		})
	}
}

// A file system that the user answers for is neither believed nor asked.
func TestATargetOnAFileSystemOfTheUsers(t *testing.T) {
	for name, c := range map[string]struct{ mount, target string }{
		"at its root":                {".cache", "~/.cache"},
		"below it":                   {".cache", "~/.cache/deep"},
		"where it is the whole home": {"", "~/.cache"},
		"where it is the target":     {"", "~"},
	} {
		t.Run(name, func(t *testing.T) {
			begin(t)
			homeTarget(t)
			replace(t, "/etc/fuse.conf", func(before string) string { return before + "\nuser_allow_other\n" })
			mustRun(t, "mkdir", "-p", "-m", "777", "/opt/answers/deep")
			t.Cleanup(func() { _ = os.RemoveAll("/opt/answers") })
			configure(t, "[[private]]\ntarget = \""+c.target+"\"\nkind = \"tmpfs\"\ncreate = {}\n")
			byUser(t, "alice", "rm ~/.cache/of-the-host; bindfs -o allow_other,nonempty /opt/answers ~/"+c.mount)
			t.Cleanup(func() { mustRun(t, "umount", "-l", "/home/alice/"+c.mount) })
			if got := runSu(t, "alice", "echo opened"); strings.Contains(got, "opened") {
				t.Errorf("the login is not refused: %s", got)
			}
			mustNotExist(t, "/opt/answers/.cache")
			want(t, runSu(t, "bob", "echo opened"), "opened")
		})
	}
}

// While the user exchanges the target for a link, logins get what was judged, or nothing:
// never a mount where the link leads.
func TestATargetThatIsExchangedAllTheTime(t *testing.T) {
	begin(t)
	homeTarget(t)
	configure(t, "[[private]]\ntarget = \"~/.cache\"\nbase = \"/opt/caches\"\n")
	exchange := exec.Command("setpriv", "--reuid=alice", "--regid=alice", "--clear-groups", "sh", "-c",
		"cd /home/alice; while :; do mv .cache old; ln -s /etc .cache; rm .cache; mv old .cache; done")
	if err := exchange.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exchange.Process.Kill(); _ = exchange.Wait() })
	opened := 0
	for range 60 {
		got := runSu(t, "alice", "findmnt -rno TARGET | grep -x -e /etc -e /home/alice/.cache -e /home/alice/old; echo opened")
		if strings.Contains(got, "/etc") {
			t.Fatalf("there is a mount on /etc: %s", got)
		}
		if strings.Contains(got, "opened") {
			opened++
			want(t, got, "/home/alice/")
		}
	}
	t.Logf("%d of 60 logins were not refused", opened)
}

func TestABaseWithTheNameOfTheUser(t *testing.T) {
	begin(t)
	mustRun(t, "mkdir", "-p", "-m", "0755", "/opt/scratch/alice")
	t.Cleanup(func() { _ = os.RemoveAll("/opt/scratch") })
	configure(t, "[[private]]\ntarget = \"/tmp\"\nbase = \"/opt/scratch/$USER/tmp\"\n")
	runSu(t, "alice", "echo hers > /tmp/note")
	want(t, read(t, "/opt/scratch/alice/tmp/1000/note"), "hers")
}

func TestOptionsRestrictWhatTheTargetAllows(t *testing.T) {
	const options = "options = [\"nosuid\", \"nodev\", \"noexec\"]\n"
	write(t, "/opt/tools/hello", "#!/bin/sh\necho hello\n")
	mustRun(t, "chmod", "755", "/opt/tools/hello")
	t.Cleanup(func() { _ = os.RemoveAll("/opt/tools") })
	const script = "cp /opt/tools/hello /tmp/hello; /tmp/hello 2>&1; cp /bin/true /tmp/true; /tmp/true 2>&1; findmnt -no OPTIONS /tmp"
	for name, c := range map[string]struct{ table, where string }{
		"directory": {"[[private]]\ntarget = \"/tmp\"\n" + options, "/tmp"},
		"tmpfs":     {"[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\n" + options, "/tmp"},
		"bind":      {"[[bind]]\nsource = \"/opt/tools\"\ntarget = \"/mnt\"\n" + options, "/mnt"},
	} {
		t.Run(name, func(t *testing.T) {
			begin(t)
			configure(t, c.table)
			hold := startSession(t, "alice") // the second joins it
			for range 2 {
				got := runSu(t, "alice", strings.ReplaceAll(script, "/tmp", c.where))
				for _, option := range []string{"Permission denied", "nosuid", "nodev", "noexec"} {
					want(t, got, option)
				}
				if strings.Contains(got, "hello\nhello") {
					t.Errorf("a program runs: %s", got)
				}
			}
			hold.end(t)
			configure(t, strings.Replace(c.table, options, "", 1))
			if got := runSu(t, "alice", "findmnt -no OPTIONS "+c.where); strings.Contains(got, "noexec") {
				t.Errorf("the options stay when the configuration has them no more: %s", got)
			}
		})
	}
}

func TestATmpfsWithAModeAndAShareOfTheMemory(t *testing.T) {
	begin(t)
	configure(t, "[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\nsize = \"10%\"\nmode = \"0700\"\n")
	want(t, runSu(t, "alice", "stat -c '%a %U %G' /tmp; : > /tmp/works && echo works"), "700 alice alice\nworks")
	var total uint64
	if _, err := fmt.Sscanf(read(t, "/proc/meminfo"), "MemTotal: %d kB", &total); err != nil {
		t.Fatal(err)
	}
	var size uint64
	if _, err := fmt.Sscan(runSu(t, "alice", sizeOfTmp), &size); err != nil {
		t.Fatal(err)
	}
	if tenth := total * 1024 / 10; size > tenth+1<<20 || size < tenth-1<<20 {
		t.Errorf("%d bytes are not a tenth of %d KiB", size, total)
	}
	configure(t, "[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\nmode = \"1777\"\nscope = \"session\"\n")
	want(t, runSu(t, "bob", "stat -c '%a %U %G' /tmp"), "1777 root root")
}

func TestAMissingTargetIsCreatedOnTheHost(t *testing.T) {
	const base = "base = \"/opt/instances\"\n"
	for name, c := range map[string]struct{ target, create, user, want string }{
		"as it is written":                       {"/opt/made", `{ mode = "1777", owner = "root", group = "adm" }`, "alice", "1777 root:adm"},
		"by default":                             {"/opt/made", `{}`, "alice", "755 root:root"},
		"for each user":                          {"/opt/scratch/$USER", `{ mode = "0750", owner = "$USER" }`, "bob", "750 bob:bob"},
		"in the home":                            {"~/made", `{ mode = "0700" }`, "bob", "700 bob:bob"},
		"in the home, whatever owner is written": {"~/made", `{ mode = "0711", owner = "root" }`, "bob", "711 bob:bob"},
	} {
		t.Run(name, func(t *testing.T) {
			begin(t)
			mustRun(t, "mkdir", "-m", "755", "/opt/scratch")
			host := strings.NewReplacer("~", "/home/"+c.user, "$USER", c.user).Replace(c.target)
			t.Cleanup(func() {
				for _, dir := range []string{"/opt/made", "/opt/scratch", "/opt/instances", host} {
					_ = os.RemoveAll(dir)
				}
			})
			configure(t, "[[private]]\ntarget = \""+c.target+"\"\n"+base+"create = "+c.create+"\n")
			const stat = "stat -c '%a %U:%G' "
			want(t, runSu(t, c.user, stat+host+" && findmnt -no TARGET "+host), c.want+"\n"+host)
			want(t, runIn(t, "/", "sh", "-c", stat+host), c.want)
			mustRun(t, "chmod", "700", host) // one that exists is left as it is
			runSu(t, c.user, "true")
			want(t, runIn(t, "/", "sh", "-c", stat+host), "700 ")
		})
	}
}

// Root is led nowhere by what a user can rename or link, and makes nothing for a user
// whom no table is for.
func TestAMissingTargetIsNotCreatedWhereOthersCanWrite(t *testing.T) {
	const table = "[[private]]\nkind = \"tmpfs\"\ncreate = { mode = \"0777\" }\n"
	for name, c := range map[string]struct{ prepare, target, mustNotExist string }{
		"in a directory for everybody":      {"true", "/var/tmp/made", "/var/tmp/made"},
		"through a link to root's":          {"ln -s /etc ~/link", "~/link/made", "/etc/made"},
		"through a link to another user's":  {"ln -s /home/bob ~/link", "~/link/made", "/home/bob/made"},
		"in a directory of root's":          {"true", "~/roots/made", "/home/alice/roots/made"},
		"in place of a link that dangles":   {"ln -s /etc/made ~/made", "~/made", "/etc/made"},
		"in a directory that is not there":  {"true", "~/no/made", "/home/alice/no"},
		"below a home that is another's":    {"true", "/home/bob/made", "/home/bob/made"},
		"for a user whom the table excepts": {"true", "/opt/made\"\nexcept = [\"alice\"]#", "/opt/made"},
	} {
		t.Run(name, func(t *testing.T) {
			begin(t)
			mustRun(t, "mkdir", "-m", "755", "/home/alice/roots")
			t.Cleanup(func() {
				for _, path := range []string{"/home/alice/link", "/home/alice/roots", "/home/alice/made", c.mustNotExist} {
					_ = os.RemoveAll(path)
				}
			})
			byUser(t, "alice", c.prepare)
			configure(t, table+"target = \""+c.target+"\"\n")
			got := runSu(t, "alice", "echo opened")
			mustNotExist(t, c.mustNotExist)
			if strings.Contains(got, "opened") != strings.Contains(c.target, "except") {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestByLevelWhereSELinuxIsOff(t *testing.T) {
	beginAlone(t)
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil {
		t.Skip("SELinux is on")
	}
	const table = "[[private]]\ntarget = \"/tmp\"\nby = \"level\"\nshared = true\n"
	j := journal.Start(t)
	configure(t, table)
	want(t, runSu(t, "alice", "echo hers > /tmp/note; cat /tmp/note"), "hers")
	if log := strings.Join(j.Lines(), "\n"); !strings.Contains(log, "/tmp is private by user, not by level: SELinux is off") {
		t.Errorf("the log says %q", log)
	}
	want(t, runSu(t, "alice", "cat /tmp/note"), "hers")
	want(t, runSu(t, "bob", "cat /tmp/note 2>&1"), "No such file")
	configure(t, table+"require_selinux = true\n")
	j.Lines()
	if got := runSu(t, "alice", "echo opened"); strings.Contains(got, "opened") {
		t.Errorf("the login is not refused: %q", got)
	}
	j.Says(t, "cannot make /tmp private: SELinux is off")
	want(t, runSu(t, "root", "echo opened"), "opened")
}

// homeTarget gives alice and bob a ~/.cache, hers with a file in it.
func homeTarget(t *testing.T) {
	t.Helper()
	for _, user := range []string{"alice", "bob"} {
		byUser(t, user, "mkdir -m 700 ~/.cache")
	}
	byUser(t, "alice", "echo hers > ~/.cache/of-the-host")
	t.Cleanup(func() {
		for _, path := range []string{"/home/alice/.cache", "/home/alice/old", "/home/bob/.cache", "/opt/caches"} {
			if err := os.RemoveAll(path); err != nil {
				t.Error(err)
			}
		}
	})
}

// byUser runs a script with a user's ids, outside of every session.
func byUser(t *testing.T, user, script string) {
	t.Helper()
	cmd := exec.Command("setpriv", "--reuid="+user, "--regid="+user, "--init-groups", "--reset-env", "sh", "-ec", script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}
