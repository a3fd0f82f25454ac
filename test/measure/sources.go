package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"gotmpns/test/prose"
)

// sources are the files of one revision. The Go files are also parsed, without types, so
// that a revision can be measured whose modules are not here.
type sources struct {
	all    map[string]string
	fset   *token.FileSet
	syntax map[string]*ast.File
}

func parseSources(revision string) (sources, error) {
	texts, err := readRevision(revision)
	if err != nil {
		return sources{}, err
	}
	s := sources{texts, token.NewFileSet(), map[string]*ast.File{}}
	if err := s.parse(); err != nil {
		return sources{}, fmt.Errorf("%s: %w", revision, err)
	}
	return s, nil
}

func (s sources) parse() error {
	for name, text := range s.all {
		if path.Ext(name) != ".go" || strings.HasPrefix(name, "vendor/") {
			continue
		}
		file, err := parser.ParseFile(s.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		s.syntax[name] = file
	}
	return nil
}

// isTest says that a file is not part of the product.
func isTest(name string) bool {
	return strings.HasPrefix(name, "test/") || strings.HasPrefix(name, "c/test/") || strings.HasSuffix(name, "_test.go")
}

func isC(name string) bool { return slices.Contains([]string{".c", ".h"}, path.Ext(name)) }

// isOf says that a file is in the language "go" or "c".
func (s sources) isOf(name, language string) bool {
	if language == "go" {
		return s.syntax[name] != nil
	}
	return isC(name)
}

// lengths returns the sorted numbers of lines of the files and functions in a language.
// Comments count, but not the one before a function.
func (s sources) lengths(language string, test bool) (files, functions []int) {
	for name, text := range s.all {
		if isTest(name) != test || !s.isOf(name, language) {
			continue
		}
		files = append(files, strings.Count(text, "\n"))
		for _, f := range s.functionsIn(name) {
			functions = append(functions, f.lines)
		}
	}
	slices.Sort(files)
	slices.Sort(functions)
	return files, functions
}

// function is where a function starts and how many lines it has.
type function struct{ start, lines int }

func (s sources) functionsIn(name string) []function {
	if isC(name) {
		return functionsOfC(s.all[name])
	}
	if s.syntax[name] == nil {
		return nil
	}
	var functions []function
	for _, decl := range s.syntax[name].Decls {
		if f, ok := decl.(*ast.FuncDecl); ok {
			start, end := s.fset.Position(f.Pos()).Line, s.fset.Position(f.End()).Line
			functions = append(functions, function{start, 1 + end - start})
		}
	}
	return functions
}

// startsFunction and endsFunction match lines in the layout of .clang-format, where the
// braces of a function, and of nothing else that follows parentheses, begin a line.
var startsFunction = regexp.MustCompile(`^[a-zA-Z_][^;={]*\(`)

func functionsOfC(text string) []function {
	var functions []function
	start, inside := 0, false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case inside && line == "}":
			functions = append(functions, function{start, 2 + i - start})
			start, inside = 0, false
		case inside:
		case line == "{":
			inside = start > 0
		case strings.HasSuffix(line, ";"), line == "":
			start = 0
		case start == 0 && startsFunction.MatchString(line):
			start = i + 1
		}
	}
	return functions
}

// kinds are the kinds of text that people read.
var kinds = []string{"documents", "strings of Go", "comments of Go", "comments of Go, tests", "comments of C"}

// textsByKind returns the texts of each kind, by file.
func (s sources) textsByKind() map[string]map[string]string {
	texts := map[string]map[string]string{}
	for _, kind := range kinds {
		texts[kind] = map[string]string{}
	}
	for name, content := range s.all {
		switch file := s.syntax[name]; {
		case isDocument(name):
			texts["documents"][name] = content
		case isC(name):
			texts["comments of C"][name] = prose.CommentsOfC(content)
		case file != nil && isTest(name):
			texts["comments of Go, tests"][name] = prose.Comments(file)
		case file != nil:
			texts["comments of Go"][name] = prose.Comments(file)
			texts["strings of Go"][name] = prose.Strings(file)
		}
	}
	return texts
}

// isDocument says that a file is text for users or maintainers. docs/style.md has the
// words to be replaced, and is none.
func isDocument(name string) bool {
	switch {
	case name == "docs/style.md", name == "debian/copyright", path.Ext(name) == ".svg":
		return false
	case name == "internal/config/gotmpns.toml", strings.HasPrefix(name, "docs/"), strings.HasPrefix(name, "debian/"):
		return true
	}
	return path.Dir(name) == "." && (path.Ext(name) == ".md" || name == "Makefile")
}

// window is how many lines in a row are the same in two places before they count as
// duplicates. Blank lines, comments and lines without a letter are left out.
const window = 6

var letter = regexp.MustCompile(`[A-Za-z]`)

// duplicates returns the lines, as "file:line: text", that are in a window which is also
// elsewhere.
func (s sources) duplicates(test bool) []string {
	windows := map[string][][]line{}
	for _, name := range slices.Sorted(maps.Keys(s.all)) {
		if isTest(name) != test || s.syntax[name] == nil && !isC(name) {
			continue
		}
		lines := normalLines(name, s.all[name])
		for at := 0; at+window <= len(lines); at++ {
			var key strings.Builder
			for _, l := range lines[at : at+window] {
				key.WriteString(l.text + "\n")
			}
			windows[key.String()] = append(windows[key.String()], lines[at:at+window])
		}
	}
	duplicated := map[line]bool{}
	for _, places := range windows {
		for _, lines := range places {
			for _, l := range lines {
				duplicated[l] = duplicated[l] || len(places) > 1
			}
		}
	}
	var found []string
	for l, twice := range duplicated {
		if twice {
			found = append(found, fmt.Sprintf("%s:%03d: also elsewhere: %s", l.file, l.number, l.text))
		}
	}
	slices.Sort(found)
	return found
}

// line is a line of a file, with single spaces.
type line struct {
	file   string
	number int
	text   string
}

// normalLines returns the lines of a file that can be duplicates.
func normalLines(file, text string) []line {
	var lines []line
	for i, raw := range strings.Split(text, "\n") {
		normal := strings.Join(strings.Fields(raw), " ")
		switch {
		case !letter.MatchString(normal), strings.HasPrefix(normal, "//"), strings.HasPrefix(normal, "/*"), strings.HasPrefix(normal, "* "),
			strings.HasPrefix(normal, `"`), strings.HasPrefix(normal, "#include"):
			continue
		}
		lines = append(lines, line{file, i + 1, normal})
	}
	return lines
}
