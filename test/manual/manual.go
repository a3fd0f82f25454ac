// Package manual reads the manual pages of docs, for the tests that hold them
// against what they describe.
package manual

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Page is a page as its headings have it: what the list items of each section
// (.Sh) or subsection (.Ss) begin with, by the heading's words.
type Page map[string][]string

// Read reads docs/NAME of the project that a package is in, two levels down.
func Read(t *testing.T, name string) Page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", name))
	if err != nil {
		t.Fatal(err)
	}
	page, heading := Page{}, ""
	for line := range strings.Lines(string(text)) {
		macro, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch macro {
		case ".Sh", ".Ss":
			heading = rest
			page[heading] = nil
		case ".It":
			page[heading] = append(page[heading], rest)
		}
	}
	return page
}

// Items returns what follows a macro in the items under a heading, without the
// arguments that follow it: of ".It Fl -json" that is "-json" for "Fl".
func (p Page) Items(heading, macro string) []string {
	var names []string
	for _, item := range p[heading] {
		words := strings.Fields(item)
		if len(words) > 1 && words[0] == macro {
			names = append(names, words[1])
		}
	}
	return names
}
