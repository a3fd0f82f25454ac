package artifacts

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gotmpns/internal/cli"
)

func text(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// firstOf is the first submatch of the pattern in a file.
func firstOf(t *testing.T, name, pattern string) string {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(text(t, name))
	if match == nil {
		t.Fatalf("%s has nothing like %q", name, pattern)
	}
	return match[1]
}

func TestTheVersionIsTheSameEverywhere(t *testing.T) {
	for name, pattern := range map[string]string{
		"CHANGELOG.md":                    `(?m)^## (\S+)`,
		"debian/changelog":                `^pam-gotmpns \((\S+)\)`,
		"docs/packaging/PKGBUILD":         `(?m)^pkgver=(\S+)$`,
		"docs/packaging/pam_gotmpns.spec": `(?m)^Version:\s+(\S+)$`,
	} {
		if got := firstOf(t, name, pattern); got != cli.Version {
			t.Errorf("%s begins with %s, the version is %s", name, got, cli.Version)
		}
	}
}

func all(text, pattern string) []string {
	var found []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return found
}

func TestEveryDependencyIsExplainedAndNoOther(t *testing.T) {
	required := all(text(t, "go.mod"), `(?m)^\t(\S+) v\S+`)
	explained := all(text(t, "docs/dependencies.md"), `(?m)^\| (\S+\.\S+/\S+) \|.*\|.*\|.*\|$`)
	if diff := cmp.Diff(required, explained); diff != "" {
		t.Errorf("go.mod (-) and docs/dependencies.md (+) differ:\n%s", diff)
	}
}
