package session

import (
	"os"
	"testing"

	"gotmpns/internal/registry"
	"gotmpns/internal/state"
	"gotmpns/test/process"
)

// A mistake of ours must not keep the user's next logins waiting.
func TestAPanicLeavesNoLockAndNoRecord(t *testing.T) {
	m := newMachine(t)
	calls := 0
	m.host.Namespaces = func(*state.Dir, uint32, *os.File) []*registry.Namespace {
		if calls++; calls == 2 { // under the lock
			panic("oh")
		}
		return nil
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		m.open(alice, process.Stay(t, ""))
	}()
	records, err := state.Open(m.resident.Host().Root)
	must(t, err)
	defer records.Close()
	if _, err := records.LockUser(alice.UID, 0); err != nil {
		t.Errorf("the lock is still held: %v", err)
	}
	if got := records.Living(alice.UID); len(got) != 0 {
		t.Errorf("the record is still there: %+v", got)
	}
}
