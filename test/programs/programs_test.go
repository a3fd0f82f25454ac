// Package programs sees that the stories beside it and docs/programs.md name the
// same programs. The stories themselves are run by test/programs/run.
package programs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

var (
	row  = regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\|")
	head = regexp.MustCompile(`\A# packages: [a-z0-9 .+-]+\n(# unpacked: [a-z0-9 .+-]+\n)?# set: (quick|full|desktop)\n#\n# [A-Za-z]`)
)

func TestThePageNamesEachStory(t *testing.T) {
	page, err := os.ReadFile("../../docs/programs.md")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, match := range row.FindAllSubmatch(page, -1) {
		named = append(named, string(match[1]))
	}
	files, err := filepath.Glob("stories/*")
	if err != nil {
		t.Fatal(err)
	}
	var stories []string
	for _, file := range files {
		stories = append(stories, filepath.Base(file))
	}
	for _, name := range stories {
		if !slices.Contains(named, name) {
			t.Errorf("docs/programs.md has no row for the story %s", name)
		}
	}
	for i, name := range named {
		if !slices.Contains(stories, name) {
			t.Errorf("docs/programs.md has a row for %s, which has no story", name)
		}
		if slices.Contains(named[:i], name) {
			t.Errorf("docs/programs.md has two rows for %s", name)
		}
	}
}

// What test/programs/image and run read of a story.
func TestEachStoryHasAHead(t *testing.T) {
	files, err := filepath.Glob("stories/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !head.Match(text) {
			t.Errorf("%s: expected lines with packages, set and a sentence, found %.120q", file, text)
		}
	}
}
