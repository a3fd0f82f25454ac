package inventory

import (
	"os"
	"strconv"
	"testing"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/test/fatal"
	"gotmpns/test/leftover"
	"gotmpns/test/process"
)

// A login process can be stopped before it enters its session's namespace; then it is where
// it comes from, such as another user's session. A service with a sandbox is elsewhere, too.
func TestOnlyTheNamespaceOfTheSessionIsLookedInto(t *testing.T) {
	leftover.Require(t)
	login := process.Stay(t, "", "unshare", "--mount")
	number := namespaceOf("/proc/" + strconv.Itoa(login.PID))
	host := namespaceOf("/proc/self")
	if number == 0 || number == host {
		t.Fatalf("the process is in %d, this one in %d", number, host)
	}
	targets := []string{"/tmp"}
	for name, c := range map[string]struct {
		record state.Session
		host   uint64
		number uint64
		looked bool
	}{
		"its own":                     {state.Session{Namespace: number, Targets: targets}, host, number, true},
		"another":                     {state.Session{Namespace: number + 1, Targets: targets}, host, number, false},
		"a record that is not filled": {state.Session{}, host, number, false},
		"a record of 0.1":             {state.Session{Targets: targets}, host, number, true},
		"the host's":                  {state.Session{Namespace: number, Targets: targets}, number, 0, false},
	} {
		s := Session{PID: login.PID}
		s.find(state.Recorded{Session: c.record}, c.host)
		if s.Namespace != c.number || (s.Proc != "") != c.looked {
			t.Errorf("%s: namespace %d, looked into: %q", name, s.Namespace, s.Proc)
		}
	}
}

func TestSessionsAreListedByAgeWithWhatTheySee(t *testing.T) {
	leftover.Require(t)
	t.Cleanup(func() { _ = os.RemoveAll(state.Path) })
	root, err := mountfd.Root()
	must(t, err)
	records, err := state.Open(root)
	must(t, err)
	first := process.Stay(t, "mount -t tmpfs -o size=1m gotmpns /dev/shm", "unshare", "--mount")
	second := process.Stay(t, "", "nsenter", "--mount", "--target", strconv.Itoa(first.PID))
	other, ended := process.Stay(t, "", "unshare", "--mount"), process.Stay(t, "")
	targets := []string{"/dev/shm", "/opt"}
	for _, p := range []*process.Process{first, second, other, ended} {
		claim, err := records.Claim(1000, p.PID)
		must(t, err, claim.Fill(state.Session{User: "alice", Targets: targets, Namespace: namespaceOf("/proc/" + strconv.Itoa(p.PID))}))
	}
	ended.End()
	var inv Inventory
	done := make(chan error)
	go func() { // its thread ends with it
		inv, err = Take(policy.Default(), Want{})
		done <- err
	}()
	must(t, <-done)
	if inv.Ended != 1 || len(inv.Sessions) != 3 || len(inv.Instances) != 1 {
		t.Fatalf("%d have ended, %d sessions, instances %v", inv.Ended, len(inv.Sessions), inv.Instances)
	}
	for _, s := range inv.Sessions {
		want := []Kind{Tmpfs, Gone}
		if s.PID == other.PID {
			want[0] = Bind // the host's
		}
		for i, p := range s.Places {
			if p.Target != targets[i] || p.Kind != want[i] {
				t.Errorf("process %d has %s at %s, want %s", s.PID, p.Kind, p.Target, want[i])
			}
		}
		if len(s.Places) != 2 || s.Namespace != namespaceOf("/proc/"+strconv.Itoa(s.PID)) {
			t.Errorf("process %d is in %d with %v", s.PID, s.Namespace, s.Places)
		}
		// The table is read again.
		host, err := inv.OnHost("alice", "/dev/shm/x")
		if err != nil || len(host) < 2 {
			t.Errorf("its file is at %q: %v", host, err)
		}
	}
}

var must = fatal.If
