// Command measure prints what can be counted about the readability of the sources, as a
// table with a column for each revision: lengths of files and functions, exported names,
// names of one word, stilted words, duplicated lines.
//
//	measure [NAME=]REVISION…
//	measure -list REVISION
//
// With -list it prints what it counts in one revision, with the places.
//
// A revision is a git revision of the repository in the working directory, or "." for its
// work tree. NAME is the heading of its column. The list of stilted words is that of the
// docs/style.md in the work tree, for all revisions.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"gotmpns/test/prose"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

// row is a line of the table: a measure, and its value in each revision.
type row struct {
	name   string
	values []string
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("missing argument REVISION; use \".\" for the work tree")
	}
	style, err := os.ReadFile("docs/style.md")
	if err != nil {
		return fmt.Errorf("cannot read the list of stilted words: %w; run it in the root of the repository", err)
	}
	phrases, err := prose.ReadPhrases(string(style))
	if err != nil {
		return fmt.Errorf("docs/style.md: %w", err)
	}
	if args[0] == "-list" {
		return list(strings.Join(args[1:], " "), phrases)
	}
	var table []row
	var headings []string
	for _, arg := range args {
		heading, revision, named := strings.Cut(arg, "=")
		if !named {
			revision = arg
		}
		headings = append(headings, heading)
		sources, err := parseSources(revision)
		if err != nil {
			return err
		}
		column := measure(sources, phrases)
		if table == nil {
			table = make([]row, len(column))
		}
		for i, cell := range column {
			table[i].name = cell.name
			table[i].values = append(table[i].values, cell.value)
		}
	}
	fmt.Printf("| | %s |\n|---|%s\n", strings.Join(headings, " | "), strings.Repeat("---:|", len(headings)))
	for _, r := range table {
		fmt.Printf("| %s | %s |\n", r.name, strings.Join(r.values, " | "))
	}
	return nil
}

// cell is a measure of one revision.
type cell struct{ name, value string }

func measure(s sources, phrases []prose.Phrase) []cell {
	var cells []cell
	add := func(name, format string, values ...any) {
		cells = append(cells, cell{name, fmt.Sprintf(format, values...)})
	}
	for _, part := range []struct {
		name     string
		language string
		test     bool
	}{{"Go", "go", false}, {"Go, tests", "go", true}, {"C", "c", false}, {"C, tests", "c", true}} {
		files, functions := s.lengths(part.language, part.test)
		add(part.name+": files; lines", "%d; %d", len(files), sum(files))
		add(part.name+": longest file; files over 300 lines", "%d; %d", longest(files), over(files, 300))
		add(part.name+": functions; median length; 95th percentile", "%d; %d; %d", len(functions), quantile(functions, 0.5), quantile(functions, 0.95))
		add(part.name+": longest function; functions over 50 lines", "%d; %d", longest(functions), over(functions, 50))
	}
	exported, unused := s.exportedNames()
	add("exported names below internal/; not used by another package", "%d; %d", exported, len(unused))
	shared := s.sharedFunctions()
	oneWord := withOneWord(shared)
	add("functions called from another file; with a name of one word", "%d; %d (%d %%)", len(shared), len(oneWord), 100*len(oneWord)/max(len(shared), 1))
	texts := s.textsByKind()
	for _, kind := range kinds {
		words, stilted := 0, 0
		for _, text := range texts[kind] {
			words += len(strings.Fields(text))
			for _, phrase := range phrases {
				stilted += len(phrase.FindAll(text))
			}
		}
		add(kind+": words; stilted of 1,000", "%d; %.2f", words, 1000*float64(stilted)/float64(max(words, 1)))
	}
	for _, part := range []struct {
		name string
		test bool
	}{{"Go and C", false}, {"Go and C, tests", true}} {
		add(fmt.Sprintf("%s: lines that are also elsewhere, %d or more in a row", part.name, window), "%d", len(s.duplicates(part.test)))
	}
	return cells
}

func sum(numbers []int) int {
	total := 0
	for _, n := range numbers {
		total += n
	}
	return total
}

func over(numbers []int, limit int) int {
	count := 0
	for _, n := range numbers {
		if n > limit {
			count++
		}
	}
	return count
}

// longest returns the last of sorted numbers.
func longest(sorted []int) int { return quantile(sorted, 1) }

func quantile(sorted []int, q float64) int {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}
