package runcli

import (
	"slices"
	"testing"
)

func TestSplitAtColons(t *testing.T) {
	for in, want := range map[string][]string{
		"":          {""},
		"a":         {"a"},
		"a:b":       {"a", "b"},
		"a:b:c":     {"a", "b", "c"},
		`a\:b:c`:    {"a:b", "c"},
		`a\\:c`:     {`a\`, "c"},
		`a\b:c\`:    {`a\b`, `c\`},
		`\\\::\:\\`: {`\:`, `:\`},
		":":         {"", ""},
	} {
		if got := splitAtColons(in); !slices.Equal(got, want) {
			t.Errorf("splitAtColons(%q) = %q, want %q", in, got, want)
		}
	}
}
