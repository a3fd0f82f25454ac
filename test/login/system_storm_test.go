package login

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// makeUsers makes user1 to userN, whom the test's key opens, for one test.
func makeUsers(t *testing.T, n int) []string {
	t.Helper()
	var passwd, shadow, group strings.Builder
	names := make([]string, n)
	for i := range names {
		name, id := fmt.Sprintf("user%d", i+1), 5000+i
		names[i] = name
		fmt.Fprintf(&passwd, "%s:x:%d:%d::/home/%s:/bin/sh\n", name, id, id, name)
		fmt.Fprintf(&shadow, "%s:*:19000:0:99999:7:::\n", name)
		fmt.Fprintf(&group, "%s:x:%d:\n", name, id)
	}
	for file, text := range map[string]string{"passwd": passwd.String(), "shadow": shadow.String(), "group": group.String()} {
		replace(t, "/etc/"+file, func(before string) string { return before + text })
	}
	key := read(t, "/root/.ssh/id_test.pub")
	for i, name := range names {
		home := "/home/" + name
		t.Cleanup(func() { _ = os.RemoveAll(home) })
		write(t, home+"/.ssh/authorized_keys", key)
		mustRun(t, "chown", "-R", fmt.Sprintf("%d:%d", 5000+i, 5000+i), home)
	}
	return names
}

// A hundred people log in by ssh at the same moment, stay until all are in, and
// each sees a /tmp with nobody else's file in it.
func TestSystemAHundredLogInAtOnce(t *testing.T) {
	beginSystem(t)
	names := makeUsers(t, 100)
	// Everybody waits for a line of the gate, which opens when the last has come in.
	gate := "/opt/gate.fifo"
	mustRun(t, "mkfifo", "-m", "644", gate)
	t.Cleanup(func() { _ = os.Remove(gate) })
	arrived := resultFIFO(t, "root")
	mustRun(t, "chmod", "622", arrived)
	in, out := openFIFO(t, arrived), openFIFO(t, gate)
	var wg sync.WaitGroup
	answers := make([]string, len(names))
	began := time.Now()
	for i, name := range names {
		wg.Add(1)
		go func() {
			defer wg.Done()
			cmd := exec.Command("ssh", append(sshOptions, "-n", name+"@127.0.0.1",
				"echo $(id -un) > /tmp/$(id -un); echo in > "+arrived+"; read line < "+gate+"; ls /tmp; cat /tmp/user*")...)
			out, _ := cmd.CombinedOutput()
			answers[i] = string(out)
		}()
	}
	for range names {
		word := make([]byte, len("in\n"))
		if _, err := in.Read(word); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d sessions open after %.1f s", len(names), time.Since(began).Seconds())
	if _, err := out.WriteString(strings.Repeat("open\n", len(names))); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for i, name := range names {
		if answers[i] != name+"\n"+name+"\n" {
			t.Errorf("%s sees %q", name, answers[i])
		}
	}
	if list := instances(t); len(strings.Fields(list)) != 2*len(names) {
		t.Errorf("the instances are %q", list)
	}
}

// openFIFO opens for reading and writing: neither end waits for the other then.
func openFIFO(t *testing.T, path string) *os.File {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// CASES 17: five hundred logins, while somebody kills sshd's children, workers and
// the managers' (sd-pam) as they come. Users who get in have their own /tmp; when
// it is over, all is as if nobody had been killed.
func TestSystemKilledAtRandom(t *testing.T) {
	refusesOnPurpose(t)
	beginSystem(t)
	const logins, clients = 500, 10
	users := []string{"alice", "bob"}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	stop, killed := startKiller(t, rand.New(rand.NewPCG(seed, 0)))
	var wg sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for client := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range logins / clients {
				user := users[client%2]
				other := users[(client+1)%2]
				out, _ := exec.Command("timeout", append([]string{"30", "ssh"}, append(sshOptions, "-n", user+"@127.0.0.1",
					"echo x > /tmp/of-"+user+"; ls /tmp; ls -d /tmp/of-"+other+" /tmp/host-file 2>/dev/null; echo in")...)...).Output()
				text := string(out)
				mu.Lock()
				if strings.HasSuffix(text, "in\n") {
					in++
				}
				if strings.Contains(text, "of-"+other) || strings.Contains(text, "host-file") {
					t.Errorf("%s sees %q", user, text)
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	stop()
	counts := killed()
	t.Logf("%d of %d logins were let in; killed: %v", in, logins, counts)
	if in < logins/10 || len(counts) < 2 {
		t.Errorf("%d logins and %v: this shows little", in, counts)
	}
	for _, user := range users {
		want(t, asUser(t, user, "ls /tmp; cat /tmp/host-file 2>/dev/null || echo "+seesNone), "of-"+user+"\n"+seesNone)
	}
	if list := instances(t); list != "1000 1000.user 1001 1001.user" {
		t.Errorf("the instances are %q", list)
	}
	endSessions(t)
	noRecordOfTheDead(t)
	// A unit whose process was killed has failed, and says so.
	if failed := failedUnits(t); failed != "" {
		t.Logf("units that have failed:\n%s%s", failed, runIn(t, "/", "journalctl", "-b", "--no-pager", "-u", "user-runtime-dir@*"))
	}
	mustRun(t, "systemctl", "reset-failed")
}

// startKiller kills what belongs to a login: a few times in a second a process of
// one kind, kind and process chosen at random. killed counts them by kind.
func startKiller(t *testing.T, random *rand.Rand) (stop func(), killed func() map[string]int) {
	t.Helper()
	ending, ended := make(chan struct{}), make(chan struct{})
	counts := map[string]int{}
	kinds := []string{"sshd: ", "gotmpns-worker", "(sd-pam)"}
	go func() {
		defer close(ended)
		for {
			select {
			case <-ending:
				return
			case <-time.After(time.Duration(random.IntN(200)) * time.Millisecond):
			}
			kind := kinds[random.IntN(len(kinds))]
			// A worker lives for a few milliseconds: one look would hardly ever find one.
			for range 30 {
				found := victims(kind)
				if len(found) == 0 {
					continue
				}
				if process, err := os.FindProcess(found[random.IntN(len(found))]); err == nil && process.Kill() == nil {
					counts[kind]++
				}
				break
			}
		}
	}()
	return func() { close(ending); <-ended }, func() map[string]int { return counts }
}

// victims are the processes of a kind; sshd's children, but not the server itself.
func victims(kind string) []int {
	var found []int
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range list {
		line, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		text := strings.Replace(string(line), "sshd-session: ", "sshd: ", 1) // since OpenSSH 9.8
		if !strings.Contains(text, kind) || strings.Contains(text, "[listener]") {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// noRecordOfTheDead: the broker removes them as sessions end, "gotmpns clean" where there
// is none; a login never does.
func noRecordOfTheDead(t *testing.T) {
	t.Helper()
	if !withBroker {
		clean(t)
	}
	settle(t, func() error { return noDeadRecords(t) })
}
