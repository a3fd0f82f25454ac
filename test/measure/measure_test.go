package main

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sourcesFrom(t *testing.T, texts map[string]string) sources {
	t.Helper()
	s := sources{texts, token.NewFileSet(), map[string]*ast.File{}}
	if err := s.parse(); err != nil {
		t.Fatal(err)
	}
	return s
}

const example = `package a

import "gotmpns/internal/b"

// Used is used.
func Used(n b.Named) int {
	help()
	return openBelow()
}

func Unused() {}
`

func TestNamesThatNoOtherPackageUsesAreFound(t *testing.T) {
	s := sourcesFrom(t, map[string]string{
		"internal/a/a.go":      example,
		"internal/a/other.go":  "package a\n\nfunc help() {}\n\nfunc openBelow() int { return 0 }\n",
		"internal/b/b.go":      "package b\n\ntype Named struct{ field Mentioned }\n\ntype Mentioned int\n\nconst Limit = 1\n\nconst (\n\tOne = iota\n\tTwo\n)\n",
		"internal/a/a_test.go": "package a_test\n\nimport \"gotmpns/internal/a\"\n\nvar _ = a.Unused\n",
		"cmd/main.go":          "package main\n\nimport other \"gotmpns/internal/a\"\nimport \"gotmpns/internal/b\"\n\nfunc main() { other.Used(b.One) }\n",
	})
	count, unused := s.exportedNames()
	if diff := cmp.Diff([]name{{"internal/a", "Unused"}, {"internal/b", "Limit"}}, unused, cmp.AllowUnexported(name{})); diff != "" || count != 7 {
		t.Errorf("%d exported; %s", count, diff)
	}
	shared := s.sharedFunctions()
	want := []name{{"internal/a", "Used"}, {"internal/a", "help"}, {"internal/a", "openBelow"}}
	if diff := cmp.Diff(want, shared, cmp.AllowUnexported(name{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[:2], withOneWord(shared), cmp.AllowUnexported(name{})); diff != "" {
		t.Error(diff)
	}
}

func TestFunctionsOfBothLanguagesHaveTheirLengths(t *testing.T) {
	s := sourcesFrom(t, map[string]string{
		"internal/a/a.go": example,
		"c/a.c": `int declared(int a,
	     int b);
static const int numbers[] = {1, 2};

static int first(int a,
		 int b)
{
	if (a) {
	}
	return b;
}
struct plain {
	int n;
};

int second(void)
{
	return 1;
}
`})
	if _, functions := s.lengths("go", false); !cmp.Equal(functions, []int{1, 4}) {
		t.Errorf("of Go: %v", functions)
	}
	want := []function{{5, 7}, {16, 4}}
	if got := s.functionsIn("c/a.c"); !cmp.Equal(got, want, cmp.AllowUnexported(function{})) {
		t.Errorf("of C: %v, not %v", got, want)
	}
}

func TestLinesThatAreInTwoPlacesAreFound(t *testing.T) {
	const same = "\ta()\n\n\tb() // b\n\t}\n\tc()\n\td()\n\te()\n\tf()\n"
	s := sourcesFrom(t, map[string]string{
		"internal/a/a.go": "package a\n\nfunc one() {\n\t{" + same + "}\n",
		"internal/b/b.go": "package b\n\nfunc two() {\n\tx()\n\t{" + same + "}\n",
		"internal/c/c.go": "package c\n\nfunc three() {\n\t{" + strings.Replace(same, "c()", "other()", 1) + "}\n",
	})
	found := s.duplicates(false)
	if len(found) != 2*window || !strings.HasPrefix(found[0], "internal/a/a.go:004: ") {
		t.Errorf("%d lines: %q", len(found), found)
	}
	if found := s.duplicates(true); found != nil {
		t.Errorf("in tests: %q", found)
	}
}

func TestWordsOfNamesAreCounted(t *testing.T) {
	for ident, want := range map[string]int{"open": 1, "Open": 1, "openBelow": 2, "parseURL": 2, "IDs": 1, "readNextLine": 3} {
		if got := words(ident); got != want {
			t.Errorf("%s: %d words, not %d", ident, got, want)
		}
	}
}

func TestCommentsOfBothLanguagesAreRead(t *testing.T) {
	s := sourcesFrom(t, map[string]string{
		"internal/a/a.go": "package a\n\n// Nobody is\n// told.\nvar a = \"not a comment\"\n",
		"c/a.c":           "/*\n * Nobody is\n * told.\n */\nint a; /* b */\n",
	})
	texts := s.textsByKind()
	for kind, name := range map[string]string{"comments of Go": "internal/a/a.go", "comments of C": "c/a.c"} {
		if got := strings.Join(strings.Fields(texts[kind][name]), " "); !strings.HasPrefix(got, "Nobody is told.") || strings.Contains(got, "not a comment") {
			t.Errorf("%s: %q", kind, got)
		}
	}
}
