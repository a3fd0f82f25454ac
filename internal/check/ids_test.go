package check

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ids finds the ids of findings in the source that have one of the levels, separated by "|".
func ids(t *testing.T, levels string) []string {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	id := regexp.MustCompile(`(?:"([a-z]+(?:-[a-z]+)*)", (?:` + levels + `),|(?:problem|notice)\("([a-z-]+)"|"(leftover-[a-z]+)")`)
	var found []string
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range id.FindAllStringSubmatch(string(text), -1) {
			found = append(found, match[1]+match[2]+match[3])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// Scripts of administrators depend on the ids, so the manual lists them.
func TestTheManualListsEveryID(t *testing.T) {
	text, err := os.ReadFile("../../docs/gotmpns.1")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "where it is about one:\n")
	list, _, _ = strings.Cut(list, "\n.It ")
	var listed []string
	for line := range strings.Lines(list) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == ".Li" {
			listed = append(listed, words[1])
		}
	}
	if diff := cmp.Diff(ids(t, "OK|Notice|Problem"), listed); diff != "" {
		t.Errorf("the source (-) and gotmpns(1) (+) differ:\n%s", diff)
	}
}
