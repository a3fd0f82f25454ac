// Package namespaceconf reads the configuration of pam_namespace,
// namespace.conf(5) of Linux-PAM, and writes it as ours.
//
// A line there is
//
//	DIRECTORY INSTANCES METHOD[:FLAG...] [[~]USER,...]
//
// [Parse] takes it apart, and is as strict as pam_namespace, which refuses the
// login over a line that it does not understand. [Translate] makes a [[private]]
// table of each line, below the line itself as a comment, such that root, system
// users and all others see what pam_namespace shows them on this host. What differs is
// in a remark. A table that would show something else is a comment, with the reason.
package namespaceconf

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Entry is a line that makes a directory private.
type Entry struct {
	File      string
	Line      int
	Text      string // as it is written, without a comment
	Directory string
	Instances string // the beginning of the instances' paths
	Method    string // user, level, context, tmpdir or tmpfs
	Flags     []Flag
	Users     []string
	Only      bool     // for Users only; otherwise for everybody but them
	Ignored   []string // fields that pam_namespace does not look at
}

// Flag is an option of a method, as in create=0700.
type Flag struct{ Name, Value string }

var methods = []string{"user", "level", "context", "tmpdir", "tmpfs"}

// Errors lists all mistakes, with file and line.
type Errors []string

func (e Errors) Error() string { return strings.Join(e, "; ") }

// Parse reads one file; path is for errors and remarks. The error is of type Errors.
func Parse(path string, text []byte) ([]Entry, error) {
	if !utf8.Valid(text) {
		return nil, Errors{path + ": this is not UTF-8"}
	}
	var entries []Entry
	var errors Errors
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		entry, fault := parseLine(line)
		if fault != "" {
			errors = append(errors, fmt.Sprintf("%s:%d: %s", path, number, fault))
		}
		entry.File, entry.Line, entry.Text = path, number, line
		entries = append(entries, entry)
	}
	if errors != nil {
		return nil, errors
	}
	return entries, nil
}

func parseLine(line string) (e Entry, fault string) {
	fields, closed := split(line)
	names := []string{"the directory", "the prefix of its instances", "the method"}
	switch {
	case !closed:
		return e, "a quotation mark is missing"
	case len(fields) < len(names):
		return e, names[len(fields)] + " is missing; a line is DIRECTORY INSTANCES METHOD [USERS]"
	}
	e.Directory, e.Instances = fields[0], fields[1]
	if trimmed := strings.TrimRight(e.Directory, "/"); trimmed != "" {
		e.Directory = trimmed
	}
	words := strings.FieldsFunc(fields[2], func(r rune) bool { return r == ':' })
	if len(words) == 0 || !slices.Contains(methods, words[0]) {
		return e, fmt.Sprintf("the method %q is unknown; valid methods are %s", fields[2], strings.Join(methods, ", "))
	}
	e.Method = words[0]
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		e.Flags = append(e.Flags, Flag{name, value})
	}
	if len(fields) > 3 {
		e.readUsers(fields[3])
		e.Ignored = fields[4:]
	}
	return e, e.fault()
}

func (e *Entry) readUsers(list string) {
	list, e.Only = strings.CutPrefix(list, "~")
	for name := range strings.SplitSeq(list, ",") {
		if name != "" {
			e.Users = append(e.Users, name)
		}
	}
}

func (e *Entry) fault() string {
	absolute := func(path string) bool { return path != "" && (path[0] == '/' || hasVariable(path)) }
	switch {
	case !absolute(e.Directory):
		return fmt.Sprintf("the directory %q is not an absolute path", e.Directory)
	case e.Method != "tmpfs" && !absolute(e.Instances):
		return fmt.Sprintf("the prefix of the instances %q is not an absolute path", e.Instances)
	case strings.Contains(e.Directory, "..") || strings.Contains(e.Instances, ".."):
		return `a path has ".." in it`
	}
	return ""
}

func hasVariable(path string) bool {
	return strings.Contains(path, "$HOME") || strings.Contains(path, "$USER")
}

// split cuts a line at blanks. Quotation marks keep blanks; a backslash keeps what
// follows it, but for \b, \n and \t, which are what they are in C.
func split(line string) (fields []string, closed bool) {
	var field strings.Builder
	inField, quoted := false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '"':
			quoted, inField = !quoted, true
			continue
		case !quoted && (c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'):
			if inField {
				fields = append(fields, field.String())
			}
			field.Reset()
			inField = false
			continue
		case c == '\\' && i+1 < len(line):
			i++
			c = line[i]
			if special := strings.IndexByte("bnt", c); special >= 0 {
				c = "\b\n\t"[special]
			}
		}
		field.WriteByte(c)
		inField = true
	}
	if inField {
		fields = append(fields, field.String())
	}
	return fields, !quoted
}
