package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"gotmpns/internal/counters"
	"gotmpns/internal/inventory"
)

// sample is a value of a metric, with what follows the metric's name.
type sample struct {
	suffix string // such as {kind="tmpfs"} or _total
	value  any
}

// metric is a family of samples.
type metric struct {
	name, kind, unit, help string
	samples                []sample
}

// printMetrics prints the inventory and the counters of the broker as OpenMetrics
// text.
func printMetrics(out io.Writer, inv inventory.Inventory, counted counters.Values) error {
	for _, m := range append(inventoryMetrics(inv), brokerMetrics(counted)...) {
		fmt.Fprintf(out, "# TYPE %s %s\n", m.name, m.kind)
		if m.unit != "" {
			fmt.Fprintf(out, "# UNIT %s %s\n", m.name, m.unit)
		}
		fmt.Fprintf(out, "# HELP %s %s\n", m.name, m.help)
		for _, s := range m.samples {
			fmt.Fprintf(out, "%s%s %v\n", m.name, s.suffix, s.value)
		}
	}
	_, err := fmt.Fprintln(out, "# EOF")
	return err
}

func inventoryMetrics(inv inventory.Inventory) []metric {
	type namespace struct {
		uid    uint32
		number uint64
	}
	namespaces := map[namespace]bool{}
	sessions, instances, bytes := map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	for _, s := range inv.Sessions {
		namespaces[namespace{s.UID, s.Namespace}] = true
		sessions[labels("service", s.Service)]++
	}
	for _, i := range inv.Instances {
		key := labels("target", i.Target, "kind", string(i.Kind))
		instances[key]++
		bytes[key] += i.Usage.Bytes
	}
	one := func(n int) []sample { return []sample{{"", n}} }
	return []metric{
		{"gotmpns_sessions", "gauge", "", "Open sessions with private directories.", sorted(sessions)},
		{"gotmpns_namespaces", "gauge", "", "Mount namespaces of these sessions.", one(len(namespaces))},
		{"gotmpns_instances", "gauge", "", "Private directories, in use or waiting for the next login.", sorted(instances)},
		{"gotmpns_instances_bytes", "gauge", "bytes", "Size of the private directories.", sorted(bytes)},
		{"gotmpns_ended_records", "gauge", "", "Records of ended sessions.", one(inv.Ended)},
		{"gotmpns_orphaned_bases", "gauge", "", "Directories that look like a base and are not in use.", one(len(inv.Strays))},
	}
}

// brokerMetrics are counts since the host started. Logins that workers answer are
// not among them.
func brokerMetrics(v counters.Values) []metric {
	refusals := map[string]uint64{}
	for reason, n := range v.Refusals {
		refusals["_total"+labels("reason", reason)] = n
	}
	var durations []sample
	var sum uint64
	for i, n := range v.Buckets {
		sum += n
		bound := "+Inf"
		if i < len(counters.Bounds) {
			bound = strconv.FormatFloat(counters.Bounds[i], 'g', -1, 64)
		}
		durations = append(durations, sample{"_bucket" + labels("le", bound), sum})
	}
	durations = append(durations, sample{"_sum", v.Seconds}, sample{"_count", sum})
	return []metric{
		{"gotmpns_logins", "counter", "", "Logins that the broker has answered.", []sample{{"_total", v.Logins}}},
		{"gotmpns_refusals", "counter", "", "Logins that the broker has refused.", sorted(refusals)},
		{"gotmpns_handed_over", "counter", "", "Logins that the broker has handed over to workers.", []sample{{"_total", v.HandedOver}}},
		{"gotmpns_removed_instances", "counter", "", "Private directories that the broker has removed.", []sample{{"_total", v.Removed}}},
		{"gotmpns_login_duration_seconds", "histogram", "seconds", "Time that an answer of the broker has taken.", durations},
	}
}

// labels writes pairs of name and value as OpenMetrics has them.
func labels(pairs ...string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	var words []string
	for i := 0; i+1 < len(pairs); i += 2 {
		words = append(words, pairs[i]+`="`+escape.Replace(pairs[i+1])+`"`)
	}
	return "{" + strings.Join(words, ",") + "}"
}

func sorted(values map[string]uint64) []sample {
	samples := make([]sample, 0, len(values))
	for key, value := range values {
		samples = append(samples, sample{key, value})
	}
	slices.SortFunc(samples, func(a, b sample) int { return cmp.Compare(a.suffix, b.suffix) })
	return samples
}
