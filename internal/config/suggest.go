package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// unknownKey says what is wrong with an entry whose key the structure into does not
// have.
func unknownKey(from table, e entry, into any) string {
	if from.name == "" && (e.value.kind == unstable.Table || e.value.kind == unstable.ArrayTable) {
		return unknownTable(e)
	}
	what := fmt.Sprintf("unknown key %q", e.key)
	known := keysOf(into)
	if i := slices.IndexFunc(known, func(key string) bool { return strings.EqualFold(key, e.key) }); i >= 0 {
		return fmt.Sprintf("%s; did you mean %q?", what, known[i])
	}
	if homes := homesOf(e.key); homes != "" {
		return what + " here; it belongs " + homes
	}
	if hint := didYouMean(e.key, known); hint != "" {
		return what + hint
	}
	return what + "; valid keys are " + strings.Join(known, ", ")
}

func unknownTable(e entry) string {
	what := "unknown table " + e.value.table.name
	if slices.Contains(keysOf(&document{}), e.key) {
		return fmt.Sprintf("%s; %s is a key: write %s = …", what, e.key, e.key)
	}
	return what + "; valid tables are [[private]] and [[bind]]"
}

// homesOf says where a key may be set, or nothing for a key that there is not.
func homesOf(key string) string {
	inPrivate := slices.Contains(keysOf(&privateTable{}), key)
	inBind := slices.Contains(keysOf(&bindTable{}), key)
	switch {
	case slices.Contains(keysOf(&document{}), key):
		return "above the first table of the file"
	case inPrivate && inBind:
		return "in a [[private]] or [[bind]] table"
	case inPrivate:
		return "in a [[private]] table"
	case inBind:
		return "in a [[bind]] table"
	}
	return ""
}

// didYouMean names the word that is at most two slips away, if something of it is
// left by then.
func didYouMean(word string, known []string) string {
	const slips, longest = 2, 32 // a word longer than every key has no neighbour
	if len(word) > longest {
		return ""
	}
	best, found := slips+1, ""
	for _, candidate := range known {
		if d := distance(word, candidate); d < best && d < len(word) {
			best, found = d, candidate
		}
	}
	if found == "" {
		return ""
	}
	return `; did you mean "` + found + `"?`
}

// distance counts insertions, deletions, replacements, and swaps of neighbours.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
