package config

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"gotmpns/internal/policy"
)

// document is a file as it is written. A pointer tells what is missing from
// what is empty.
type document struct {
	Exempt      *[]string      `toml:"exempt"`
	Propagation *string        `toml:"propagation"`
	Environment *string        `toml:"environment"`
	Private     []privateTable `toml:"private"`
	Bind        []bindTable    `toml:"bind"`
}

type privateTable struct {
	Target  string    `toml:"target"`
	Kind    *string   `toml:"kind"`
	Scope   *string   `toml:"scope"`
	Cleanup *string   `toml:"cleanup"`
	Base    *string   `toml:"base"`
	Size    any       `toml:"size"`
	Inodes  *int64    `toml:"inodes"`
	Share   *[]string `toml:"share"`
	For     *[]string `toml:"for"`
}

type bindTable struct {
	Source    string    `toml:"source"`
	Target    string    `toml:"target"`
	Recursive bool      `toml:"recursive"`
	ReadOnly  bool      `toml:"read_only"`
	For       *[]string `toml:"for"`
}

// file is a document that makes sense by itself.
type file struct {
	path                  string
	exempt                *[]policy.Rule
	propagation           policy.Propagation
	environment           policy.Environment
	private               []policy.Private
	privateFrom, bindFrom []origin
	bind                  []policy.Bind
}

// decode reads one file; the error has every mistake in it.
func decode(path string, text []byte) (*file, error) {
	var doc document
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&doc)
	if err != nil {
		return nil, explain(path, text, err)
	}
	r := reader{path: path, lines: locate(text)}
	f := r.read(doc)
	return f, r.errors.orNil()
}

// explain puts go-toml's errors into our words, with their lines.
func explain(path string, text []byte, err error) error {
	var problems Errors
	var strict *toml.StrictMissingError
	var decoding *toml.DecodeError
	switch {
	case errors.As(err, &strict):
		for _, e := range strict.Errors {
			line, _ := e.Position()
			key := strings.Join(e.Key(), ".")
			problems.add(origin{path, line}, "unknown key %q%s", last(e.Key()), suggestion(key))
		}
	case errors.As(err, &decoding):
		line, column := decoding.Position()
		what := inOurWords(strings.TrimPrefix(decoding.Error(), "toml: "))
		problems.add(origin{path, line}, "%s, at column %d", what, column)
	default:
		problems.add(origin{file: path}, "%s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	return &problems
}

// inOurWords takes the names of Go's types out of an error.
func inOurWords(what string) string {
	if what == "cannot store a table in a slice" {
		return "this table needs two brackets on each side, as in [[private]]"
	}
	rest, isType := strings.CutPrefix(what, "cannot decode TOML ")
	got, field, found := strings.Cut(rest, " into struct field config.")
	_, kind, _ := strings.Cut(field, " of type ")
	if !isType || !found {
		return what
	}
	wanted, known := map[string]string{
		"*[]string": "a list of strings", "string": "a string", "*string": "a string",
		"bool": "true or false", "*int64": "a whole number",
		"[]config.privateTable": "a table that begins with [[private]]",
		"[]config.bindTable":    "a table that begins with [[bind]]",
	}[kind]
	if !known {
		return what
	}
	return "this is a TOML " + got + ", and has to be " + wanted
}

func last(key toml.Key) string {
	if len(key) == 0 {
		return ""
	}
	return key[len(key)-1]
}

// lines finds where each table and each key of it stands: go-toml tells
// positions with its own errors only.
type lines struct {
	top  map[string]int
	list map[string][]map[string]int // by table, in order; "" is the header
}

func locate(text []byte) lines {
	l := lines{top: map[string]int{}, list: map[string][]map[string]int{}}
	current := l.top
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if name, ok := tableName(line); ok {
			current = map[string]int{"": number}
			l.list[name] = append(l.list[name], current)
			continue
		}
		key, _, found := strings.Cut(line, "=")
		key = strings.Trim(strings.TrimSpace(key), `"'`)
		if _, seen := current[key]; found && !seen && key != "" {
			current[key] = number
		}
	}
	return l
}

func tableName(line string) (string, bool) {
	rest, ok := strings.CutPrefix(line, "[[")
	name, _, closed := strings.Cut(rest, "]]")
	return strings.TrimSpace(name), ok && closed
}

// of returns the line of a key in the n-th table of a name, or of its header.
func (l lines) of(table string, n int, key string) int {
	if n >= len(l.list[table]) {
		return 0 // written as an inline array: the file has to do
	}
	if line, ok := l.list[table][n][key]; ok {
		return line
	}
	return l.list[table][n][""]
}

// parseSize reads "2G" and plain numbers of bytes.
func parseSize(value any) (uint64, string) {
	switch v := value.(type) {
	case nil:
		return 0, ""
	case int64:
		if v <= 0 {
			return 0, "is not a positive number of bytes"
		}
		return uint64(v), ""
	case string:
		return parseSizeText(v)
	}
	return 0, `is neither a number of bytes nor a string like "2G"`
}

// ParseSize reads a size as the configuration has it, such as "2G", into bytes.
func ParseSize(text string) (uint64, error) {
	size, why := parseSizeText(text)
	if why != "" {
		return 0, fmt.Errorf("%q %s", text, why)
	}
	return size, nil
}

func parseSizeText(text string) (uint64, string) {
	if strings.HasSuffix(text, "%") {
		return 0, `is a percentage of the memory, which means something else on each machine; write it as "2G"`
	}
	digits := strings.TrimRight(text, "kKmMgGtT")
	shift, ok := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[strings.ToUpper(text[len(digits):])]
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case !ok || err != nil:
		return 0, `is no size; write a number with K, M, G or T behind it, as in "512M"`
	case n == 0:
		return 0, "is nothing at all"
	case n > 1<<63>>shift:
		return 0, "is larger than any machine"
	}
	return n << shift, ""
}
