package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A document is read in two steps. Here it becomes a tree of keys and values with
// the line of each; what keys there are, and that none is set twice, is for the
// second step, in decode.go. go-toml's parser does the syntax. Its decoder is not
// used, since it matches keys without regard to case and reports neither a line
// for each mistake nor more than one of them.

// table is a list of keys: the top of the file, a [[table]], or a { table }.
type table struct {
	name    string // as it is written, for errors; empty for the top of the file
	line    int
	entries []entry
}

// entry is a key with its value, or a table with its header.
type entry struct {
	key   string // with its dots, if it has any
	line  int
	value value
}

type value struct {
	kind  unstable.Kind
	line  int
	text  string  // of a string; of a number, as it is written
	list  []value // of an array
	table table   // of any kind of table
}

// kinds says what was found instead of what was expected.
var kinds = map[unstable.Kind]string{
	unstable.String: "a string", unstable.Bool: "a boolean", unstable.Integer: "a number", unstable.Float: "a fraction",
	unstable.Array: "a list", unstable.InlineTable: "a table", unstable.Table: "a table", unstable.ArrayTable: "a table",
	unstable.LocalDate: "a date", unstable.LocalTime: "a time", unstable.LocalDateTime: "a date", unstable.DateTime: "a date",
}

func (v value) String() string { return kinds[v.kind] }

// source is a value as it is written, if it is a single one.
func (v value) source() string {
	if v.kind == unstable.String {
		return strconv.Quote(v.text)
	}
	return v.text
}

// parser adds lines to what go-toml's parser finds.
type parser struct {
	unstable.Parser
	newlines []int // their offsets
}

// parseTOML returns the tree of a document. Only its first error is found, since what
// follows it could mean anything.
func parseTOML(text []byte) (table, *syntaxError) {
	if fault := encodingFault(text); fault != nil {
		return table{}, fault
	}
	// With room behind its end, every empty slice of it still knows its offset.
	text = append(make([]byte, 0, len(text)+1), text...)
	p := parser{newlines: newlinesOf(text)}
	p.Reset(text)
	var top table
	current := &top
	for p.NextExpression() {
		node := p.Expression()
		if node.Kind == unstable.KeyValue {
			current.entries = append(current.entries, p.entry(node))
			continue
		}
		top.entries = append(top.entries, p.header(node))
		current = &top.entries[len(top.entries)-1].value.table
	}
	var fault *unstable.ParserError
	if errors.As(p.Error(), &fault) {
		return table{}, explain(text, int(p.Range(fault.Highlight).Offset), fault.Message)
	}
	return top, nil
}

func (p *parser) entry(node *unstable.Node) entry {
	key, line := p.key(node)
	return entry{key: key, line: line, value: p.value(node.Value(), line)}
}

func (p *parser) header(node *unstable.Node) entry {
	key, line := p.key(node)
	name := "[" + key + "]"
	if node.Kind == unstable.ArrayTable {
		name = "[" + name + "]"
	}
	return entry{key: key, line: line, value: value{kind: node.Kind, line: line, table: table{name: name, line: line}}}
}

func (p *parser) key(node *unstable.Node) (key string, line int) {
	var parts []string
	for it := node.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
		line = p.line(it.Node().Raw.Offset)
	}
	return strings.Join(parts, "."), line
}

// value copies a value; line is that of its key, for the kinds without a place.
func (p *parser) value(node *unstable.Node, line int) value {
	v := value{kind: node.Kind, line: line}
	switch node.Kind {
	case unstable.Array:
		for it := node.Children(); it.Next(); {
			v.list = append(v.list, p.value(it.Node(), line))
		}
	case unstable.InlineTable:
		v.table.line = line
		for it := node.Children(); it.Next(); {
			v.table.entries = append(v.table.entries, p.entry(it.Node()))
		}
	case unstable.String:
		v.text, v.line = string(node.Data), p.line(node.Raw.Offset)
	default:
		v.text, v.line = string(node.Data), p.line(p.Range(node.Data).Offset)
	}
	return v
}

func (p *parser) line(offset uint32) int {
	return sort.SearchInts(p.newlines, int(offset)) + 1
}

func newlinesOf(text []byte) []int {
	var offsets []int
	for i, c := range text {
		if c == '\n' {
			offsets = append(offsets, i)
		}
	}
	return offsets
}

// syntaxError is why a document is not TOML.
type syntaxError struct {
	line int
	what string
}

func faultAt(text []byte, offset int, format string, args ...any) *syntaxError {
	return &syntaxError{bytes.Count(text[:offset], []byte("\n")) + 1, fmt.Sprintf(format, args...)}
}

// encodingFault finds what is wrong with the characters themselves.
func encodingFault(text []byte) *syntaxError {
	if bytes.HasPrefix(text, []byte("\ufeff")) {
		return faultAt(text, 0, "the file begins with a byte order mark; save it as UTF-8 without one")
	}
	for offset := 0; offset < len(text); {
		r, size := utf8.DecodeRune(text[offset:])
		switch {
		case r == utf8.RuneError && size == 1:
			return faultAt(text, offset, "this is not UTF-8")
		case unicode.IsControl(r) && !strings.ContainsRune("\t\n\r", r):
			return faultAt(text, offset, "control character %U; remove it", r)
		}
		offset += size
	}
	return nil
}

// reasons are what go-toml says, by a part of it, and what this program says.
// Anything else is reported without a reason.
var reasons = []struct{ theirs, ours string }{
	{"array is incomplete", `the list is not closed; "]" is missing`},
	{"expected character ]", `"]" is missing`},
	{"array elements must be separated", "a comma is missing between two elements of the list, or the string before is not closed"},
	{"array cannot start with comma", "the list begins with a comma"},
	{"inline table is incomplete", `the table is not closed; "}" is missing`},
	{"expected character }", `the table is not closed; "}" is missing`},
	{"expected character ,", "a comma is missing in the table"},
	{"expected = after a key", `"=" is missing after the key`},
	{"expected character =", `"=" is missing after the key`},
	{"cannot have new lines", "the string is not closed; a quotation mark is missing"},
	{"not terminated", "the string is not closed; a quotation mark is missing"},
	{"unterminated", "the string is not closed; a quotation mark is missing"},
	{"invalid escaped character", `unknown escape in a string; write \\ for a backslash`},
	{"need a character after", `a string ends with a backslash; write \\ for a backslash`},
	{"non-hex character", `an escape in a string is not valid; write \\ for a backslash`},
	{"unicode point needs", `an escape in a string is not valid; write \\ for a backslash`},
	{"invalid Unicode code point", "an escape in a string names no character"},
	{"expected newline", "unexpected text after the value; write one key on each line"},
	{"windows new line", "a carriage return without a line feed"},
	{`need a \n after \r`, "a carriage return without a line feed"},
	{"expected value, not eof", "the value is missing"},
	{"start of key", "a key is missing"},
	{"expected key", "a key is missing"},
}

var (
	// unquoted is a key with a value that begins like a word, a path or a size.
	unquoted = lazily(`^\s*([A-Za-z_]+)\s*=\s*((?:[A-Za-z/@~.$]|[0-9]+[A-Za-z%])[^"'#,\[\]{}]*?)\s*(#.*)?$`)
	// unquotedElement is the same in a list, from where it begins.
	unquotedElement = lazily(`^[A-Za-z/@.][^\s"'#,\[\]{}]*`)
	leadingZero     = lazily(`=\s*[+-]?0[0-9_]+\s*(#.*)?$`)
	valueMissing    = lazily(`^[^"'#=]+=\s*(#.*)?$`)
	// assignment is the beginning of a key with its value.
	assignment = lazily(`(?m)^[ \t]*[A-Za-z_."']+[ \t]*=`)
)

// lazily compiles an expression when it is needed: most programs that read a
// configuration find no error in it, and a worker starts with each login.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// explain puts an error of go-toml into our words. What is missing at the end of the
// document is reported where the last key is.
func explain(text []byte, offset int, theirs string) *syntaxError {
	if len(bytes.TrimSpace(text[offset:])) == 0 {
		if all := assignment().FindAllIndex(text, -1); all != nil {
			offset = all[len(all)-1][0]
		}
	}
	line := lineAt(text, offset)
	if word := unquoted().FindSubmatch(line); word != nil && !isBoolean(string(word[2])) {
		return faultAt(text, offset, "%s", quotesMissing(string(word[1]), string(word[2])))
	}
	switch {
	case valueMissing().Match(line):
		return faultAt(text, offset, "the value is missing")
	case leadingZero().Match(line):
		return faultAt(text, offset, "a number begins with 0; remove the leading zero")
	}
	for _, r := range reasons {
		if strings.Contains(theirs, r.theirs) {
			return faultAt(text, offset, "%s", r.ours)
		}
	}
	if word := unquotedElement().Find(text[offset:]); word != nil {
		return faultAt(text, offset, "quotation marks are missing; write %q", word)
	}
	return faultAt(text, offset, `this is not valid TOML; expected KEY = VALUE, [[private]] or [[bind]]`)
}

func isBoolean(word string) bool { return word == "true" || word == "false" }

// quotesMissing knows what other configurations take for booleans.
func quotesMissing(key, word string) string {
	switch strings.ToLower(word) {
	case "true", "yes", "on":
		return fmt.Sprintf("%s = %s is not valid; write %s = true", key, word, key)
	case "false", "no", "off":
		return fmt.Sprintf("%s = %s is not valid; write %s = false", key, word, key)
	}
	return fmt.Sprintf("quotation marks are missing; write %s = %q", key, word)
}

func lineAt(text []byte, offset int) []byte {
	begin := bytes.LastIndexByte(text[:offset], '\n') + 1
	line, _, _ := bytes.Cut(text[begin:], []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r"))
}
