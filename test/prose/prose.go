// Package prose finds the words that docs/style.md wants to have replaced, and the
// texts of source files that people read: comments and messages.
package prose

import (
	"errors"
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
)

// Phrase is a word or several, as the table of docs/style.md has it.
type Phrase struct {
	Text    string
	pattern *regexp.Regexp
}

var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// ReadPhrases returns the phrases in the table of a docs/style.md.
func ReadPhrases(style string) ([]Phrase, error) {
	_, table, found := strings.Cut(style, "| not | but |")
	if !found {
		return nil, errors.New("no table of words to replace")
	}
	var phrases []Phrase
	for _, match := range row.FindAllStringSubmatch(table, -1) {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(match[1]), " … ", `( \S+){1,3} `)
		pattern = strings.ReplaceAll(pattern, " ", `[\s#*"]+`)
		phrases = append(phrases, Phrase{match[1], regexp.MustCompile(`(?i)\b` + pattern + `\b`)})
	}
	return phrases, nil
}

// comparative is what makes a sentence fine that has the phrase: "it is no longer needed".
var comparative = regexp.MustCompile(`^\s+(longer|more|less)\b`)

// FindAll returns where the phrase is in a text, also across line ends.
func (p Phrase) FindAll(text string) [][]int {
	var found [][]int
	for _, at := range p.pattern.FindAllStringIndex(text, -1) {
		if !comparative.MatchString(text[at[1]:]) {
			found = append(found, at)
		}
	}
	return found
}

// between separates texts that do not continue each other.
const between = "\n\n.\n\n"

// Strings returns the string literals of a Go file.
func Strings(file *ast.File) string {
	var texts []string
	ast.Inspect(file, func(node ast.Node) bool {
		if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if s, err := strconv.Unquote(literal.Value); err == nil {
				texts = append(texts, s)
			}
		}
		return true
	})
	return strings.Join(texts, between)
}

// Comments returns the comments of a Go file that was parsed with parser.ParseComments.
func Comments(file *ast.File) string {
	var texts []string
	for _, group := range file.Comments {
		texts = append(texts, group.Text())
	}
	return strings.Join(texts, between)
}

var (
	commentOfC = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*`)
	marksOfC   = regexp.MustCompile(`(?m)^\s*/?\*+/?|\*/|^//`)
)

// CommentsOfC returns the comments of a C file.
func CommentsOfC(source string) string {
	texts := commentOfC.FindAllString(source, -1)
	for i, text := range texts {
		texts[i] = marksOfC.ReplaceAllString(text, "")
	}
	return strings.Join(texts, between)
}
