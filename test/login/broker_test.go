package login

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/test/await"
	"gotmpns/test/journal"
	"gotmpns/test/leftover"
)

const brokerSocket = "/run/gotmpns/broker.sock"

// withBroker says that the broker runs beside the tests.
var withBroker = os.Getenv("GOTMPNS_BROKER") == "yes"

var broker *exec.Cmd // in the disposable root; a whole system has a unit

// startBroker starts the broker as its administrator would.
func startBroker() error {
	if booted {
		return exec.Command("systemctl", "enable", "--quiet", "--now", "gotmpns.socket", "gotmpns.service").Run()
	}
	broker = exec.Command("/usr/local/bin/gotmpns", "serve")
	broker.Stderr = os.Stderr
	if err := broker.Start(); err != nil {
		return err
	}
	return await.Until(func() error {
		conn, err := dialBroker()
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func dialBroker() (*net.UnixConn, error) {
	return net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: brokerSocket, Net: "unixpacket"})
}

// stopBroker ends it by a signal and waits for its end.
func stopBroker(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if booted {
		mustRun(t, "systemctl", "kill", "--signal", strconv.Itoa(int(signal)), "gotmpns.service")
		return
	}
	if err := broker.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	_ = broker.Wait()
}

func brokerPID(t *testing.T) int {
	t.Helper()
	if !booted {
		return broker.Process.Pid
	}
	var pid int
	if _, err := fmt.Sscan(runIn(t, "/", "systemctl", "show", "--property=MainPID", "--value", "gotmpns.service"), &pid); err != nil || pid == 0 {
		t.Fatalf("the broker does not run: %v", err)
	}
	return pid
}

// beginBroker is for stories about the broker, which it makes sure of.
func beginBroker(t *testing.T) {
	t.Helper()
	if !withBroker {
		t.Skip("needs the broker: GOTMPNS_BROKER=yes")
	}
	begin(t)
	brokerAnswers(t)
}

// beginBrokerAnew is for stories in which it is started again: what is left then is
// another process than before.
func beginBrokerAnew(t *testing.T) {
	t.Helper()
	if booted || !withBroker {
		beginBroker(t)
		return
	}
	leftover.Require(t)
	write(t, "/tmp/host-file", "the host's\n")
	t.Cleanup(func() { forgetInstances(t) })
	brokerAnswers(t)
}

// brokerAnswers tells the broker's answer from a worker's: with a worker that does
// not exist.
func brokerAnswers(t *testing.T) {
	t.Helper()
	if out, ok := openWith(t, "worker=/nowhere"); !ok {
		t.Fatalf("the broker does not answer: %s", out)
	}
}

// brokerListens makes sure that no earlier story has left the broker out of reach: workers
// would answer instead, and nothing would be shown about it.
func brokerListens(t *testing.T) {
	t.Helper()
	if !withBroker {
		return
	}
	conn, err := dialBroker()
	if err != nil {
		t.Fatalf("the broker that runs beside the tests is out of reach: %v", err)
	}
	conn.Close()
}

// openWith opens and closes a session of alice's with arguments for the module.
func openWith(t *testing.T, arguments string) (output string, ok bool) {
	t.Helper()
	write(t, "/etc/pam.d/gotmpns-test", "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_gotmpns.so "+arguments+"\n")
	output = runIn(t, "/", "pamtester", "gotmpns-test", "alice", "open_session", "close_session")
	return output, strings.Contains(output, "successfully opened")
}

// CASES 13: only root can connect; and where the socket lets other users connect, the
// broker closes the connection.
func TestBrokerAnswersRootOnly(t *testing.T) {
	beginBroker(t)
	script := `import socket,sys
s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET); s.settimeout(5); s.connect(sys.argv[1])
s.send(b"x"*100); print("answer", len(s.recv(100)))`
	if _, err := exec.LookPath("python3"); err != nil {
		script = ""
	}
	asBob := func(path string) string {
		if script != "" {
			return runIn(t, "/", "setpriv", "--reuid=bob", "--regid=bob", "--clear-groups", "python3", "-c", script, path)
		}
		return runIn(t, "/", "setpriv", "--reuid=bob", "--regid=bob", "--clear-groups", "socat", "-T5", "-", "UNIX-CONNECT:"+path+",type=5")
	}
	want(t, asBob(brokerSocket), "ermission denied")
	mustRun(t, "chmod", "711", "/run/gotmpns")
	mustRun(t, "chmod", "666", brokerSocket)
	defer mustRun(t, "chmod", "700", "/run/gotmpns")
	defer mustRun(t, "chmod", "600", brokerSocket)
	if got := asBob(brokerSocket); strings.Contains(got, "answer 1") {
		t.Errorf("the broker answers bob: %q", got)
	}
}

// CASES 12 and 13: clients that say nothing, nonsense, or something and then
// nothing more. All other clients are served, then and afterwards.
func TestBrokerOutlivesItsClients(t *testing.T) {
	beginBroker(t)
	before := weigh(t)
	var silent []*net.UnixConn
	for range 20 {
		conn, err := dialBroker()
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		conn, err := dialBroker()
		if err != nil {
			t.Fatal(err)
		}
		message := make([]byte, random.IntN(40000)+1)
		for j := range message {
			message[j] = byte(random.IntN(256))
		}
		if i%2 == 0 {
			copy(message, "mtog\x01\x00\x01\x00") // as a request begins
		}
		var rights []byte
		if i%3 == 0 {
			rights = unix.UnixRights(0, 1, 2)
		}
		_, _, _ = conn.WriteMsgUnix(message, rights, nil)
		if i%5 != 0 {
			_ = conn.SetReadDeadline(time.Now().Add(deadline))
			if n, err := conn.Read(make([]byte, 10)); err == nil && n > 0 {
				t.Errorf("nonsense was answered: %d bytes", n)
			}
		}
		_ = conn.Close()
	}
	brokerAnswers(t)
	for _, conn := range silent {
		_ = conn.SetReadDeadline(time.Now().Add(deadline))
		if n, _ := conn.Read(make([]byte, 10)); n > 0 {
			t.Error("silence was answered")
		}
		_ = conn.Close()
	}
	brokerAnswers(t)
	settle(t, func() error { return weigh(t).beyond(before) })
}

// weight is what must not grow in the broker.
type weight struct{ threads, descriptors, memory int } // memory in KiB

func weigh(t *testing.T) weight {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d", brokerPID(t))
	var w weight
	for line := range strings.Lines(read(t, proc+"/status")) {
		_, _ = fmt.Sscanf(line, "Threads: %d", &w.threads)
		_, _ = fmt.Sscanf(line, "VmRSS: %d", &w.memory)
	}
	w.descriptors = len(strings.Fields(listing(t, proc+"/fd")))
	return w
}

// beyond says what is more than before, and more than what is kept in reserve.
func (w weight) beyond(before weight) error {
	if w.threads > before.threads+8 || w.descriptors > before.descriptors+10 || w.memory > 24<<10 {
		return fmt.Errorf("the broker had %+v and has %+v", before, w)
	}
	return nil
}

// settle waits for what is under way to come to its end.
func settle(t *testing.T, check func() error) {
	t.Helper()
	if err := await.Until(check); err != nil {
		t.Error(err)
	}
}

// CASES 20: it does not grow with the logins.
func TestBrokerDoesNotGrow(t *testing.T) {
	beginBroker(t)
	for range 20 {
		brokerAnswers(t)
	}
	before := weigh(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			// One user alone may come to the limit of logins that are answered at once: what
			// follows an answer counts as well.
			user := [...]string{"alice", "bob", "carol"}[i%3]
			for range 50 {
				if out := runIn(t, "/", "pamtester", "gotmpns-test", user, "open_session", "close_session"); !strings.Contains(out, "successfully opened") {
					t.Errorf("refused: %s", out)
				}
			}
		}()
	}
	wg.Wait()
	settle(t, func() error { return weigh(t).beyond(before) })
}

// elsewhere runs a command in another root directory that has the same in it.
const elsewhere = `#!/bin/sh
mkdir -p /opt/root && mount -t tmpfs none /opt/root && cd / || exit
for name in *; do
	if [ -L $name ]; then cp -a $name /opt/root; else mkdir /opt/root/$name && mount --rbind /$name /opt/root/$name; fi
done
exec chroot /opt/root "$@"
`

// A caller with another root directory, pid or user namespace sees other files than
// the broker: it is a worker's.
func TestBrokerLeavesOthersToWorkers(t *testing.T) {
	beginBroker(t)
	for name, wrapper := range map[string]string{
		"pid namespace":  "unshare --mount --pid --fork --mount-proc",
		"root directory": "unshare --mount /opt/elsewhere",
		"user namespace": "unshare --user --map-root-user --map-users=1,1,65535 --map-groups=1,1,65535 --mount",
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { _ = os.Remove("/opt/root") })
			write(t, "/opt/elsewhere", elsewhere)
			mustRun(t, "chmod", "755", "/opt/elsewhere")
			write(t, "/etc/pam.d/gotmpns-test", "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_gotmpns.so worker=/nowhere\n")
			got := runIn(t, "/", "sh", "-c", wrapper+" pamtester gotmpns-test alice open_session 2>&1")
			if strings.Contains(got, "successfully opened") {
				t.Errorf("the broker has answered: %q", got)
			}
			// Without the broker the same: what it can have is a matter of the worker's.
			with, without := "", ""
			for out, arguments := range map[*string]string{&with: "", &without: "socket=none"} {
				write(t, "/etc/pam.d/gotmpns-test", "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_gotmpns.so "+arguments+"\n")
				*out = runIn(t, "/", "sh", "-c", wrapper+" pamtester gotmpns-test alice open_session 2>&1")
			}
			if with != without {
				t.Errorf("with a broker on the host: %q; without: %q", with, without)
			}
		})
	}
}

// CASES 28: a broker that hangs costs its timeout, and then a worker is asked.
func TestBrokerThatHangsIsGivenUp(t *testing.T) {
	beginBroker(t)
	pid := brokerPID(t)
	var j *journal.Journal
	if !booted { // a whole system has its own
		j = journal.Start(t)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	got := runSu(t, "alice", "echo mine > /tmp/note; cat /tmp/note")
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	want(t, got, "mine")
	mustNotExist(t, "/tmp/note")
	if !booted {
		want(t, strings.Join(j.Lines(), "\n"), "did not answer within 2 s; asking a worker")
	}
	brokerAnswers(t)
}

// CASES 17: killed again and again while people log in; every login gets its /tmp.
func TestBrokerKilledUnderAStorm(t *testing.T) {
	beginBrokerAnew(t)
	ending, ended := make(chan struct{}), make(chan struct{})
	kills := 0
	go func() {
		defer close(ended)
		for {
			select {
			case <-ending:
				return
			case <-time.After(time.Duration(50+rand.IntN(100)) * time.Millisecond):
			}
			kills++
			stopBroker(t, syscall.SIGKILL)
			if !booted {
				if err := startBroker(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	stormOf(t, 300)
	close(ending)
	<-ended
	if kills < 5 {
		t.Errorf("only %d kills: this shows little", kills)
	}
	if booted { // too many starts at once are a failure to systemd: as an administrator would
		mustRun(t, "systemctl", "reset-failed", "gotmpns.service", "gotmpns.socket")
		mustRun(t, "systemctl", "start", "gotmpns.socket")
	}
	brokerAnswers(t)
	settle(t, func() error { return noDeadRecords(t) })
}

// stormOf logs alice in and out, eight at a time; each sees her own /tmp.
func stormOf(t *testing.T, logins int) {
	t.Helper()
	runSu(t, "alice", "echo hers > /tmp/note")
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range logins / 8 {
				began := time.Now()
				if got := runSu(t, "alice", "cat /tmp/note"); got != "hers\n" {
					t.Errorf("after %v: %q", time.Since(began), got)
				}
			}
		}()
	}
	wg.Wait()
}

func noDeadRecords(t *testing.T) error {
	t.Helper()
	if dead := deadRecords(); len(dead) > 0 {
		return fmt.Errorf("records of sessions that have ended: %q", dead)
	}
	return nil
}

// deadRecords lists the records of sessions whose login process has ended.
func deadRecords() (dead []string) {
	records, _ := filepath.Glob("/run/gotmpns/sessions/*/*")
	for _, record := range records {
		pid, _, _ := strings.Cut(filepath.Base(record), "-")
		if _, err := os.Stat("/proc/" + pid); err != nil {
			dead = append(dead, record)
		}
	}
	return dead
}

// CASES 23: restarts, as an upgrade makes them, with the files replaced under it.
func TestBrokerRestartedUnderAStorm(t *testing.T) {
	beginBroker(t)
	if !booted {
		t.Skip("needs a whole system: run make test-system")
	}
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-ending:
				return
			default:
			}
			// As dpkg does: the new file beside the old one, and then in its place.
			for _, file := range []string{"/usr/local/bin/gotmpns", "/usr/local/libexec/gotmpns/gotmpns-full", "/usr/local/libexec/gotmpns/gotmpns-worker", "/usr/local/libexec/gotmpns/gotmpns-session.so"} {
				mustRun(t, "cp", "-a", file, file+".dpkg-new")
				mustRun(t, "mv", file+".dpkg-new", file)
			}
			mustRun(t, "systemctl", "reset-failed", "gotmpns.service")
			mustRun(t, "systemctl", "restart", "gotmpns.service")
		}
	}()
	stormOf(t, 300)
	close(ending)
	<-ended
	brokerAnswers(t)
}

// A session has ended when its process has, without anybody calling close_session;
// also when the broker was restarted in between.
func TestBrokerSeesTheEndOfSessions(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			beginBrokerAnew(t)
			hold := startSession(t, "alice")
			record := recordOf(t, "su") // a whole system has a user manager's, too
			if restart {
				stopBroker(t, syscall.SIGKILL)
				if booted {
					mustRun(t, "systemctl", "start", "gotmpns.service")
				} else if err := startBroker(); err != nil {
					t.Fatal(err)
				}
				brokerAnswers(t)
			}
			pid, _, _ := strings.Cut(filepath.Base(record), "-")
			mustRun(t, "kill", "-KILL", pid)
			settle(t, func() error {
				if _, err := os.Stat(record); err == nil {
					return fmt.Errorf("%s is still there", record)
				}
				return nil
			})
			_ = syscall.Kill(hold.pid, syscall.SIGKILL)
		})
	}
}

// recordOf finds the only record of a service's sessions.
func recordOf(t *testing.T, service string) string {
	t.Helper()
	var found []string
	records, _ := filepath.Glob("/run/gotmpns/sessions/*/*")
	for _, record := range records {
		if strings.Contains(read(t, record), "SERVICE=\""+service+"\"") {
			found = append(found, record)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has the records %q", service, found)
	}
	return found[0]
}

// Configuration is read when it has changed, and not when it has not.
func TestBrokerTakesChangesAtOnce(t *testing.T) {
	beginBroker(t)
	if booted {
		t.Skip("in test/root/enter only: a user manager may have logged in before")
	}
	for i := range 5 {
		configure(t, "exempt = [\"alice\"]\n")
		want(t, runSu(t, "alice", "cat /tmp/host-file 2>&1"), "the host's")
		configure(t, "exempt = [\"carol\"]\n")
		want(t, runSu(t, "alice", "cat /tmp/host-file 2>&1"), "No such file")
		if t.Failed() {
			t.Fatalf("in round %d", i)
		}
	}
}

// The age-based cleaner spares sockets of living programs by the path that they
// have bound, which it cannot see here: the broker keeps them young. What is
// nobody's any more ages.
func TestBrokerKeepsSocketsOfLivingProgramsYoung(t *testing.T) {
	beginBrokerAnew(t)
	ready := resultFIFO(t, "alice")
	go runSu(t, "alice", "mkdir /tmp/of-tmux; socat UNIX-LISTEN:/tmp/dead,unlink-close=0 - & until test -S /tmp/dead; do sleep .01; done; kill $!; "+
		"setsid sh -c 'echo $$ > "+ready+"; exec socat UNIX-LISTEN:/tmp/of-tmux/living -' < /dev/null > /dev/null 2>&1 &")
	pid := strings.TrimSpace(read(t, ready))
	defer mustRun(t, "kill", pid)
	inside := one(t, "/tmp/gotmpns-*") + "/1000"
	age := func(name string) time.Duration {
		info, err := os.Lstat(inside + "/" + name)
		if err != nil {
			return 0
		}
		return time.Since(info.ModTime())
	}
	const old = 20 * 24 * time.Hour
	settle(t, func() error { // until it has bound
		if err := exec.Command("touch", "-h", "-c", "-d", "30 days ago", inside+"/of-tmux/living", inside+"/dead").Run(); err != nil {
			return err
		}
		if age("of-tmux/living") < old || age("dead") < old {
			return errors.New("the sockets are not there, or not old")
		}
		return nil
	})
	stopBroker(t, syscall.SIGKILL) // it looks when it starts, and every six hours
	if booted {
		mustRun(t, "systemctl", "start", "gotmpns.service")
	} else if err := startBroker(); err != nil {
		t.Fatal(err)
	}
	settle(t, func() error {
		if age("of-tmux/living") > old {
			return errors.New("the living socket is old")
		}
		return nil
	})
	if age("dead") < old {
		t.Error("a socket that nobody listens at was made young")
	}
}
