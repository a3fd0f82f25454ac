package registry

import (
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gotmpns/internal/proc"
	"gotmpns/internal/state"
	"gotmpns/test/fatal"
	"gotmpns/test/leftover"
	"gotmpns/test/process"
)

const (
	alice = 1000
	bob   = 1001
)

var must = fatal.If

// newRecords makes a state directory of the test's own. The host is where the test is.
func newRecords(t *testing.T) (records *state.Dir, host *os.File) {
	t.Helper()
	leftover.Require(t)
	top := t.TempDir()
	must(t, os.Mkdir(top+"/run", 0o755))
	root, err := os.OpenFile(top, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	defer root.Close()
	records, err = state.Open(root)
	must(t, err)
	t.Cleanup(func() { _ = records.Close() })
	host, err = proc.OpenNamespace("/proc/self/ns/mnt")
	must(t, err)
	t.Cleanup(func() { _ = host.Close() })
	return records, host
}

// own starts a process in a mount namespace of its own.
func own(t *testing.T) *process.Process { return process.Stay(t, "", "unshare", "--mount") }

// with starts another process in the mount namespace of one.
func with(t *testing.T, p *process.Process) *process.Process {
	return process.Stay(t, "", "nsenter", "--mount", "--target", strconv.Itoa(p.PID))
}

// record makes the record of a session whose login process is p, which has entered.
func record(t *testing.T, records *state.Dir, uid uint32, p *process.Process, key string) (session string) {
	t.Helper()
	return recordIn(t, records, uid, p, p, key)
}

// recordIn makes the record of a session whose login process is p and which is to be in the
// namespace of another process.
func recordIn(t *testing.T, records *state.Dir, uid uint32, p, in *process.Process, key string) (session string) {
	t.Helper()
	claim, err := records.Claim(uid, p.PID)
	must(t, err, claim.Fill(state.Session{UID: uid, User: "x", Key: key, Namespace: in.Namespace(t)}))
	return claim.Name
}

// open returns the namespace of a process as the registry has it.
func open(t *testing.T, p *process.Process, session string) *Namespace {
	t.Helper()
	file, err := proc.OpenNamespace("/proc/" + strconv.Itoa(p.PID) + "/ns/mnt")
	must(t, err)
	return &Namespace{Session: session, PID: p.PID, Key: "key of " + session, File: file}
}

// wantNamespaces compares with the namespaces of processes, in order, and closes them.
func wantNamespaces(t *testing.T, got []*Namespace, want ...*process.Process) {
	t.Helper()
	var is, shouldBe []uint64
	for _, n := range got {
		id, err := proc.IdentityOf(n.File)
		must(t, err)
		is = append(is, id.Inode)
		must(t, n.Close())
	}
	for _, p := range want {
		id, err := proc.IdentityAt("/proc/" + strconv.Itoa(p.PID) + "/ns/mnt")
		must(t, err)
		shouldBe = append(shouldBe, id.Inode)
	}
	if diff := cmp.Diff(shouldBe, is); diff != "" {
		t.Errorf("namespaces: %s", diff)
	}
}

// descriptors counts what this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(names)
}

func TestNamespacesOfRecords(t *testing.T) {
	records, host := newRecords(t)
	if got := OfRecords(records, alice, host); len(got) != 0 {
		t.Errorf("without a record: %+v", got)
	}
	first, last := own(t), own(t)
	// The records of what is none of the user's come last, so that they would be found first.
	record(t, records, alice, first, "first")
	record(t, records, alice, last, "last")
	latest := record(t, records, alice, with(t, first), "again")

	record(t, records, alice, process.Stay(t, ""), "host")
	record(t, records, bob, own(t), "bob")
	record(t, records, alice, process.Stay(t, "", "unshare", "--user", "--map-root-user", "--mount"), "user's")
	ended := own(t)
	record(t, records, alice, ended, "ended")
	ended.End()
	zombie := own(t)
	record(t, records, alice, zombie, "zombie")
	zombie.Kill()

	before := descriptors(t)
	got := OfRecords(records, alice, host)
	if len(got) != 2 || got[0].Session != latest || got[0].Key != "again" || got[1].Key != "last" {
		t.Errorf("%+v", got)
	}
	wantNamespaces(t, got, first, last)
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are left open", after-before)
	}
}

func TestAnotherProcessWithThePidIsNotInTheSession(t *testing.T) {
	records, host := newRecords(t)
	login := own(t)
	start, err := proc.Began(login.PID)
	must(t, err)
	record(t, records, alice, login, "key")
	living := records.Living(alice)
	login.End()
	another := process.Again(t, login.PID)
	for proc.Is(another.PID, start) { // within one tick of the clock
		another.End()
		another = process.Again(t, login.PID)
	}
	wantNamespaces(t, OfRecords(records, alice, host))
	// It has taken the pid after the records were read.
	if n := ofRecord(living[0]); n != nil {
		t.Errorf("%+v", n)
	}
}

// A user can stop a setuid program between its record and its namespace. Until it goes on,
// it is where it comes from: bob's login process, for example, in alice's namespace.
func TestALoginProcessThatHasNotEnteredSaysNothing(t *testing.T) {
	records, host := newRecords(t)
	others, made := own(t), own(t)
	stopped := with(t, others)
	recordIn(t, records, bob, stopped, made, "key")
	wantNamespaces(t, OfRecords(records, bob, host))
	h := NewHeld()
	h.Adopt(records, bob, host)
	wantCount(t, h, 0, 0)
	// Another session, which has entered, is found beside it.
	record(t, records, bob, with(t, made), "key")
	recordIn(t, records, bob, stopped, made, "key")
	wantNamespaces(t, OfRecords(records, bob, host), made)
}

func TestAClaimThatIsNotFilledSaysNothing(t *testing.T) {
	records, host := newRecords(t)
	claim, err := records.Claim(alice, own(t).PID)
	must(t, err)
	defer claim.Close()
	wantNamespaces(t, OfRecords(records, alice, host))
}
