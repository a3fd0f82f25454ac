package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"gotmpns/internal/inventory"
)

// sample is a value of a metric, with the labels that tell it from others.
type sample struct {
	labels string
	value  uint64
}

// printMetrics prints the inventory as OpenMetrics text.
func printMetrics(out io.Writer, inv inventory.Inventory) error {
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
	for _, m := range []struct {
		name, unit, help string
		samples          []sample
	}{
		{"gotmpns_sessions", "", "Open sessions with private directories.", sorted(sessions)},
		{"gotmpns_namespaces", "", "Mount namespaces of these sessions.", []sample{{"", uint64(len(namespaces))}}},
		{"gotmpns_instances", "", "Private directories, in use or waiting for the next login.", sorted(instances)},
		{"gotmpns_instances_bytes", "bytes", "Size of the private directories.", sorted(bytes)},
		{"gotmpns_ended_records", "", "Records of ended sessions.", []sample{{"", uint64(inv.Ended)}}},
		{"gotmpns_orphaned_bases", "", "Directories that look like a base and are not in use.", []sample{{"", uint64(len(inv.Strays))}}},
	} {
		fmt.Fprintf(out, "# TYPE %s gauge\n", m.name)
		if m.unit != "" {
			fmt.Fprintf(out, "# UNIT %s %s\n", m.name, m.unit)
		}
		fmt.Fprintf(out, "# HELP %s %s\n", m.name, m.help)
		for _, s := range m.samples {
			fmt.Fprintf(out, "%s%s %d\n", m.name, s.labels, s.value)
		}
	}
	_, err := fmt.Fprintln(out, "# EOF")
	return err
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
	slices.SortFunc(samples, func(a, b sample) int { return cmp.Compare(a.labels, b.labels) })
	return samples
}
