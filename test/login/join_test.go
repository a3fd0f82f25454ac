package login

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// One user, one namespace: the first session makes it, and the others join it. Where
// the host's / is not shared, each session makes its own, for one that is joined would
// miss what the host mounts later.

// waysOfASystem need systemd, logind and user managers.
var waysOfASystem = []way{
	{"service of the user manager", runUserService("--wait", "--pipe")},
	{"scope of the user manager", runUserService("--scope")},
	{"PAMName=", runPAMName},
	{"run0", runRun0},
}

// runEnter needs a session to enter.
func runEnter(t *testing.T, user, script string) string {
	t.Helper()
	return runIn(t, "/", "/usr/local/bin/gotmpns", "enter", user, "--", scriptFile(t, script))
}

func runUserService(how ...string) func(t *testing.T, user, script string) string {
	return func(t *testing.T, user, script string) string {
		t.Helper()
		return runSSH(t, user, "systemd-run --user --quiet "+strings.Join(how, " ")+" "+scriptFile(t, script))
	}
}

func runPAMName(t *testing.T, user, script string) string {
	t.Helper()
	return runIn(t, "/", "systemd-run", "--quiet", "--wait", "--pipe", "-p", "User="+user, "-p", "PAMName=login", scriptFile(t, script))
}

func runRun0(t *testing.T, user, script string) string {
	t.Helper()
	return runIn(t, "/", "run0", "--user="+user, "--pipe", scriptFile(t, script))
}

// allWays are those that there are here.
func allWays() []way {
	if !booted {
		return ways
	}
	all := slices.Concat(ways, waysOfASystem)
	if _, err := exec.LookPath("run0"); err != nil {
		return all[:len(all)-1] // it came with systemd 256
	}
	return all
}

func TestEveryPairOfWaysSharesOneNamespace(t *testing.T) {
	for _, first := range allWays() {
		t.Run(first.name, func(t *testing.T) {
			begin(t)
			before := namespaceOf(t, 1)
			joins := rootIsShared(t)
			held := holdBy(t, first, "alice")
			const service = "service of the user manager" // its services are in the manager's namespace
			for _, second := range append(allWays(), way{"gotmpns enter", runEnter}) {
				if !booted && first.name == "cron" && second.name == "cron" {
					continue // there is one of it
				}
				t.Run(second.name, func(t *testing.T) {
					got := namespaceIn(t, second.run(t, "alice", printNamespace))
					if joins && got != held {
						t.Errorf("it is in %s, the first session in %s: %s", got, held, statusOf(t))
					}
					if !joins && got == held && second.name != "gotmpns enter" && !(first.name == service && second.name == service) {
						t.Errorf("both are in %s, which misses the host's later mounts", held)
					}
				})
			}
			bobs := namespaceIn(t, runSu(t, "bob", printNamespace))
			hosts := namespaceOf(t, 1)
			if bobs == held || hosts == held || bobs == hosts {
				t.Errorf("alice is in %s, bob in %s, the host in %s", held, bobs, hosts)
			}
			if hosts != before || namespaceOf(t, os.Getpid()) != before {
				t.Errorf("the host was in %s and is in %s", before, hosts)
			}
		})
	}
}

func statusOf(t *testing.T) string {
	t.Helper()
	return runIn(t, "/", "/usr/local/bin/gotmpns", "status")
}

// beginJoining is for what holds where namespaces are joined.
func beginJoining(t *testing.T) {
	t.Helper()
	begin(t)
	if !rootIsShared(t) {
		t.Skip("nothing is joined here: / is not shared")
	}
}

// sftp and scp run no command: what is mounted in the user's namespace alone tells
// where they are.
func TestSftpAndScpJoin(t *testing.T) {
	beginJoining(t)
	startSSHD(t)
	alice := startShell(t, "alice")
	alice.run(t, "mkdir /tmp/inner; sudo mount -t tmpfs inner /tmp/inner; echo inside | sudo tee /tmp/inner/note")
	for name, command := range map[string][]string{
		"sftp":     {"sftp"},
		"scp":      {"scp"},
		"scp, old": {"scp", "-O"},
	} {
		_ = os.Remove("/opt/download")
		args := append(command[1:], append(sshOptions, "alice@127.0.0.1:/tmp/inner/note", "/opt/download")...)
		out := runIn(t, "/", command[0], args...)
		text, err := os.ReadFile("/opt/download")
		if err != nil || string(text) != "inside\n" {
			t.Errorf("%s gets %q: %v: %s", name, text, err, out)
		}
	}
	_ = os.Remove("/opt/download")
}

// A session's own mounts are in all of the user's sessions, and in nobody else's.
func TestAMountInOneSessionIsInAllOfTheUsers(t *testing.T) {
	for name, mount := range map[string]string{
		"bindfs":           "bindfs --no-allow-other ~/raw DIR",
		"gocryptfs":        "gocryptfs -q -init -extpass 'echo x' ~/raw && gocryptfs -q -extpass 'echo x' ~/raw DIR",
		"root's, by sudo":  "sudo mount -t tmpfs -o mode=1777 mine DIR",
		"a bind, by sudo":  "sudo mount --bind ~/raw DIR",
		"a bind, in place": "sudo mount --bind DIR DIR",
	} {
		for _, dir := range []string{"/tmp/seen", "/home/alice/seen"} {
			t.Run(name+" at "+dir, func(t *testing.T) {
				beginJoining(t)
				t.Cleanup(func() { _ = os.RemoveAll("/home/alice/raw"); _ = os.RemoveAll("/home/alice/seen") })
				first := startShell(t, "alice")
				second := startShell(t, "alice")
				t.Cleanup(func() { second.end(); first.end() })
				mounting := strings.ReplaceAll(mount, "DIR", dir)
				got := first.run(t, "mkdir -p ~/raw "+dir+"; "+mounting+" && echo x > "+dir+"/file && echo mounted")
				want(t, got, "mounted")
				t.Cleanup(func() { first.run(t, "sudo umount -l "+dir+" || fusermount -u -z "+dir) })
				look := "grep -c ' " + dir + " ' /proc/self/mounts; cat " + dir + "/file"
				want(t, second.run(t, look), "1\nx\n")
				want(t, runSu(t, "alice", look), "1\nx\n")
				onHost := strings.Contains(read(t, "/proc/1/mounts"), " "+dir+" ")
				bobs := runSu(t, "bob", "grep -c ' "+dir+" ' /proc/self/mounts")
				if seen := bobs != "0\n"; seen != onHost {
					t.Errorf("bob sees it: %v, and the host: %v", seen, onHost)
				}
				if passed := dir != "/tmp/seen" && tmpIsMountPoint(t); onHost != passed {
					t.Errorf("the host sees it: %v, want %v", onHost, passed)
				}
			})
		}
	}
}

// Fifty first logins at the same moment: each succeeds, there are two namespaces at the
// most, and who comes later joins one of them.
func TestFiftyFirstLoginsAtOnce(t *testing.T) {
	beginJoining(t)
	const logins = 50
	gate := "/opt/fifty.gate"
	mustRun(t, "mkfifo", "-m", "644", gate)
	t.Cleanup(func() { _ = os.Remove(gate) })
	opener := openFIFO(t, gate)
	ready := resultFIFO(t, "alice")
	answers := openFIFO(t, ready)
	var wg sync.WaitGroup
	for range logins {
		wg.Add(1)
		go func() {
			defer wg.Done()
			got := runSu(t, "alice", printNamespace+" > "+ready+"; read line < "+gate+"; cat /tmp/host-file 2>/dev/null || echo "+seesNone)
			if got != seesNone+"\n" {
				t.Errorf("a login has %q", got)
			}
		}()
	}
	namespaces := map[string]int{}
	length := len(namespaceOf(t, 1)) + 1
	for range logins {
		line := make([]byte, length)
		if n, err := answers.Read(line); err != nil || n != length {
			t.Fatalf("%q, %v", line[:n], err)
		}
		namespaces[string(line)]++
	}
	later := namespaceIn(t, runSu(t, "alice", printNamespace)) + "\n"
	if _, err := opener.WriteString(strings.Repeat("end\n", logins)); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if len(namespaces) > 2 || namespaces[later] == 0 {
		t.Errorf("%d logins are in %v, a later one in %s", logins, namespaces, later)
	}
}

// However the first session ends, those that have joined its namespace stay in it, and
// the next login joins them.
func TestTheNamespaceOutlivesTheSessionThatMadeIt(t *testing.T) {
	for name, end := range map[string]func(*shell){"logout": (*shell).end, "SIGKILL": (*shell).kill} {
		t.Run(name, func(t *testing.T) {
			beginJoining(t)
			first := startShell(t, "alice")
			second := startShell(t, "alice")
			made := first.namespace(t)
			first.run(t, "sudo mount -t tmpfs inner /mnt; mkdir /tmp/inner; sudo mount -t tmpfs inner /tmp/inner")
			t.Cleanup(func() { _ = syscall.Unmount("/mnt", syscall.MNT_DETACH) }) // where the host has it, too
			end(first)
			for range 3 {
				if got := namespaceIn(t, runSu(t, "alice", printNamespace)); got != made || got != second.namespace(t) {
					t.Errorf("after the end of the first session in %s the next is in %s: %s", made, got, statusOf(t))
				}
			}
			want(t, second.run(t, "grep -c ' /tmp/inner ' /proc/self/mounts"), "1")
		})
	}
}

// After the last session has ended, a process that stays keeps the namespace, and with
// a broker the next login comes to it.
func TestADetachedProcessKeepsTheNamespace(t *testing.T) {
	beginJoining(t)
	withoutManagers(t)
	ready := resultFIFO(t, "alice")
	shell := startShell(t, "alice")
	made := shell.namespace(t)
	go func() {
		_, _ = fmt.Fprintln(shell.in, "setsid sh -c 'echo $$ > "+ready+"; exec sleep 1000' > /dev/null 2>&1 &")
	}()
	pid := strings.TrimSpace(read(t, ready))
	defer mustRun(t, "kill", pid)
	shell.end()
	for range 3 {
		got := namespaceIn(t, runSu(t, "alice", printNamespace))
		if withBroker && got != made {
			t.Errorf("the detached process is in %s, the next login in %s: %s", made, got, statusOf(t))
		}
		time.Sleep(300 * time.Millisecond) // the broker lets go of what nobody is in
	}
}

// The broker ends and comes back: open sessions stay, and the next one joins them, with
// and without it.
func TestTheEndOfTheBrokerLosesNoNamespace(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			beginBrokerAnew(t)
			if !rootIsShared(t) {
				t.Skip("nothing is joined here: / is not shared")
			}
			alice := startShell(t, "alice")
			made := alice.namespace(t)
			stopBroker(t, signal)
			if got := namespaceIn(t, runSu(t, "alice", printNamespace)); got != made {
				t.Errorf("without the broker the next session is in %s, not in %s", got, made)
			}
			restartBroker(t)
			brokerAnswers(t)
			if got := namespaceIn(t, runSu(t, "alice", printNamespace)); got != made {
				t.Errorf("after its start the next session is in %s, not in %s", got, made)
			}
			alice.end()
			want(t, runSu(t, "alice", looks), seesNone)
		})
	}
}

// restartBroker starts it after stopBroker.
func restartBroker(t *testing.T) {
	t.Helper()
	if booted {
		mustRun(t, "systemctl", "restart", "gotmpns.service")
		return
	}
	if err := startBroker(); err != nil {
		t.Fatal(err)
	}
}

// Where a login would get something else than the open sessions have, it has a
// namespace of its own, and what it sees is right.
func TestAnotherPlanMakesAnotherNamespace(t *testing.T) {
	type change struct {
		before string // configuration of the first session
		make   func(t *testing.T)
		sees   string // script of the second session
		want   string
	}
	for name, c := range map[string]change{
		"a target more": {
			make: func(t *testing.T) {
				configure(t, "[[private]]\ntarget = \"/tmp\"\n[[private]]\ntarget = \"/var/tmp\"\n")
				t.Cleanup(func() { forgetBases(t, "/var/tmp") })
			},
			sees: "grep -c ' /var/tmp ' /proc/self/mounts", want: "1",
		},
		"a target less": {
			before: "[[private]]\ntarget = \"/tmp\"\n[[private]]\ntarget = \"/dev/shm\"\n",
			make: func(t *testing.T) {
				t.Cleanup(func() { forgetBases(t, "/dev/shm") })
				configure(t, "[[private]]\ntarget = \"/tmp\"\n")
			},
			sees: "grep -c gotmpns-.*' /dev/shm ' /proc/self/mountinfo", want: "0",
		},
		"another kind": {
			make: func(t *testing.T) { configure(t, "[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\n") },
			sees: "stat -fc %T /tmp", want: "tmpfs",
		},
		"exempt": {
			make: func(t *testing.T) { configure(t, "exempt = [\"alice\"]\n") },
			sees: "cat /tmp/host-file", want: "the host's",
		},
		"a group": {
			before: "[[private]]\ntarget = \"/tmp\"\n[[private]]\ntarget = \"/opt/late\"\nfor = [\"@students\"]\n",
			make: func(t *testing.T) {
				replace(t, "/etc/group", func(before string) string {
					return strings.Replace(before, "students:x:1003:carol", "students:x:1003:carol,alice", 1)
				})
			},
			sees: "id -nG; grep -c gotmpns-.*' /opt/late ' /proc/self/mountinfo", want: "students\n1",
		},
		"a service's rule": {
			before: "[[private]]\ntarget = \"/tmp\"\nfor = [\"service:su\"]\n[[private]]\ntarget = \"/opt/late\"\nfor = [\"service:su-l\"]\n",
			make:   func(*testing.T) {},
			sees:   "grep -c gotmpns-.*' /tmp ' /proc/self/mountinfo; grep -c gotmpns-.*' /opt/late ' /proc/self/mountinfo", want: "0\n1",
		},
		"a share that appears later": {
			make: func(t *testing.T) {
				mustRun(t, "mkdir", "-p", "-m", "1777", "/tmp/.late-unix")
				t.Cleanup(func() { _ = os.RemoveAll("/tmp/.late-unix") })
				write(t, "/tmp/.late-unix/X0", "late")
			},
			before: "[[private]]\ntarget = \"/tmp\"\nshare = [\".late-unix\"]\n",
			sees:   "cat /tmp/.late-unix/X0", want: "late",
		},
		"a share that is made again": {
			before: "[[private]]\ntarget = \"/tmp\"\nshare = [\".late-unix\"]\n",
			make: func(t *testing.T) {
				_ = os.RemoveAll("/tmp/.late-unix")
				mustRun(t, "mkdir", "-m", "1777", "/tmp/.late-unix")
				t.Cleanup(func() { _ = os.RemoveAll("/tmp/.late-unix") })
				write(t, "/tmp/.late-unix/X0", "new")
			},
			sees: "cat /tmp/.late-unix/X0", want: "new",
		},
		"the instance removed": {
			make: func(t *testing.T) { mustRun(t, "sh", "-c", "rm -rf /tmp/gotmpns-*/1000") },
			sees: "touch /tmp/note && echo made", want: "made",
		},
		"the base removed": {
			make: func(t *testing.T) { mustRun(t, "sh", "-c", "rm -rf /tmp/gotmpns-*") },
			sees: "touch /tmp/note && echo made", want: "made",
		},
		"the instance moved away": {
			make: func(t *testing.T) {
				mustRun(t, "sh", "-c", "mv /tmp/gotmpns-*/1000 /opt/moved")
				t.Cleanup(func() { _ = os.RemoveAll("/opt/moved") })
			},
			sees: "ls /tmp/early 2>&1; touch /tmp/note && echo made", want: "No such file or directory\nmade",
		},
		"root moved the mount": {
			make: func(t *testing.T) {
				enterNamespace(t, "alice", "mount --make-private / ; mkdir -p /opt/late; mount --move /tmp /opt/late || { mount --bind /tmp /opt/late; umount -l /tmp; }")
			},
			sees: "cat /tmp/host-file 2>/dev/null || echo " + seesNone, want: seesNone,
		},
		"root unmounted it": {
			make: func(t *testing.T) { enterNamespace(t, "alice", "umount -l /tmp") },
			sees: "cat /tmp/host-file 2>/dev/null || echo " + seesNone, want: seesNone,
		},
		"root mounted over it": {
			make: func(t *testing.T) {
				enterNamespace(t, "alice", "mount --make-private /tmp; mount -t tmpfs over /tmp; echo over > /tmp/note")
			},
			sees: "cat /tmp/note 2>&1", want: "No such file",
		},
		"the target remounted with other flags": {
			make: func(t *testing.T) {
				mustRun(t, "mount", "--bind", "/tmp", "/tmp")
				t.Cleanup(func() { mustRun(t, "umount", "/tmp") })
				mustRun(t, "mount", "-o", "remount,bind,noexec,nosuid", "/tmp")
			},
			sees: "grep ' /tmp ' /proc/self/mountinfo | tail -n 1 | grep -c noexec", want: "1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			begin(t)
			withoutManagers(t)
			mustRun(t, "mkdir", "-p", "/opt/late")
			t.Cleanup(func() { _ = os.Remove("/opt/late") })
			t.Cleanup(func() { forgetBases(t, "/opt") })
			if c.before != "" {
				configure(t, c.before)
			}
			if name == "a share that is made again" {
				mustRun(t, "mkdir", "-m", "1777", "/tmp/.late-unix")
			}
			alice := startShell(t, "alice")
			t.Cleanup(alice.end)
			alice.run(t, "touch /tmp/early")
			made := alice.namespace(t)
			c.make(t)
			run := runSu
			if name == "a service's rule" {
				run = runSuLogin
			}
			got := run(t, "alice", printNamespace+"; "+c.sees)
			want(t, got, c.want)
			if namespaceIn(t, got) == made {
				t.Errorf("it is in the same namespace: %q", got)
			}
			if name == "exempt" {
				return
			}
			// And the one after it joins that.
			again := run(t, "alice", printNamespace+"; "+c.sees)
			want(t, again, c.want)
		})
	}
}

// enterNamespace runs a script as root in the namespace of a user's session.
func enterNamespace(t *testing.T, user, script string) {
	t.Helper()
	mustRun(t, "/usr/local/bin/gotmpns", "enter", user, "--", "setpriv", "true")
	records, err := filepath.Glob("/run/gotmpns/sessions/*/*")
	if err != nil || len(records) == 0 {
		t.Fatalf("there is no session: %v", err)
	}
	for _, record := range records {
		if !strings.Contains(read(t, record), fmt.Sprintf("USER=%q", user)) {
			continue
		}
		pid, _, _ := strings.Cut(filepath.Base(record), "-")
		mustRun(t, "nsenter", "-t", pid, "-m", "sh", "-ec", script)
		return
	}
	t.Fatalf("%s has no session", user)
}
