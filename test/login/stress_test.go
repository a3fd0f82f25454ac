package login

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// stressFor is for how long people log in while others do their worst: a duration such as
// 1h in GOTMPNS_STRESS. Without it the stress is skipped.
const stressFor = "GOTMPNS_STRESS"

// configurations are what the host is switched between while people are logged in. A
// session keeps what it has.
var configurations = []string{
	"",
	"[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\nsize = \"16M\"\n",
	"[[private]]\ntarget = \"/tmp\"\ncleanup = \"logout\"\n[[private]]\ntarget = \"/var/tmp\"\n[[private]]\ntarget = \"/dev/shm\"\nkind = \"tmpfs\"\n",
	"[[private]]\ntarget = \"/tmp\"\nscope = \"session\"\ncleanup = \"logout\"\n",
	"[[private]]\ntarget = \"/tmp\"\nscope = \"session\"\nkind = \"tmpfs\"\n",
	"propagation = \"slave\"\n[[private]]\ntarget = \"/tmp\"\ncleanup = \"logout\"\n",
}

// stressScript is what each session does: it reports what is not its own, and what it has lost.
const stressScript = `me=$(id -un)
date +%s%N
ls -A /tmp | grep '^of-' | grep -v "^of-$me-" && echo FOREIGN
[ ! -e /tmp/host-file ] || echo HOST
f=/tmp/of-$me-$$
echo $$ > $f || echo LOST at once
sleep PAUSE
[ "$(cat $f)" = $$ ] || echo LOST
rm -f $f`

// stress counts what the sessions report.
type stress struct {
	t       *testing.T
	stop    atomic.Bool
	logins  atomic.Int64
	mu      sync.Mutex
	waits   []time.Duration
	refused map[string]int
}

// TestSystemStress: four people log in by ssh, su, sudo and cron, with all kinds and scopes,
// while a fifth stops, freezes and kills her logins, stacks mounts and fills the host's
// /tmp with names, and the broker is killed: no session sees another's file, none loses
// its own, and the waits are reported.
func TestSystemStress(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv(stressFor))
	if err != nil {
		t.Skip("takes an hour: set " + stressFor + "=1h")
	}
	beginSystem(t)
	users := append(makeUsers(t, 3), "alice")
	mallory := makeMallory(t)
	configure(t, configurations[0])
	jobs := cronJobs(t, users)
	s := &stress{t: t, refused: map[string]int{}}
	var wg sync.WaitGroup
	run := func(f func()) { wg.Add(1); go func() { defer wg.Done(); f() }() }
	for _, user := range users {
		run(func() { s.person(user) })
		run(func() { s.person(user) })
	}
	run(s.administrator)
	run(func() { s.mallory(mallory) })
	if withBroker {
		run(s.killer)
	}
	for end := time.Now().Add(length); time.Now().Before(end) && !t.Failed(); {
		time.Sleep(time.Second)
	}
	s.stop.Store(true)
	wg.Wait()
	s.report()
	jobs()
}

// cronJobs gives each user jobs that run every minute, and returns a function that stops
// them and checks what they reported.
func cronJobs(t *testing.T, users []string) (check func()) {
	t.Helper()
	const table, reports = "/etc/cron.d/gotmpns-stress", "/var/lib/gotmpns-stress"
	script := scriptFile(t, strings.ReplaceAll(stressScript, "PAUSE", "$(( $$ % 3 ))"))
	var lines strings.Builder
	for _, user := range users {
		mustRun(t, "install", "-d", "-o", user, "-m", "700", reports+"/"+user)
		for range 3 {
			fmt.Fprintf(&lines, "* * * * * %s %s >> %s/%s/report 2>&1\n", user, script, reports, user)
		}
	}
	write(t, table, lines.String())
	t.Cleanup(func() { _ = os.Remove(table); _ = os.RemoveAll(reports) })
	return func() {
		mustRun(t, "rm", table)
		settle(t, func() error {
			if exec.Command("pgrep", "-f", script).Run() == nil {
				return errors.New("jobs of cron still run")
			}
			return nil
		})
		for _, user := range users {
			report := read(t, reports+"/"+user+"/report")
			if strings.Contains(report, "FOREIGN") || strings.Contains(report, "LOST") || strings.Contains(report, "HOST") {
				t.Errorf("jobs of %s: %q", user, report)
			}
			t.Logf("%s: %d jobs of cron", user, strings.Count(report, "\n"))
		}
	}
}

// makeMallory makes a user who may freeze processes of their own.
func makeMallory(t *testing.T) string {
	t.Helper()
	mustRun(t, "useradd", "-m", "-u", "5100", "mallory")
	t.Cleanup(func() {
		_ = exec.Command("pkill", "-KILL", "-u", "mallory").Run()
		mustRun(t, "userdel", "-rf", "mallory")
	})
	mustRun(t, "install", "-d", "-o", "mallory", "-m", "700", "/home/mallory/.ssh")
	mustRun(t, "install", "-o", "mallory", "-m", "600", "/root/.ssh/id_test.pub", "/home/mallory/.ssh/authorized_keys")
	return "mallory"
}

// person logs in again and again.
func (s *stress) person(user string) {
	ways := []func(script string) *exec.Cmd{
		func(script string) *exec.Cmd { return exec.Command("su", user, "-s", "/bin/sh", "-c", script) },
		func(script string) *exec.Cmd { return exec.Command("sudo", "-u", user, "/bin/sh", "-c", script) },
		func(script string) *exec.Cmd {
			return exec.Command("ssh", append(slices.Clone(sshOptions), "-n", user+"@127.0.0.1", script)...)
		},
		func(script string) *exec.Cmd { return exec.Command("su", "-", user, "-c", script) },
	}
	for !s.stop.Load() {
		script := strings.ReplaceAll(stressScript, "PAUSE", fmt.Sprintf("%.2f", rand.Float64()*1.5))
		began := time.Now()
		out, err := ways[rand.IntN(len(ways))](script).CombinedOutput()
		s.count(user, began, string(out), err)
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
	}
}

func (s *stress) count(user string, began time.Time, out string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var in int64
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if _, scan := fmt.Sscan(lines[0], &in); scan != nil {
		s.refused[lines[0]]++
		return
	}
	s.logins.Add(1)
	s.waits = append(s.waits, time.Unix(0, in).Sub(began))
	if strings.Contains(out, "FOREIGN") || strings.Contains(out, "LOST") || strings.Contains(out, "HOST") {
		s.t.Errorf("%s: %q, %v", user, out, err)
	}
}

// administrator changes the configuration, and asks.
func (s *stress) administrator() {
	for !s.stop.Load() {
		text := configurations[rand.IntN(len(configurations))]
		_ = os.WriteFile(configFile+".new", []byte(text), 0o644)
		_ = os.Rename(configFile+".new", configFile)
		for range 10 {
			if s.stop.Load() {
				return
			}
			time.Sleep(time.Second)
		}
		_ = exec.Command("gotmpns", "status").Run()
		if !withBroker {
			_ = exec.Command("gotmpns", "clean").Run()
		}
	}
}

// mallory does to their own sessions what could delay those of others.
func (s *stress) mallory(user string) {
	ssh := func(script string) *exec.Cmd {
		cmd := exec.Command("ssh", append(slices.Clone(sshOptions), "-n", user+"@127.0.0.1", script)...)
		_ = cmd.Start()
		return cmd
	}
	const stack = `unshare -Urm sh -c 'mount -t tmpfs t /mnt; i=0; while [ $i -lt 1500 ]; do mount --bind /mnt /mnt; i=$((i+1)); done; sleep 20'`
	const stopped = `for i in $(seq 20); do (sudo -n -u mallory true & p=$!; sleep 0.0$i; kill -STOP $p 2>/dev/null; sleep 3; kill -KILL $p) & done; wait`
	const frozen = `systemd-run --user --scope --quiet sh -c 'g=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); for i in $(seq 10); do (sudo -n -u mallory true) & done; echo 1 > $g/cgroup.freeze' & sleep 4; for g in /sys/fs/cgroup/user.slice/user-5100.slice/user@5100.service/app.slice/*.scope; do echo 0 > $g/cgroup.freeze; done`
	const names = `i=0; while [ $i -lt 200 ]; do mkdir -p /tmp/gotmpns-$i/1000; i=$((i+1)); done`
	for !s.stop.Load() {
		var running []*exec.Cmd
		for _, script := range []string{stack, stopped, frozen, names} {
			if rand.IntN(2) == 0 {
				running = append(running, ssh(script))
			}
		}
		time.Sleep(8 * time.Second)
		_ = exec.Command("pkill", "-KILL", "-u", user).Run()
		for _, cmd := range running {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	}
}

// killer kills the broker now and then; systemd starts it again.
func (s *stress) killer() {
	for !s.stop.Load() {
		for range 5 + rand.IntN(20) {
			if s.stop.Load() {
				return
			}
			time.Sleep(time.Second)
		}
		_ = exec.Command("systemctl", "kill", "--signal=KILL", "gotmpns.service").Run()
	}
}

func (s *stress) report() {
	slices.Sort(s.waits)
	if len(s.waits) == 0 {
		s.t.Fatal("nobody got in")
	}
	at := func(part float64) time.Duration {
		return s.waits[int(float64(len(s.waits)-1)*part)].Round(time.Millisecond)
	}
	s.t.Logf("%d logins; from the start of the program to the first command: median %v, 99 of 100 %v, 999 of 1000 %v, longest %v",
		s.logins.Load(), at(.5), at(.99), at(.999), at(1))
	for line, n := range s.refused {
		s.t.Logf("refused %d times: %s", n, line)
	}
}
