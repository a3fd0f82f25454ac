package namespaceconf

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gotmpns/internal/config"
	"gotmpns/internal/policy"
)

// Translate writes entries as a gotmpns.toml. What it returns is accepted by
// [config.Check], whatever the entries are.
func Translate(entries []Entry) string {
	tables := make([]table, 0, len(entries))
	for _, e := range entries {
		tables = append(tables, translate(e))
	}
	withoutRepetitions(tables)
	exempt := exemptOf(tables)
	var b strings.Builder
	writeHead(&b, tables, exempt)
	for _, t := range tables {
		t.remarkOnUsers(exempt)
		t.write(&b)
	}
	return b.String()
}

// table is what becomes of an entry.
type table struct {
	entry   Entry
	lines   []string // keys and values
	remarks []string
	taken   bool // otherwise it is written as a comment
}

func (t *table) remark(format string, args ...any) {
	t.remarks = append(t.remarks, fmt.Sprintf(format, args...))
}

// set adds a key; of several values the last one counts, as in pam_namespace.
func (t *table) set(key string, value any) {
	t.lines = slices.DeleteFunc(t.lines, func(line string) bool { return strings.HasPrefix(line, key+" = ") })
	t.lines = append(t.lines, fmt.Sprintf("%s = %s", key, inTOML(value)))
}

// inTOML quotes as Go does; where that is no TOML, config.Check says so.
func inTOML(value any) string {
	switch v := value.(type) {
	case string:
		return strconv.Quote(v)
	case []string:
		quoted := make([]string, 0, len(v))
		for _, s := range v {
			quoted = append(quoted, strconv.Quote(s))
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return fmt.Sprint(value)
}

func translate(e Entry) table {
	t := table{entry: e, taken: true}
	t.set("target", e.Directory)
	t.method()
	t.place()
	for _, f := range e.Flags {
		t.flag(f)
	}
	if e.Only {
		t.set("for", t.rules(e.Users))
	}
	if len(e.Ignored) > 0 {
		t.remark("pam_namespace does not look at %q; a list of users has no blanks in it", strings.Join(e.Ignored, " "))
	}
	if hasVariable(e.Directory) {
		t.taken = false
		t.remark("no counterpart: a target is the same path for everybody, without $HOME and $USER")
		return t
	}
	if err := config.Check([]byte(t.text())); err != nil {
		t.taken = false
		t.remark("cannot be taken over: %s", withoutPlace(err))
	}
	return t
}

// withoutPlace is the first mistake, without the line that it is on in here.
func withoutPlace(err error) string {
	var all *config.Errors
	if !errors.As(err, &all) || len(all.Problems) == 0 {
		return err.Error()
	}
	_, what, _ := strings.Cut(all.Problems[0], ": ")
	return what
}

func (t *table) method() {
	switch t.entry.Method {
	case "level", "context":
		t.taken = false
		t.remark("no counterpart: directories are told apart by user here, not by SELinux %s; "+
			"without the # below it would be by user alone", t.entry.Method)
	case "tmpdir":
		t.set("scope", string(policy.Session))
		t.remark("pam_namespace removes the directory at logout; here it goes at the next boot, or when it is old")
	case "tmpfs":
		t.set("kind", string(policy.Tmpfs))
		t.set("scope", string(policy.Session))
	}
}

// place is about where instances are kept.
func (t *table) place() {
	if t.entry.Method != "tmpfs" { // for that pam_namespace does not look at it either
		t.remark("directories are new ones, by uid; what is in %s… stays there", t.entry.Instances)
	}
}

func (t *table) flag(f Flag) {
	switch f.Name {
	case "noinit": // no script is ever run
	case "create":
		t.remark("create: the directory has to be there before the login; tmpfiles.d can make it (%s)", orNothing(f.Value))
	case "iscript":
		t.remark("iscript: no counterpart, no script is run (%s)", orNothing(f.Value))
	case "shared":
		t.remark("shared: no counterpart, each user has a directory of his own")
	case "mntopts":
		t.mountOptions(f.Value)
	default:
		t.remark("pam_namespace does not know the flag %q", f.Name)
	}
}

func orNothing(value string) string {
	if value == "" {
		return "no value"
	}
	return value
}

func (t *table) mountOptions(options string) {
	if t.entry.Method != "tmpfs" {
		t.remark("mntopts: pam_namespace takes it for tmpfs only")
		return
	}
	for option := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(option, "=")
		switch {
		case option == "":
		case name == "size":
			t.size(value)
		case name == "nr_inodes":
			t.inodes(value)
		case option == "nosuid", option == "nodev", option == "noexec":
			t.remark("mntopts: %s comes from the target's own mount here", option)
		default:
			t.remark("mntopts: %s has no counterpart", option)
		}
	}
}

func (t *table) size(value string) {
	if _, err := config.ParseSize(value); err != nil {
		t.remark("mntopts: the size %v", err)
		return
	}
	t.set("size", strings.ToUpper(value))
}

func (t *table) inodes(value string) {
	n, err := config.ParseSize(value) // the same suffixes, as the kernel reads both
	if err != nil || n > 1<<62 {
		t.remark("mntopts: nr_inodes=%s has no counterpart", value)
		return
	}
	t.set("inodes", n)
}

// rules are the names that can be rules.
func (t *table) rules(names []string) []string {
	rules := []string{}
	for _, name := range names {
		if _, err := policy.ParseRule(name); err != nil {
			t.remark("%v", err)
			continue
		}
		rules = append(rules, name)
	}
	return rules
}

func (t *table) text() string {
	return "[[private]]\n" + strings.Join(t.lines, "\n") + "\n"
}

func (t *table) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n# %s:%d: %s\n", printable(t.entry.File), t.entry.Line, printable(t.entry.Text))
	for _, r := range t.remarks {
		fmt.Fprintf(b, "#   %s\n", printable(r))
	}
	for line := range strings.Lines(t.text()) {
		if !t.taken {
			line = "#" + line
		}
		b.WriteString(line)
	}
}

// printable is fit for a comment of TOML, which has no control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r):
			return '?'
		}
		return r
	}, s)
}

// withoutRepetitions takes the first of several with the same target.
func withoutRepetitions(tables []table) {
	first := map[string]*table{}
	for i := range tables {
		t := &tables[i]
		earlier, repeated := first[t.entry.Directory]
		switch {
		case !t.taken:
		case repeated:
			t.taken = false
			t.remark("%s:%d has the same directory, and a target stands here once", earlier.entry.File, earlier.entry.Line)
		default:
			first[t.entry.Directory] = t
		}
	}
}

// exemptOf are those whom every table leaves alone; a rule here leaves somebody
// alone altogether.
func exemptOf(tables []table) []string {
	var exempt []string
	begun := false
	for _, t := range tables {
		switch {
		case !t.taken || t.entry.Only:
		case !begun:
			begun = true
			exempt = slices.Clone(t.entry.Users)
		default:
			exempt = slices.DeleteFunc(exempt, func(name string) bool { return !slices.Contains(t.entry.Users, name) })
		}
	}
	return slices.DeleteFunc(slices.Compact(exempt), func(name string) bool {
		_, err := policy.ParseRule(name)
		return err != nil || slices.ContainsFunc(tables, func(t table) bool {
			return t.taken && t.entry.Only && slices.Contains(t.entry.Users, name)
		})
	})
}

// remarkOnUsers tells of those whom pam_namespace leaves alone for this target only.
func (t *table) remarkOnUsers(exempt []string) {
	if t.entry.Only || !t.taken {
		return
	}
	others := slices.DeleteFunc(slices.Clone(t.entry.Users), func(name string) bool { return slices.Contains(exempt, name) })
	if len(others) > 0 {
		t.remark("not left alone here: %s; exempt is for all targets at once, so name the others in a \"for\" if that matters",
			strings.Join(others, ", "))
	}
}

func writeHead(b *strings.Builder, tables []table, exempt []string) {
	b.WriteString("# What pam_namespace was told, for pam_gotmpns; by \"gotmpns import\".\n")
	if slices.ContainsFunc(tables, func(t table) bool { return !slices.Contains(t.entry.Flags, Flag{"noinit", ""}) }) {
		b.WriteString("#\n# /etc/security/namespace.init, which pam_namespace runs, is not run.\n")
	}
	if slices.ContainsFunc(tables, func(t table) bool { return t.taken && t.entry.Directory == "/tmp" }) {
		b.WriteString("#\n# The sockets of X11 stay the host's in /tmp; share = [] there hides them, as pam_namespace does.\n")
	}
	b.WriteString("#\n# Directories are kept on the target's own file system, under a random name, or where a \"base\" says.\n")
	b.WriteString("\n# Only those whom every line leaves alone. Without this it is [\"uid<1000\", \"uid=65534\"].\n")
	fmt.Fprintf(b, "exempt = %s\n", inTOML(exempt))
	b.WriteString("\n# As pam_namespace does it without mount_private. Without this it is \"auto\".\n")
	b.WriteString("propagation = \"slave\"\n")
	if !slices.ContainsFunc(tables, func(t table) bool { return t.taken }) {
		b.WriteString("\n# Nothing could be taken over, so nothing is private; without this, /tmp is.\nprivate = []\n")
	}
}
