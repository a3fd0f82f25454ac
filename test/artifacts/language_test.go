package artifacts

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// stilted returns the words of docs/style.md that are not to come back, each as a
// pattern that finds it across line ends.
func stilted(t *testing.T) map[string]*regexp.Regexp {
	t.Helper()
	_, table, found := strings.Cut(text(t, "docs/style.md"), "| not | but |")
	if !found {
		t.Fatal("docs/style.md has no table of words")
	}
	patterns := map[string]*regexp.Regexp{}
	for _, phrase := range all(table, "(?m)^\\| `([^`]+)` \\|") {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(phrase), " … ", `( \S+){1,3} `)
		pattern = strings.ReplaceAll(pattern, " ", `[\s#*"]+`)
		patterns[phrase] = regexp.MustCompile(`(?i)\b` + pattern + `\b`)
	}
	if len(patterns) < 30 {
		t.Fatalf("docs/style.md has only %d words", len(patterns))
	}
	return patterns
}

// comparative follows "it is no" in a sentence that is fine: "it is no longer needed".
var comparative = regexp.MustCompile(`^\s+(longer|more|less)\b`)

// isProse says that a file is written for users or maintainers.
func isProse(name string) bool {
	switch top, _, below := strings.Cut(name, "/"); {
	case name == "docs/style.md", name == "debian/copyright", strings.HasSuffix(name, ".svg"):
		return false
	case name == "Makefile", name == "internal/config/gotmpns.toml":
		return true
	case below:
		return top == "docs" || top == "debian"
	}
	return strings.HasSuffix(name, ".md")
}

// textsOfTheCommand returns the strings in the sources of the command: its help, its
// errors and what it prints.
func textsOfTheCommand(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../internal/cli/*.go")
	if err != nil || files == nil {
		t.Fatalf("no sources of the command: %v", err)
	}
	texts := map[string]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		var strs []string
		ast.Inspect(syntax, func(node ast.Node) bool {
			if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if s, err := strconv.Unquote(literal.Value); err == nil {
					strs = append(strs, s)
				}
			}
			return true
		})
		texts[strings.TrimPrefix(file, "../../")] = strings.Join(strs, "\n\n.\n\n")
	}
	return texts
}

func TestStiltedWordsDoNotComeBack(t *testing.T) {
	texts := sources(t, isProse)
	if len(texts) < 30 {
		t.Errorf("only %d texts found", len(texts))
	}
	for name, content := range textsOfTheCommand(t) {
		texts[name] = content
	}
	patterns, total := stilted(t), 0
	for name, content := range texts {
		for phrase, pattern := range patterns {
			for _, at := range pattern.FindAllStringIndex(content, -1) {
				if comparative.MatchString(content[at[1]:]) {
					continue
				}
				total++
				line := 1 + strings.Count(content[:at[0]], "\n")
				t.Errorf("%s:%d: %q; docs/style.md has a better word for %q", name, line, content[at[0]:at[1]], phrase)
			}
		}
	}
	if total > 0 {
		t.Errorf("%d in all", total)
	}
}

func TestStiltedWordsAreFound(t *testing.T) {
	patterns := stilted(t)
	for phrase, texts := range map[string][]string{
		"whoever":         {"Whoever logs in"},
		"is told":         {"an argument is\n# told"},
		"leaves … alone":  {"it leaves the old file alone"},
		"takes … away":    {"takes it away", "takes the user's directory away"},
		"the way back":    {"the\nway back"},
		"given out again": {"are given out again"},
	} {
		for _, text := range texts {
			if patterns[phrase] == nil || !patterns[phrase].MatchString(text) {
				t.Errorf("%q is not found in %q", phrase, text)
			}
		}
	}
	if patterns["mend"].MatchString("a recommendation") {
		t.Error("a part of a word is found")
	}
}

func TestTheTaglineIsTheSameEverywhere(t *testing.T) {
	const tagline = "private /tmp directories for logins"
	for _, name := range []string{"README.md", "docs/pam_gotmpns.8", "debian/control", "docs/style.md", "docs/packaging/pam_gotmpns.spec", "docs/packaging/PKGBUILD"} {
		if !strings.Contains(strings.ToLower(strings.Join(strings.Fields(text(t, name)), " ")), tagline) {
			t.Errorf("%s does not say %q", name, tagline)
		}
	}
	const command = "inspect and manage private /tmp directories"
	for name, content := range map[string]string{"docs/gotmpns.1": text(t, "docs/gotmpns.1"), "internal/cli/cli.go": text(t, "internal/cli/cli.go")} {
		if !strings.Contains(strings.ToLower(content), command) {
			t.Errorf("%s does not say %q", name, command)
		}
	}
}
