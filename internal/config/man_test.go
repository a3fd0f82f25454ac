package config

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gotmpns/internal/policy"
	"gotmpns/test/manual"
)

// The manual page says of each key that is on the list, and of no other, that it is
// not supported.
func TestTheManualSaysWhatIsNotSupported(t *testing.T) {
	text, err := os.ReadFile("../../docs/gotmpns.toml.5")
	if err != nil {
		t.Fatal(err)
	}
	const phrase = "supported by this version"
	headings := map[string]string{"": "Top of", "private": "Tables [[private]]", "bind": "Tables [[bind]]"}
	for table, structure := range map[string]any{"": &document{}, "private": &privateTable{}, "bind": &bindTable{}} {
		_, section, _ := strings.Cut(string(text), ".Ss "+headings[table])
		section, _, _ = strings.Cut(section, "\n.Ss ")
		for _, key := range keysOf(structure) {
			_, item, found := strings.Cut(section, "\n.It Cm "+key+" ")
			item, _, _ = strings.Cut(item, "\n.It Cm ")
			item = strings.Join(strings.Fields(item), " ")
			listed := slices.ContainsFunc(policy.Unsupported, func(f policy.Feature) bool { return f.Table == table && f.Key == key })
			if says := strings.Contains(item, phrase); found && says != listed {
				t.Errorf("%q of %q: the list says %v, the manual page %v", key, table, listed, says)
			}
		}
	}
}

func TestTheManualHasEveryKeyAndNoOther(t *testing.T) {
	page := manual.Read(t, "gotmpns.toml.5")
	for heading, keys := range map[string][]string{
		"Top": keysOf(&document{}), "[[private]]": keysOf(&privateTable{}), "[[bind]]": keysOf(&bindTable{}),
	} {
		var documented []string
		for found := range page {
			if strings.Contains(found, heading) {
				documented = page.Items(found, "Cm")
			}
		}
		want := slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
			return heading == "Top" && (key == "private" || key == "bind") // the tables
		})
		slices.Sort(want)
		slices.Sort(documented)
		if diff := cmp.Diff(want, documented); diff != "" {
			t.Errorf("%s: keys (-) and gotmpns.toml(5) (+) differ:\n%s", heading, diff)
		}
	}
}
