package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gotmpns/test/manual"
)

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
