package artifacts

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sources returns the texts of the files of the project with a wanted name, without build
// outputs and vendored modules.
func sources(t *testing.T, wanted func(name string) bool) map[string]string {
	t.Helper()
	cmd := exec.Command("find", ".", "(", "-name", ".git", "-o", "-path", "./build", "-o", "-path", "./vendor", ")", "-prune", "-o", "-type", "f", "-printf", `%P\n`)
	cmd.Dir = "../.."
	names, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for name := range strings.Lines(string(names)) {
		name = strings.TrimSpace(name)
		if wanted(name) {
			texts[name] = text(t, name)
		}
	}
	return texts
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

func isCode(name string) bool {
	return slices.Contains([]string{".go", ".c", ".h"}, filepath.Ext(name)) && name != "test/artifacts/cases_test.go"
}

// numbersOfCases returns the numbers of the references in a text: "CASES 12, 13 and 28".
func numbersOfCases(text string) []string {
	var numbers []string
	for _, list := range all(text, `CASES (\d+(?:(?:,| and|, and) \d+)*)`) {
		numbers = append(numbers, regexp.MustCompile(`\d+`).FindAllString(list, -1)...)
	}
	return numbers
}

func TestEveryCaseThatTheSourcesMentionIsListed(t *testing.T) {
	listed := all(text(t, "docs/cases.md"), `(?m)^(\d+)\. `)
	mentioned := 0
	for name, source := range sources(t, isCode) {
		for _, number := range numbersOfCases(source) {
			mentioned++
			if !slices.Contains(listed, number) {
				t.Errorf("%s mentions CASES %s, which docs/cases.md does not list", name, number)
			}
		}
	}
	if mentioned < 30 {
		t.Errorf("the sources mention only %d cases", mentioned)
	}
}

// declaredTests returns the names of all tests and fuzz targets.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	declared := map[string]bool{}
	for _, source := range sources(t, isTest) {
		for _, test := range all(source, `(?m)^func ((?:Test|Fuzz)\w+)\(`) {
			declared[test] = true
		}
	}
	return declared
}

func TestTheCasesNameTestsThatExist(t *testing.T) {
	page, declared := text(t, "docs/cases.md"), declaredTests(t)
	for _, test := range all(page, "`((?:Test|Fuzz)\\w+)`") {
		if !declared[test] {
			t.Errorf("docs/cases.md names %s, which does not exist", test)
		}
	}
	for _, file := range all(page, "`(\\w+/[^` ]+)`") {
		if _, err := os.Stat("../../" + file); err != nil {
			t.Errorf("docs/cases.md names a file that does not exist: %v", err)
		}
	}
	for _, entry := range regexp.MustCompile(`(?m)^\d+\. `).Split(page, -1)[1:] {
		if !regexp.MustCompile("`((Test|Fuzz)\\w+|\\w+/[^` ]+)`|Not shown").MatchString(entry) {
			t.Errorf("docs/cases.md names no test, and does not say \"Not shown\": %s", entry)
		}
	}
}

func TestCasesAreNumberedWithoutGaps(t *testing.T) {
	numbers := regexp.MustCompile(`(?m)^(\d+)\. `).FindAllStringSubmatch(text(t, "docs/cases.md"), -1)
	for i, number := range numbers {
		if want := i + 1; number[1] != strconv.Itoa(want) {
			t.Fatalf("case %d of docs/cases.md has the number %s", want, number[1])
		}
	}
}

// The recipes of CONTRIBUTING.md name files and tests; those that are renamed are
// renamed there, too.
func TestContributorsFindWhatTheyAreSentTo(t *testing.T) {
	page, declared := text(t, "CONTRIBUTING.md"), declaredTests(t)
	tests := all(page, "`((?:Test|Fuzz)\\w+)`")
	for _, test := range tests {
		if !declared[test] {
			t.Errorf("CONTRIBUTING.md names %s, which does not exist", test)
		}
	}
	files := all(page, `\b((?:c|internal|docs|debian|test)/[\w./-]+\.(?:go|c|h|md|toml|txt|txtar|[158]))\b`)
	for _, file := range files {
		if _, err := os.Stat("../../" + file); err != nil && !strings.Contains(file, "NAME") {
			t.Errorf("CONTRIBUTING.md names a file that does not exist: %v", err)
		}
	}
	if len(tests) < 10 || len(files) < 20 {
		t.Errorf("only %d tests and %d files found", len(tests), len(files))
	}
}
