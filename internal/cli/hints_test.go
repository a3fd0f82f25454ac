package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each hint of an error has a script that follows it ("hint").
func TestEveryHintIsFollowed(t *testing.T) {
	scripts := followedHints(t)
	for _, text := range hintsInSource(t) {
		// What stands between the verbs of a format.
		parts := regexp.MustCompile(`%[a-z]`).Split(text, -1)
		isFollowed := slices.ContainsFunc(scripts, func(script string) bool {
			return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(script, strings.Trim(part, `"`)) })
		})
		if !isFollowed {
			t.Errorf("no script follows the hint %q", text)
		}
	}
}

// followedHints are the texts of hints in the scripts.
func followedHints(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/*/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatal(err)
	}
	var texts []string
	for _, name := range names {
		script, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^hint '((?:[^']|'')*)'`).FindAllStringSubmatch(string(script), -1) {
			texts = append(texts, match[1])
		}
	}
	return texts
}

// hintsInSource are the strings in the last argument of each call of hinted, and in the
// functions that make one.
func hintsInSource(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	makers := map[string]bool{}
	functions := map[string]*ast.FuncDecl{}
	var texts []string
	collect := func(node ast.Node) {
		ast.Inspect(node, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, _ := strconv.Unquote(literal.Value)
				texts = append(texts, text)
			}
			return true
		})
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncDecl); ok {
				functions[f.Name.Name] = f
			}
			call, ok := n.(*ast.CallExpr)
			if !ok || !isNamed(call.Fun, "hinted") {
				return true
			}
			hint := call.Args[len(call.Args)-1]
			if made, ok := hint.(*ast.CallExpr); ok {
				if maker, ok := made.Fun.(*ast.Ident); ok {
					makers[maker.Name] = true
					return true
				}
			}
			collect(hint)
			return true
		})
	}
	for maker := range makers {
		collect(functions[maker].Body)
	}
	return texts
}

func isNamed(e ast.Expr, name string) bool {
	ident, ok := e.(*ast.Ident)
	return ok && ident.Name == name
}
