package inventory

import (
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"

	"gotmpns/internal/policy"
)

// What a session's table says of the host's.
func TestTheHostsTableBySession(t *testing.T) {
	const private = "41 40 8:1 /tmp/gotmpns-1a2b3c4d/1000 /tmp rw - ext4 /dev/sda1 rw\n"
	for _, c := range []struct {
		name, table string
		shared      bool // /
		points      int
	}{
		{"no session, shared", "40 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n", true, 1},
		{"no session, private", "40 1 8:1 / / rw - ext4 /dev/sda1 rw\n", false, 1},
		{"/ carries /tmp and was shared", "40 1 8:1 / / rw shared:5 master:1 - ext4 /dev/sda1 rw\n" + private, true, 1},
		{"/ carries /tmp and was private", "40 1 8:1 / / rw shared:5 - ext4 /dev/sda1 rw\n" + private, false, 1},
		{"/tmp is a mount, / shared", "40 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n42 40 0:30 / /tmp rw shared:6 - tmpfs tmpfs rw\n" +
			"41 42 0:30 /gotmpns-1a2b3c4d/1000 /tmp rw - tmpfs tmpfs rw\n", true, 2},
		{"another user's", "40 1 8:1 / / rw shared:5 - ext4 /dev/sda1 rw\n" + strings.Replace(private, "1000", "1001", 1), true, 2},
	} {
		table, err := mountinfo.GetMountsFromReader(strings.NewReader(c.table), nil)
		if err != nil {
			t.Fatal(err)
		}
		host := HostTable(1000, policy.Default(), table)
		if host.IsShared("/") != c.shared || len(host) != c.points {
			t.Errorf("%s: shared %t, %d mounts", c.name, host.IsShared("/"), len(host))
		}
	}
}
