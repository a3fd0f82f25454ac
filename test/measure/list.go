package main

import (
	"fmt"
	"maps"
	"slices"

	"gotmpns/test/prose"
)

// list prints what measure counts in a revision, one finding a line.
func list(revision string, phrases []prose.Phrase) error {
	s, err := parseSources(revision)
	if err != nil {
		return err
	}
	for _, file := range slices.Sorted(maps.Keys(s.all)) {
		for _, f := range s.functionsIn(file) {
			if f.lines > 50 {
				fmt.Printf("%s:%d: a function of %d lines\n", file, f.start, f.lines)
			}
		}
	}
	_, unused := s.exportedNames()
	for _, n := range unused {
		fmt.Printf("%s: %s is not used by another package\n", n.dir, n.ident)
	}
	for _, n := range withOneWord(s.sharedFunctions()) {
		fmt.Printf("%s: %s is called from another file\n", n.dir, n.ident)
	}
	texts := s.textsByKind()
	for _, kind := range kinds {
		for _, file := range slices.Sorted(maps.Keys(texts[kind])) {
			text := texts[kind][file]
			for _, phrase := range phrases {
				for _, at := range phrase.FindAll(text) {
					fmt.Printf("%s: %q in %s: %q\n", file, phrase.Text, kind, text[max(0, at[0]-30):min(len(text), at[1]+20)])
				}
			}
		}
	}
	for _, line := range slices.Concat(s.duplicates(false), s.duplicates(true)) {
		fmt.Println(line)
	}
	return nil
}
