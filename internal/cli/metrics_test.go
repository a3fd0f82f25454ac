package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gotmpns/internal/counters"
	"gotmpns/internal/instance"
	"gotmpns/internal/inventory"
)

func TestMetrics(t *testing.T) {
	inv := inventory.Inventory{
		Sessions: []inventory.Session{
			{User: "alice", UID: 1000, Service: "sshd", Namespace: 7}, {User: "alice", UID: 1000, Service: "sshd", Namespace: 7},
			{User: "bob", UID: 1001, Service: `odd"\name`, Namespace: 8},
		},
		Instances: []inventory.Instance{
			{User: "alice", Target: "/tmp", Kind: inventory.Directory, Usage: instance.Usage{Bytes: 100}},
			{User: "bob", Target: "/tmp", Kind: inventory.Directory, Usage: instance.Usage{Bytes: 20}},
			{User: "bob", Target: "/dev/shm", Kind: inventory.Tmpfs, Usage: instance.Usage{Bytes: 3}},
		},
		Ended: 2, Strays: []string{"/tmp/gotmpns-00000000"},
	}
	counted := counters.Values{
		Logins: 5, Refusals: map[string]uint64{"target": 2, "configuration": 1}, HandedOver: 4, Removed: 3, Seconds: 0.0125,
		Buckets: []uint64{3, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0},
	}
	var out strings.Builder
	if err := printMetrics(&out, inv, counted); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, "# HELP") {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
	}
	want := strings.Split(strings.TrimSpace(`
# TYPE gotmpns_sessions gauge
gotmpns_sessions{service="odd\"\\name"} 1
gotmpns_sessions{service="sshd"} 2
# TYPE gotmpns_namespaces gauge
gotmpns_namespaces 2
# TYPE gotmpns_instances gauge
gotmpns_instances{target="/dev/shm",kind="tmpfs"} 1
gotmpns_instances{target="/tmp",kind="directory"} 2
# TYPE gotmpns_instances_bytes gauge
# UNIT gotmpns_instances_bytes bytes
gotmpns_instances_bytes{target="/dev/shm",kind="tmpfs"} 3
gotmpns_instances_bytes{target="/tmp",kind="directory"} 120
# TYPE gotmpns_ended_records gauge
gotmpns_ended_records 2
# TYPE gotmpns_orphaned_bases gauge
gotmpns_orphaned_bases 1
# TYPE gotmpns_logins counter
gotmpns_logins_total 5
# TYPE gotmpns_refusals counter
gotmpns_refusals_total{reason="configuration"} 1
gotmpns_refusals_total{reason="target"} 2
# TYPE gotmpns_handed_over counter
gotmpns_handed_over_total 4
# TYPE gotmpns_removed_instances counter
gotmpns_removed_instances_total 3
# TYPE gotmpns_login_duration_seconds histogram
# UNIT gotmpns_login_duration_seconds seconds
gotmpns_login_duration_seconds_bucket{le="0.0005"} 3
gotmpns_login_duration_seconds_bucket{le="0.001"} 4
gotmpns_login_duration_seconds_bucket{le="0.002"} 4
gotmpns_login_duration_seconds_bucket{le="0.005"} 4
gotmpns_login_duration_seconds_bucket{le="0.01"} 5
gotmpns_login_duration_seconds_bucket{le="0.05"} 5
gotmpns_login_duration_seconds_bucket{le="0.1"} 5
gotmpns_login_duration_seconds_bucket{le="0.5"} 5
gotmpns_login_duration_seconds_bucket{le="1"} 5
gotmpns_login_duration_seconds_bucket{le="5"} 5
gotmpns_login_duration_seconds_bucket{le="+Inf"} 5
gotmpns_login_duration_seconds_sum 0.0125
gotmpns_login_duration_seconds_count 5
# EOF
`), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
