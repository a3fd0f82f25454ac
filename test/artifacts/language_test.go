package artifacts

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"gotmpns/test/prose"
)

// stilted returns the words of docs/style.md that are not to come back.
func stilted(t *testing.T) []prose.Phrase {
	t.Helper()
	phrases, err := prose.ReadPhrases(text(t, "docs/style.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(phrases) < 30 {
		t.Fatalf("docs/style.md has only %d words", len(phrases))
	}
	return phrases
}

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

// isSource says that the comments and strings in a file are checked. Tests of words have
// the words.
func isSource(name string) bool {
	return isCode(name) && name != "test/artifacts/language_test.go" && !strings.HasPrefix(name, "test/measure/")
}

// textsIn returns the texts of a source file.
func textsIn(t *testing.T, name, content string) string {
	t.Helper()
	if filepath.Ext(name) != ".go" {
		return prose.CommentsOfC(content)
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, content, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return prose.Comments(file) + "\n\n" + prose.Strings(file)
}

func TestStiltedWordsDoNotComeBack(t *testing.T) {
	texts := sources(t, isProse)
	if len(texts) < 30 {
		t.Errorf("only %d texts found", len(texts))
	}
	for name, content := range sources(t, isSource) {
		texts[name] = textsIn(t, name, content)
	}
	phrases, total := stilted(t), 0
	for name, content := range texts {
		for _, phrase := range phrases {
			for _, at := range phrase.FindAll(content) {
				total++
				line := 1 + strings.Count(content[:at[0]], "\n")
				t.Errorf("%s, line %d of its text: %q; docs/style.md has a better word for %q", name, line, content[at[0]:at[1]], phrase.Text)
			}
		}
	}
	if total > 0 {
		t.Errorf("%d in all", total)
	}
}

func TestStiltedWordsAreFound(t *testing.T) {
	patterns := map[string]prose.Phrase{}
	for _, phrase := range stilted(t) {
		patterns[phrase.Text] = phrase
	}
	for phrase, texts := range map[string][]string{
		"whoever":         {"Whoever logs in"},
		"is told":         {"an argument is\n# told"},
		"leaves … alone":  {"it leaves the old file alone"},
		"takes … away":    {"takes it away", "takes the user's directory away"},
		"the way back":    {"the\nway back"},
		"given out again": {"are given out again"},
		"it is no":        {"it is no jail"},
	} {
		for _, text := range texts {
			if patterns[phrase].Text == "" || patterns[phrase].FindAll(text) == nil {
				t.Errorf("%q is not found in %q", phrase, text)
			}
		}
	}
	for phrase, text := range map[string]string{"mend": "a recommendation", "it is no": "it is no longer needed"} {
		if patterns[phrase].FindAll(text) != nil {
			t.Errorf("%q is found in %q", phrase, text)
		}
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
