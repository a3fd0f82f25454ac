package namespaceconf

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"gotmpns/internal/config"
	"gotmpns/internal/policy"
)

// Host is what the result of a line depends on beside the line.
type Host struct {
	SELinux bool // it is on
	// IsSafe says whether nobody but root can write to a directory and those above it.
	IsSafe func(directory string) bool
	Exists func(path string) bool
	// Homes are the home directories of the local users, by name.
	Homes map[string]string
	// Resolve returns the path without the symbolic links in it.
	Resolve func(path string) string
}

// Translate writes entries as a gotmpns.toml. What it returns is accepted by
// [config.Check], whatever the entries are.
func Translate(entries []Entry, host Host) string {
	var tables []*table
	for _, e := range entries {
		tables = append(tables, translateEntry(e, host))
	}
	remarkOnePlace(tables)
	tables = inOurOrder(mergeEqual(tables))
	skipHidden(tables)
	exempt := exemptOf(tables)
	text := head(tables, exempt)
	for _, t := range tables {
		t.setUsers(exempt, host)
	}
	if config.Check([]byte(text+textOf(tables))) != nil {
		skipRefused(tables, text)
	}
	var b strings.Builder
	b.WriteString(text)
	for _, t := range tables {
		t.write(&b)
	}
	b.WriteString(nothingElse(tables))
	return b.String()
}

// remarkOnePlace finds tables whose directories pam_namespace keeps in one place, by the
// name of the user alone.
func remarkOnePlace(tables []*table) {
	for i, t := range tables {
		e := t.entry()
		same := slices.IndexFunc(tables[:i], func(o *table) bool {
			return o.entry().Directory != e.Directory && o.entry().Instances == e.Instances && o.entry().Method == e.Method
		})
		if same >= 0 && (e.Method == "user" || e.Method == "level" || e.Method == "context") {
			o := tables[same].entry()
			t.remark("with pam_namespace, a user has one directory for this line and %s:%d; here there is one for each target", o.File, o.Line)
		}
	}
}

// textOf returns those tables that are not comments.
func textOf(tables []*table) string {
	var b strings.Builder
	for _, t := range tables {
		if t.isTaken() {
			b.WriteString(t.text())
		}
	}
	return b.String()
}

// skipRefused makes comments of the tables that cannot stand beside those before.
func skipRefused(tables []*table, head string) {
	for i, t := range tables {
		if t.isTaken() {
			t.refuse(config.Check([]byte(head + textOf(tables[:i+1]))))
		}
	}
}

// table is what becomes of an entry, or of several that differ in their users only.
type table struct {
	entries []Entry
	keys    []key
	remarks []string
	lost    string // why it cannot be converted; then it is written as a comment
}

type key struct {
	name, value string
}

func (t *table) entry() Entry   { return t.entries[0] }
func (t *table) isTaken() bool  { return t.lost == "" }
func (t *table) target() string { return t.get("target") }

func (t *table) remark(format string, args ...any) {
	t.remarks = append(t.remarks, fmt.Sprintf(format, args...))
}

// set adds a key, or replaces its value: of several flags the last one applies, as
// in pam_namespace.
func (t *table) set(name string, value any) {
	t.unset(name)
	t.keys = append(t.keys, key{name: name, value: inTOML(value)})
}

func (t *table) unset(name string) {
	t.keys = slices.DeleteFunc(t.keys, func(k key) bool { return k.name == name })
}

func (t *table) get(name string) string {
	for _, k := range t.keys {
		if k.name == name {
			return k.value
		}
	}
	return ""
}

// refuse makes the table a comment if there is an error, which is its reason.
func (t *table) refuse(err error) {
	var all *config.Errors
	switch {
	case err == nil:
	case errors.As(err, &all) && len(all.Problems) > 0:
		_, t.lost, _ = strings.Cut(all.Problems[0], ": ") // without the line, which is none of the user's
	default:
		t.lost = err.Error()
	}
}

func (t *table) text() string {
	var b strings.Builder
	b.WriteString("[[private]]\n")
	for _, k := range t.keys {
		fmt.Fprintf(&b, "%s = %s\n", k.name, k.value)
	}
	return b.String()
}

func (t *table) write(b *strings.Builder) {
	b.WriteString("\n")
	for _, e := range t.entries {
		fmt.Fprintf(b, "# %s:%d: %s\n", commentText(e.File), e.Line, commentText(e.Text))
	}
	if t.lost != "" {
		fmt.Fprintf(b, "#   Not converted: %s\n", commentText(t.lost))
	}
	for _, r := range t.remarks {
		fmt.Fprintf(b, "#   %s\n", commentText(r))
	}
	for line := range strings.Lines(t.text()) {
		if !t.isTaken() && !strings.HasPrefix(line, "#") {
			line = "#" + line
		}
		b.WriteString(line)
	}
}

// mergeEqual makes one table of those for one target that differ in their users
// only: both would be mounted, one over the other, and look the same.
func mergeEqual(tables []*table) []*table {
	var merged []*table
	for _, t := range tables {
		i := slices.IndexFunc(merged, func(o *table) bool {
			return o.text() == t.text() && o.lost == t.lost && o.entry().Only == t.entry().Only
		})
		// What comes between the two could be mounted over the first only.
		between := i >= 0 && slices.ContainsFunc(merged[i+1:], func(o *table) bool { return o.target() == t.target() })
		if i < 0 || between {
			merged = append(merged, t)
			continue
		}
		merged[i].merge(t)
	}
	return merged
}

// merge adds the users of another table: those for whom it is, or those for whom
// neither of the two is.
func (t *table) merge(o *table) {
	users := slices.Concat(t.entry().Users, o.entry().Users)
	if !t.entry().Only {
		users = slices.DeleteFunc(users, func(name string) bool {
			return !slices.Contains(t.entry().Users, name) || !slices.Contains(o.entry().Users, name)
		})
	}
	t.entries = append(t.entries, o.entries...)
	t.entries[0].Users = withoutRepeats(users)
	for _, r := range o.remarks {
		if !slices.Contains(t.remarks, r) {
			t.remarks = append(t.remarks, r)
		}
	}
}

func withoutRepeats(names []string) []string {
	var once []string
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}

// inOurOrder turns the tables of each target round: pam_namespace mounts one over
// the other, so that the last is seen, and here the first one applies.
func inOurOrder(tables []*table) []*table {
	var ordered []*table
	for _, t := range tables {
		first := slices.IndexFunc(ordered, func(o *table) bool { return o.target() == t.target() })
		if first < 0 {
			first = len(ordered)
		}
		ordered = slices.Insert(ordered, first, t)
	}
	return ordered
}

// skipHidden finds tables over which pam_namespace mounts others for all their users.
func skipHidden(tables []*table) {
	for i, t := range tables {
		for _, above := range tables[:i] {
			if t.isTaken() && above.isTaken() && above.target() == t.target() && covers(above.entry(), t.entry()) {
				t.lost = fmt.Sprintf("it has no effect, since %s:%d is mounted over it for the same users", above.entry().File, above.entry().Line)
			}
		}
	}
}

// covers says whether all users of an entry are users of another one, too.
func covers(above, e Entry) bool {
	switch {
	case above.Only && e.Only:
		return isSubset(e.Users, above.Users)
	case above.Only:
		return false
	case e.Only:
		return !slices.ContainsFunc(e.Users, func(name string) bool { return slices.Contains(above.Users, name) })
	}
	return isSubset(above.Users, e.Users)
}

func isSubset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(name string) bool { return !slices.Contains(all, name) })
}

// exemptOf are the users for whom no table is.
func exemptOf(tables []*table) []string {
	var exempt, elsewhere []string
	begun := false
	for _, t := range tables {
		switch {
		case !t.isTaken():
		case t.entry().Only:
			elsewhere = append(elsewhere, t.entry().Users...)
		case !begun:
			begun, exempt = true, withoutRepeats(t.entry().Users)
		default:
			exempt = slices.DeleteFunc(exempt, func(name string) bool { return !slices.Contains(t.entry().Users, name) })
		}
	}
	return slices.DeleteFunc(exempt, func(name string) bool { return userFault(name) != "" || slices.Contains(elsewhere, name) })
}

// setUsers says for whom the table is.
func (t *table) setUsers(exempt []string, host Host) {
	users := slices.DeleteFunc(withoutRepeats(t.entry().Users), func(name string) bool {
		fault := userFault(name)
		if fault != "" {
			t.remark("%q is not a login name: %s", name, fault)
		}
		return fault != "" || !t.entry().Only && slices.Contains(exempt, name)
	})
	if vital := t.vitalHomes(host, exempt); len(vital) > 0 {
		t.remark("%s: no private home, since logins depend on what it hides; pam_namespace hides it", strings.Join(vital, ", "))
		users = slices.DeleteFunc(users, func(name string) bool { return slices.Contains(vital, name) })
		if !t.entry().Only {
			users = append(users, vital...)
		}
	}
	switch {
	case t.entry().Only:
		t.set("for", users)
	case len(users) > 0:
		t.set("except", users)
	}
}

// vitalHomes are the users of a table in the home directory whose home no target can be,
// such as /usr/sbin: their logins would be refused.
func (t *table) vitalHomes(host Host, exempt []string) []string {
	rest, ok := strings.CutPrefix(withTilde(t.entry().Directory), "~")
	if !ok || !t.isTaken() {
		return nil
	}
	var vital []string
	for name, home := range host.Homes {
		isFor := slices.Contains(t.entry().Users, name) == t.entry().Only && !slices.Contains(exempt, name)
		if isFor && userFault(name) == "" && policy.UnfitForPrivate(path.Clean(home)+rest) != "" {
			vital = append(vital, name)
		}
	}
	slices.Sort(vital)
	return vital
}

// userFault says why a name is none that a rule can have for a user.
func userFault(name string) string {
	if strings.HasPrefix(name, "@") || strings.ContainsAny(name, ":<>=") {
		return "it reads like another rule"
	}
	var fault *policy.RuleError
	if _, err := policy.ParseRule(name); errors.As(err, &fault) {
		return fault.Reason
	}
	return ""
}

// head is what comes before the tables.
func head(tables []*table, exempt []string) string {
	var b strings.Builder
	b.WriteString(`# The configuration of pam_namespace for pam_gotmpns, by "gotmpns import": either
# /etc/security/gotmpns.toml itself, or a file in /etc/security/gotmpns.d.
#
# The same for all lines:
#   Directories are new ones, by uid; the contents of the old ones stay where they are.
#   Targets keep the mount options (nosuid, nodev, noexec) that they have on the host.
`)
	if slices.ContainsFunc(tables, func(t *table) bool { return !t.entry().has("noinit") && !t.entry().has("iscript") }) {
		b.WriteString("#   /etc/security/namespace.init is not run. What it does as it is shipped, \"skeleton\" does.\n")
	}
	b.WriteString(`
# Users for whom no line is. service:samba is added, since one smbd opens sessions of
# several users. The default exempts system users, too: "uid<1000" and "uid=65534".
`)
	fmt.Fprintf(&b, "exempt = %s\n", inTOML(append(slices.Clone(exempt), "service:samba")))
	b.WriteString(`
# As with pam_namespace. The defaults are "auto" and "unset".
propagation = "slave"
environment = "keep"
`)
	return b.String()
}

// nothingElse says what is private beside the tables: nothing, also where the file is
// read after another one, such as the one that is shipped.
func nothingElse(tables []*table) string {
	tables = slices.DeleteFunc(slices.Clone(tables), func(t *table) bool { return !t.isTaken() })
	switch {
	case len(tables) == 0:
		return "\n# Nothing is private; without this line, /tmp would be.\nprivate = []\n"
	case slices.ContainsFunc(tables, func(t *table) bool { return t.target() == inTOML("/tmp") }):
		return ""
	}
	return "\n# No line is for /tmp; without this table, another file could make it private.\n[[private]]\ntarget = \"/tmp\"\nfor = []\n"
}
