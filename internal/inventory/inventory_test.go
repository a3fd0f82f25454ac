package inventory

import (
	"strconv"
	"testing"

	"gotmpns/internal/state"
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
		if s.Namespace != c.number || (s.Proc != "") != c.looked || (len(s.table) > 0) != c.looked {
			t.Errorf("%s: namespace %d, looked into: %q with %d mounts", name, s.Namespace, s.Proc, len(s.table))
		}
	}
}
