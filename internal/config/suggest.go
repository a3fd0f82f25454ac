package config

import "strings"

// The keys that there are; a test holds them against the structures.
var (
	topKeys     = []string{"exempt", "propagation", "environment", "private", "bind"}
	privateKeys = []string{"target", "kind", "scope", "cleanup", "base", "size", "inodes", "share", "for"}
	bindKeys    = []string{"source", "target", "recursive", "read_only", "for"}
)

// suggestion helps with an unknown key, given with its tables ("private.targte").
func suggestion(key string) string {
	table, name, nested := strings.Cut(key, ".")
	known := topKeys
	switch {
	case nested && table == "private":
		known = privateKeys
	case nested && table == "bind":
		known = bindKeys
	case !nested:
		name = key
	}
	if hint := didYouMean(name, known); hint != "" {
		return hint
	}
	return "; known here are " + strings.Join(known, ", ")
}

// didYouMean names the word that is at most two slips away.
func didYouMean(word string, known []string) string {
	const slips, longest = 2, 32 // a word longer than every key has no neighbour
	if len(word) > longest {
		return ""
	}
	best, found := slips+1, ""
	for _, candidate := range known {
		if d := distance(word, candidate); d < best {
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
