// Package pamconf reads the PAM stacks of a machine as libpam reads them:
//
//	directories -> Stacks -> the lines that PAM runs for a service
//
// [Read] gathers the files. Everything else is pure: it answers which lines a
// service runs, in which order and from which file, and which of them a
// successful run skips (pam.d(5)).
package pamconf

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// Dirs are the directories with service files. For each name, libpam reads the
// file of the first directory that has one: a file in /etc/pam.d hides all of a
// vendor's file.
var Dirs = []string{"/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d"}

// otherService is the service whose stack PAM runs where a service has no lines of a type.
const otherService = "other"

// deepest is the deepest inclusion; libpam has a limit as well.
const deepest = 16

// File is a service file.
type File struct {
	Path string
	Text string
}

// IsVendors says whether the file belongs to a package: the administrator's are in /etc.
func (f File) IsVendors() bool { return !strings.HasPrefix(f.Path, "/etc/") }

// Stacks are the service files of a machine by the name under which PAM finds
// them: the service, or an absolute path that is included.
type Stacks map[string]File

// Read reads all service files. What cannot be read is left out.
func Read() Stacks {
	files := Stacks{}
	for _, dir := range Dirs {
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			name := entry.Name()
			if _, hidden := files[name]; hidden || entry.IsDir() || isBackup(name) {
				continue
			}
			files.read(name, path.Join(dir, name))
		}
	}
	for _, name := range files.Names() {
		files.readIncluded(name, deepest)
	}
	return files
}

// isBackup recognises the files that editors, patch and dpkg leave: no program has such
// a service name.
func isBackup(name string) bool {
	return strings.HasSuffix(name, "~") || strings.HasPrefix(name, ".") || strings.Contains(name, ".dpkg-") ||
		strings.Contains(name, ".rpm") || slices.Contains([]string{".pam-old", ".orig", ".bak", ".old", ".save"}, path.Ext(name))
}

func (s Stacks) read(name, file string) {
	const largest = 1 << 20
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > largest {
		return
	}
	if text, err := os.ReadFile(file); err == nil {
		s[name] = File{file, string(text)}
	}
}

// readIncluded reads files that are included by absolute path.
func (s Stacks) readIncluded(name string, depth int) {
	if depth == 0 {
		return
	}
	for _, l := range parse(s[name]) {
		if _, known := s[l.Module]; known || !l.isInclude() || !path.IsAbs(l.Module) {
			continue
		}
		s.read(l.Module, l.Module)
		s.readIncluded(l.Module, depth-1)
	}
}

// Names returns the names of all files, sorted.
func (s Stacks) Names() []string { return slices.Sorted(maps.Keys(s)) }

// Line is a line of a PAM stack.
type Line struct {
	File    string // absolute path
	Number  int
	Type    string // session, auth, …; without the dash that forgives a missing module
	Control string // optional, required, [success=1 default=ignore], …
	Module  string // or the file that is included
	Args    []string
	Level   int // number of substacks around it
	Length  int // in bytes, with the lines that continue it
}

// LongestLine is what libpam 1.5 and older read of a line, in bytes; the rest is another
// line for them. Later versions have no limit.
const LongestLine = 1023

// Place names file and line.
func (l Line) Place() string { return fmt.Sprintf("%s:%d", l.File, l.Number) }

// Is says whether the line calls a module, by its file name such as pam_unix.so.
func (l Line) Is(module string) bool { return !l.isInclude() && path.Base(l.Module) == module }

func (l Line) isInclude() bool {
	return l.Control == "@include" || l.Control == "include" || l.Control == "substack"
}

// Lines returns the lines of every file, file by file.
func (s Stacks) Lines() []Line {
	var lines []Line
	for _, name := range s.Names() {
		lines = append(lines, parse(s[name])...)
	}
	return lines
}

// Sessions returns the session lines of a service in the order in which PAM calls
// them, with included files in place. A line with the control "substack" stands
// before the lines of its substack, which have a higher level. A service without
// session lines has those of [otherService].
func (s Stacks) Sessions(service string) []Line {
	if lines := s.expand(service, 0, deepest); len(lines) > 0 {
		return lines
	}
	return s.expand(otherService, 0, deepest)
}

func (s Stacks) expand(name string, level, depth int) []Line {
	if depth == 0 {
		return nil
	}
	var lines []Line
	for _, l := range parse(s[name]) {
		l.Level = level
		switch {
		case l.Control == "@include":
			lines = append(lines, s.expand(l.Module, level, depth-1)...)
		case l.Type != "session":
		case l.Control == "include":
			lines = append(lines, s.expand(l.Module, level, depth-1)...)
		case l.Control == "substack":
			lines = append(append(lines, l), s.expand(l.Module, level+1, depth-1)...)
		default:
			lines = append(lines, l)
		}
	}
	return lines
}

// Index returns the position of the first line that calls a module, and -1 where
// none does.
func Index(lines []Line, module string) int {
	return slices.IndexFunc(lines, func(l Line) bool { return l.Is(module) })
}

// Included returns the names that a service includes for its sessions, directly or
// through others, in order.
func (s Stacks) Included(service string) []string {
	return s.included(service, deepest)
}

func (s Stacks) included(name string, depth int) []string {
	if depth == 0 {
		return nil
	}
	var names []string
	for _, l := range parse(s[name]) {
		if l.isInclude() && (l.Control == "@include" || l.Type == "session") {
			names = append(append(names, l.Module), s.included(l.Module, depth-1)...)
		}
	}
	return names
}

// parse reads a service file.
func parse(f File) []Line {
	var lines []Line
	number, begun, pending := 0, 0, ""
	for raw := range strings.Lines(f.Text) {
		number++
		if pending == "" {
			begun = number
		}
		text, comment, _ := strings.Cut(strings.TrimRight(raw, "\n"), "#")
		before, continued := strings.CutSuffix(strings.TrimRight(text, " \t"), "\\")
		if continued && comment == "" {
			pending += before + " "
			continue
		}
		words, length := split(pending+text), len(pending)+len(strings.TrimSuffix(raw, "\n"))
		pending = ""
		if l, ok := lineOf(words); ok {
			l.File, l.Number, l.Length = f.Path, begun, length
			lines = append(lines, l)
		}
	}
	return lines
}

func lineOf(words []string) (Line, bool) {
	switch {
	case len(words) >= 2 && words[0] == "@include":
		return Line{Control: "@include", Module: words[1]}, true
	case len(words) >= 3:
		return Line{
			Type: strings.ToLower(strings.TrimPrefix(words[0], "-")), Control: strings.ToLower(words[1]),
			Module: words[2], Args: unbracket(words[3:]),
		}, true
	}
	return Line{}, false
}

// split makes words of a line: [a b] is one.
func split(line string) []string {
	var words []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		end := strings.IndexAny(line, " \t")
		if line[0] == '[' {
			end = closing(line) + 1
		}
		if end <= 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
	return words
}

// closing finds the bracket that ends a word; \] is one inside of it.
func closing(line string) int {
	for i := 1; i < len(line); i++ {
		if line[i] == ']' && line[i-1] != '\\' {
			return i
		}
	}
	return -1
}

// unbracket takes the brackets off arguments, as libpam does.
func unbracket(words []string) []string {
	args := make([]string, 0, len(words))
	for _, w := range words {
		if inner, ok := strings.CutPrefix(w, "["); ok {
			w = strings.ReplaceAll(strings.TrimSuffix(inner, "]"), `\]`, "]")
		}
		args = append(args, w)
	}
	return args
}
