package config

import (
	"strings"
	"testing"
)

// What is not TOML is reported with its line, in our words.
func TestSyntaxErrors(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"no quotation marks":        {"propagation = auto\n", `1: quotation marks are missing; write propagation = "auto"`},
		"a path without them":       {"\n[[private]]\ntarget = /tmp # here\n", `3: quotation marks are missing; write target = "/tmp"`},
		"a size without them":       {"[[private]]\nsize = 2G\n", `2: quotation marks are missing; write size = "2G"`},
		"a rule without them":       {"exempt = [alice]\n", `1: quotation marks are missing; write "alice"`},
		"a boolean in a list":       {"exempt = [True]\n", `1: quotation marks are missing; write "True"`},
		"a negative leading zero":   {"[[private]]\ninodes = -07\n", `2: inodes = -07 begins with 0; remove the leading zero`},
		"a rule among others":       {"exempt = [\n \"a\",\n @staff,\n]\n", `3: quotation marks are missing; write "@staff"`},
		"a boolean of YAML":         {"[[bind]]\nread_only = yes\n", `2: read_only = yes is not valid; write read_only = true`},
		"a boolean of Python":       {"[[bind]]\nrecursive = False\n", `2: recursive = False is not valid; write recursive = false`},
		"a colon":                   {"propagation: \"auto\"\n", `1: "=" is missing after the key`},
		"no value":                  {"propagation =\nexempt = []\n", `1: the value is missing`},
		"no value at the end":       {"exempt = []\npropagation =", `2: the value is missing`},
		"no key":                    {"= 1\n", `1: a key is missing`},
		"a key alone":               {"exempt\n", `1: "=" is missing after the key`},
		"a key alone, at the end":   {"exempt", `1: "=" is missing after the key`},
		"a list that is open":       {"# x\nexempt = [\n\"a\",\n\"b\"\n", `2: "]" is missing`},
		"an open list before a key": {"exempt = [\n\"a\"\npropagation = \"auto\"\n", `3: a comma is missing`},
		"no comma":                  {"exempt = [\"a\" \"b\"]\n", `1: a comma is missing between two elements of the list`},
		"a comma first":             {"exempt = [, \"a\"]\n", `1: the list begins with a comma`},
		"a table that is open":      {"private = [{target = \"/a\"\n", `1: `},
		"a string that is open":     {"environment = \"keep\n", `1: the string is not closed; a quotation mark is missing`},
		"the same with '":           {"environment = 'keep\n", `1: the string is not closed; a quotation mark is missing`},
		"the same at the end":       {"\nenvironment = \"keep", `2: the string is not closed; a quotation mark is missing`},
		"three quotation marks":     {"environment = \"\"\"keep\n", `1: the string is not closed; a quotation mark is missing`},
		"a backslash":               {`exempt = ["DOMAIN\alice"]`, `1: unknown escape in a string; write \\ for a backslash`},
		"a hexadecimal escape":      {`exempt = ["\u12"]`, `1: an escape in a string is not valid; write \\ for a backslash`},
		"half a surrogate":          {`exempt = ["\ud800"]`, `1: an escape in a string names no character`},
		"text after the value":      {"environment = \"keep\" propagation = \"auto\"\n", `1: unexpected text after the value; write one key on each line`},
		"a bracket too few":         {"[[private]\n", `1: "]" is missing`},
		"a header and a key":        {"[[private]] target = \"/a\"\n", `1: unexpected text after the value; write one key on each line`},
		"an ini file":               {"; comment\n", `1: a key is missing`},
		"a date":                    {"exempt = 2026-99-99\n", `1: exempt: expected a list of strings, found a date`},
		"a byte order mark":         {"\ufeffexempt = []\n", `1: the file begins with a byte order mark; save it as UTF-8 without one`},
		"NUL":                       {"exempt = []\n\x00\n", `2: control character U+0000; remove it`},
		"NUL in a comment":          {"# a\x00\n", `1: control character U+0000; remove it`},
		"an escape sequence":        {"exempt = [\"\x1b[m\"]\n", `1: control character U+001B; remove it`},
		"a carriage return":         {"exempt = []\rpropagation = \"auto\"", `1: a carriage return without a line feed`},
		"not UTF-8":                 {"exempt = []\n# \xff\n", `2: this is not UTF-8`},
		"a leading zero":            {"[[private]]\ninodes = 010\n", `2: a number begins with 0; remove the leading zero`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := decodeFile("F", []byte(c.text))
			if err == nil || !strings.HasPrefix(err.Error(), "F:"+c.want) {
				t.Errorf("%q:\n got %v\nwant F:%s", c.text, err, c.want)
			}
		})
	}
}

// Lines that end as on Windows are no mistake.
func TestCarriageReturns(t *testing.T) {
	if _, err := decodeFile("F", []byte("# x\r\nexempt = [\r\n  \"alice\",\r\n]\r\n\r\n[[private]]\r\ntarget = \"/tmp\"\r\n")); err != nil {
		t.Error(err)
	}
}
