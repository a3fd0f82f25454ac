package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"gotmpns/internal/policy"
)

// document is a file as it is written. The tags of these structures are the keys
// that there are.
type document struct {
	Exempt      setting[[]value]     `toml:"exempt"`
	ExemptView  setting[string]      `toml:"exempt_view"`
	Propagation setting[string]      `toml:"propagation"`
	MountPoints setting[string]      `toml:"mount_points"`
	Environment setting[string]      `toml:"environment"`
	Private     tables[privateTable] `toml:"private"`
	Bind        tables[bindTable]    `toml:"bind"`
}

type privateTable struct {
	Target  setting[string]  `toml:"target"`
	Kind    setting[string]  `toml:"kind"`
	Scope   setting[string]  `toml:"scope"`
	Cleanup setting[string]  `toml:"cleanup"`
	Base    setting[string]  `toml:"base"`
	Size    setting[value]   `toml:"size"`
	Inodes  setting[int64]   `toml:"inodes"`
	Share   setting[[]value] `toml:"share"`
	For     setting[[]value] `toml:"for"`
}

type bindTable struct {
	Source    setting[string]  `toml:"source"`
	Target    setting[string]  `toml:"target"`
	Recursive setting[bool]    `toml:"recursive"`
	ReadOnly  setting[bool]    `toml:"read_only"`
	For       setting[[]value] `toml:"for"`
}

// keysOf returns the keys of a pointer to one of the structures, in order.
func keysOf(structure any) []string {
	of := reflect.TypeOf(structure).Elem()
	keys := make([]string, 0, of.NumField())
	for i := range of.NumField() {
		keys = append(keys, of.Field(i).Tag.Get("toml"))
	}
	return keys
}

// setter takes the value of its key from a document, and reports one that is of
// another type to r.
type setter interface{ set(r *reader, e entry) }

// setting is a key's value with its line, which is 0 if the key is not set. A
// []value has strings only; a value can be of any type.
type setting[T any] struct {
	value T
	line  int
}

func (s *setting[T]) isSet() bool { return s.line > 0 }

func (s *setting[T]) set(r *reader, e entry) {
	expected, found := "", e.value
	switch to := any(&s.value).(type) {
	case *string:
		expected = "a string"
		*to = e.value.text
		if e.value.kind == unstable.String {
			expected = ""
		}
	case *[]value:
		expected = "a list of strings"
		*to = e.value.list
		if e.value.isListOf(unstable.String) {
			expected = ""
		} else if i := slices.IndexFunc(e.value.list, isNoString); i >= 0 {
			found = e.value.list[i]
		}
	case *bool:
		expected = "true or false"
		*to = e.value.text == "true"
		if e.value.kind == unstable.Bool {
			expected = ""
		}
	case *int64:
		var ok bool
		if *to, ok = r.number(e); !ok {
			return
		}
	case *value:
		*to = e.value
	}
	if expected != "" {
		r.errorf(found.line, "%s: expected %s, found %s", e.key, expected, found)
		return
	}
	s.line = e.line
}

func isNoString(v value) bool { return v.kind != unstable.String }

func (v value) isListOf(kind unstable.Kind) bool {
	for _, element := range v.list {
		if element.kind != kind {
			return false
		}
	}
	return v.kind == unstable.Array
}

// number reads an integer, of which the parser has only seen that it looks like one.
func (r *reader) number(e entry) (int64, bool) {
	if e.value.kind != unstable.Integer {
		r.errorf(e.value.line, "%s: expected a number, found %s", e.key, e.value)
		return 0, false
	}
	n, fault := parseInteger(e.value.text)
	if fault != "" {
		r.errorf(e.value.line, "%s = %s %s", e.key, e.value.text, fault)
	}
	return n, fault == ""
}

func parseInteger(text string) (n int64, fault string) {
	digits := strings.TrimLeft(text, "+-")
	if len(digits) > 1 && digits[0] == '0' && '0' <= digits[1] && digits[1] <= '9' {
		return 0, "begins with 0; remove the leading zero" // the parser sees it without a sign only
	}
	n, err := strconv.ParseInt(text, 0, 64)
	switch {
	case err == nil:
		return n, ""
	case strings.HasPrefix(text, "-"):
		return 0, "is not a positive number"
	case strings.Trim(digits, "0123456789_abcdefABCDEFxo") == "":
		return 0, "is too large"
	}
	return 0, "is not a valid number"
}

// tables is what a document has of one kind of table: [[name]], as often as there
// are any, or name = [] for none.
type tables[T any] struct {
	all   []T
	lines []int
	isSet bool
}

func (t *tables[T]) set(r *reader, e entry) {
	t.isSet = true
	switch {
	case e.value.kind == unstable.ArrayTable:
		t.add(r, e.value.table)
	case e.value.kind == unstable.Table:
		r.errorf(e.line, "[%s] needs two brackets on each side: [[%s]]", e.key, e.key)
	case e.value.isListOf(unstable.InlineTable):
		for _, element := range e.value.list {
			element.table.name = "[[" + e.key + "]]"
			t.add(r, element.table)
		}
	default:
		r.errorf(e.value.line, "%s: expected tables that begin with [[%s]], found %s", e.key, e.key, e.value)
	}
}

func (t *tables[T]) add(r *reader, from table) {
	var one T
	r.fill(from, &one)
	t.all = append(t.all, one)
	t.lines = append(t.lines, from.line)
}

// file is a document that makes sense by itself.
type file struct {
	path                string
	exempt              *[]policy.Rule
	exemptView          policy.ExemptView
	propagation         policy.Propagation
	mountPoints         policy.MountPoints
	environment         policy.Environment
	hasPrivate, hasBind bool // there are tables of that kind, or an empty list of them
	private             []placed[policy.Private]
	bind                []placed[policy.Bind]
}

// decode reads one file; the error is an [*Errors].
func decode(path string, text []byte) (*file, error) {
	r := reader{path: path}
	top, fault := parse(text)
	if fault != nil {
		r.errorf(fault.line, "%s", fault.what)
		return nil, r.errors.orNil()
	}
	var doc document
	r.fill(top, &doc)
	if len(r.errors.Problems) > 0 { // half of the keys would give more errors than there are
		return nil, r.errors.orNil()
	}
	f := r.read(doc)
	return f, r.errors.orNil()
}

// fill sets the fields of the structure into from a table, and reports keys that
// there are not, and those that are set twice.
func (r *reader) fill(from table, into any) {
	first := map[string]entry{}
	for _, e := range from.entries {
		earlier, repeated := first[e.key]
		switch {
		case !repeated:
			first[e.key] = e
		case earlier.value.kind != unstable.ArrayTable || e.value.kind != unstable.ArrayTable:
			r.errorf(e.line, "duplicate key %q; it is already set on line %d", e.key, earlier.line)
			continue
		}
		field := fieldFor(into, e.key)
		switch {
		case field == nil:
			r.errorf(e.line, "%s", unknown(from, e, into))
		case policy.IsUnsupported(strings.Trim(from.name, "[]"), e.key, e.value.text):
			r.errorf(e.line, "%s is not supported by this version", unsupported(e))
		default:
			field.set(r, e)
		}
	}
}

// unsupported names a key with its value, if that is a single one.
func unsupported(e entry) string {
	if e.value.text == "" {
		return e.key
	}
	return e.key + " = " + e.value.source()
}

// fieldFor returns the field of the structure into that a key sets, or nil.
func fieldFor(into any, key string) setter {
	structure := reflect.ValueOf(into).Elem()
	for i := range structure.NumField() {
		if structure.Type().Field(i).Tag.Get("toml") == key {
			return structure.Field(i).Addr().Interface().(setter)
		}
	}
	return nil
}

// parseSize reads "2G" and plain numbers of bytes.
func parseSize(v value) (uint64, string) {
	switch v.kind {
	case unstable.String:
		return parseSizeText(v.text)
	case unstable.Integer:
		n, fault := parseInteger(v.text)
		switch {
		case fault != "":
			return 0, fault
		case n == 0:
			return 0, "must not be zero"
		case n < 0:
			return 0, "is not a positive number of bytes"
		}
		return uint64(n), ""
	}
	return 0, fmt.Sprintf(`is %s; expected a number of bytes or a string like "2G"`, v)
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
	isNumber := digits != "" && strings.Trim(digits, "0123456789") == ""
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case !ok || !isNumber:
		return 0, `is not a valid size; use a number followed by K, M, G or T, as in "512M"`
	case err != nil || n > 1<<63>>shift:
		return 0, "is too large"
	case n == 0:
		return 0, "must not be zero"
	}
	return n << shift, ""
}
