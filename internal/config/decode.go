package config

import (
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
	Notify      setting[bool]        `toml:"notify"`
	Private     tables[privateTable] `toml:"private"`
	Bind        tables[bindTable]    `toml:"bind"`
}

type privateTable struct {
	Target         setting[string]      `toml:"target"`
	Kind           setting[string]      `toml:"kind"`
	Scope          setting[string]      `toml:"scope"`
	Cleanup        setting[string]      `toml:"cleanup"`
	Base           setting[string]      `toml:"base"`
	Size           setting[value]       `toml:"size"`
	Inodes         setting[int64]       `toml:"inodes"`
	Mode           setting[string]      `toml:"mode"`
	Share          setting[[]value]     `toml:"share"`
	Options        setting[[]value]     `toml:"options"`
	Create         setting[createTable] `toml:"create"`
	Skeleton       setting[string]      `toml:"skeleton"`
	OnCreate       setting[string]      `toml:"on_create"`
	By             setting[string]      `toml:"by"`
	Shared         setting[bool]        `toml:"shared"`
	RequireSELinux setting[bool]        `toml:"require_selinux"`
	For            setting[[]value]     `toml:"for"`
	Except         setting[[]value]     `toml:"except"`
}

type createTable struct {
	Mode  setting[string] `toml:"mode"`
	Owner setting[string] `toml:"owner"`
	Group setting[string] `toml:"group"`
}

type bindTable struct {
	Source    setting[string]  `toml:"source"`
	Target    setting[string]  `toml:"target"`
	Recursive setting[bool]    `toml:"recursive"`
	ReadOnly  setting[bool]    `toml:"read_only"`
	Options   setting[[]value] `toml:"options"`
	For       setting[[]value] `toml:"for"`
	Except    setting[[]value] `toml:"except"`
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
	var ok bool
	switch to := any(&s.value).(type) {
	case *string:
		*to, ok = e.value.text, r.expect(e, "a string", e.value.kind == unstable.String)
	case *[]value:
		*to, ok = e.value.list, r.expectStrings(e)
	case *bool:
		*to, ok = e.value.text == "true", r.expect(e, "true or false", e.value.kind == unstable.Bool)
	case *int64:
		*to, ok = r.number(e)
	case *createTable:
		ok = r.expect(e, "a table", e.value.kind == unstable.InlineTable)
		if e.value.table.name = e.key; ok {
			r.fill(e.value.table, to)
		}
	case *value:
		*to, ok = e.value, true
	}
	if ok {
		s.line = e.line
	}
}

// expect reports a value that is not of the type that its key has.
func (r *reader) expect(e entry, expected string, ok bool) bool {
	switch {
	case ok:
	case e.key == "mode" && e.value.kind == unstable.Integer: // in TOML it is decimal
		r.errorf(e.value.line, "%s: expected a string, found a number; write %s = %q", e.key, e.key, e.value.text)
	default:
		r.errorf(e.value.line, "%s: expected %s, found %s", e.key, expected, e.value)
	}
	return ok
}

func (r *reader) expectStrings(e entry) bool {
	found := e.value
	if found.isListOf(unstable.String) {
		return true
	}
	if i := slices.IndexFunc(found.list, isNoString); i >= 0 {
		found = found.list[i]
	}
	r.errorf(found.line, "%s: expected a list of strings, found %s", e.key, found)
	return false
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
	if !r.expect(e, "a number", e.value.kind == unstable.Integer) {
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
	notify              *bool
	hasPrivate, hasBind bool // there are tables of that kind, or an empty list of them
	private             []placed[policy.Private]
	bind                []placed[policy.Bind]
}

// decodeFile reads one file; the error is an [*Errors].
func decodeFile(path string, text []byte) (*file, error) {
	r := reader{path: path}
	top, fault := parseTOML(text)
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
		if field := fieldFor(into, e.key); field != nil {
			field.set(r, e)
		} else {
			r.errorf(e.line, "%s", unknownKey(from, e, into))
		}
	}
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
