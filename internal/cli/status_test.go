package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gotmpns/internal/instance"
	"gotmpns/internal/inventory"
)

func at(minute int) time.Time { return time.Date(2026, 11, 25, 9, minute, 0, 0, time.Local) }

// People is an inventory of usual names and sizes; bob has two namespaces.
func people() inventory.Inventory {
	private := func(uid string) []inventory.Place {
		return []inventory.Place{{Target: "/tmp", Kind: inventory.Directory, Host: "/tmp/gotmpns-5e0c1a7b/" + uid}}
	}
	return inventory.Inventory{
		Sessions: []inventory.Session{
			{User: "carol", UID: 1002, Service: "systemd-user", Since: at(3), PID: 4123456, Namespace: 4026532999, Places: private("1002")},
			{User: "bob", UID: 1001, Service: "sshd", Since: at(1), PID: 20, Namespace: 7, Places: private("1001"), Why: "the first session"},
			{User: "alice", UID: 1000, Service: "sshd", Since: at(2), PID: 30, Namespace: 9, Places: private("1000")},
			{User: "bob", UID: 1001, Service: "cron", Since: at(5), PID: 40, Namespace: 7, Places: private("1001")},
			{User: "bob", UID: 1001, Service: "su", Since: at(6), PID: 50, Namespace: 8, Places: private("1001"), Why: "another configuration"},
		},
		Instances: []inventory.Instance{
			{User: "carol", UID: 1002, Target: "/tmp", Kind: inventory.Directory, Host: "/tmp/gotmpns-5e0c1a7b/1002", Usage: instance.Usage{Bytes: 1 << 30}},
			{User: "alice", UID: 1000, Target: "/tmp", Kind: inventory.Directory, Host: "/tmp/gotmpns-5e0c1a7b/1000", Usage: instance.Usage{Bytes: 5 << 30}},
			{User: "bob", UID: 1001, Target: "/tmp", Kind: inventory.Directory, Host: "/tmp/gotmpns-5e0c1a7b/1001"},
		},
	}
}

func status(t *testing.T, inv inventory.Inventory, key string) string {
	t.Helper()
	sortInventory(&inv, key)
	var out strings.Builder
	if err := printInventory(&out, inv); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > 81 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
	return out.String()
}

func TestStatusIsGroupedByUserAndNamespace(t *testing.T) {
	want := `USER   SERVICE       SINCE                PID      NAMESPACE
alice  sshd          2026-11-25 09:02:00  30       9
    /tmp  /tmp/gotmpns-5e0c1a7b/1000
bob    sshd          2026-11-25 09:01:00  20       7
       cron          2026-11-25 09:05:00  40
    /tmp  /tmp/gotmpns-5e0c1a7b/1001
       su            2026-11-25 09:06:00  50       8
    /tmp  /tmp/gotmpns-5e0c1a7b/1001
    own namespace: another configuration
carol  systemd-user  2026-11-25 09:03:00  4123456  4026532999
    /tmp  /tmp/gotmpns-5e0c1a7b/1002

INSTANCE OF  TARGET  KIND       SIZE  ON THE HOST
alice        /tmp    directory  5.0G  /tmp/gotmpns-5e0c1a7b/1000
bob          /tmp    directory  0     /tmp/gotmpns-5e0c1a7b/1001
carol        /tmp    directory  1.0G  /tmp/gotmpns-5e0c1a7b/1002
`
	if diff := cmp.Diff(want, status(t, people(), byUser)); diff != "" {
		t.Error(diff)
	}
}

func TestStatusInOtherOrders(t *testing.T) {
	for key, want := range map[string][2]string{ // users of sessions, and of instances
		bySize:  {"alice carol bob", "alice carol bob"},
		bySince: {"bob alice carol", "bob alice carol"},
	} {
		sessions, instances, _ := strings.Cut(status(t, people(), key), "\n\n")
		var users []string
		for line := range strings.Lines(sessions) {
			if first, _, _ := strings.Cut(line, " "); first != "" && first != "USER" {
				users = append(users, first)
			}
		}
		var owners []string
		for line := range strings.Lines(instances) {
			if first, _, _ := strings.Cut(line, " "); first != "INSTANCE" {
				owners = append(owners, first)
			}
		}
		if got := [2]string{strings.Join(users, " "), strings.Join(owners, " ")}; got != want {
			t.Errorf("by %s: %q, want %q", key, got, want)
		}
	}
}
