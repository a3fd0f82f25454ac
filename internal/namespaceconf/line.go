package namespaceconf

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"gotmpns/internal/config"
	"gotmpns/internal/paths"
	"gotmpns/internal/policy"
)

// translateEntry makes a table of a line, but for its users.
func translateEntry(e Entry, host Host) *table {
	t := &table{entries: []Entry{e}}
	t.set("target", withTilde(e.Directory))
	t.method(host)
	for _, f := range e.Flags {
		t.flag(f, host)
	}
	if options := t.mountOptions(); len(options) > 0 {
		t.set("options", options)
	}
	t.base(host)
	t.baseElsewhere(host)
	t.skeleton(host)
	t.hideSockets()
	if len(e.Ignored) > 0 {
		t.remark("pam_namespace ignores %q; a list of users has no blanks in it", strings.Join(e.Ignored, " "))
	}
	if t.isTaken() {
		t.refuse(config.Check([]byte(t.text())))
	}
	return t
}

// withTilde writes $HOME as ~; $USER is the same.
func withTilde(p string) string {
	if rest, ok := strings.CutPrefix(p, "$HOME"); ok && (rest == "" || rest[0] == '/') {
		return "~" + rest
	}
	return p
}

func (t *table) method(host Host) {
	switch t.entry().Method {
	case "level", "context":
		t.bySELinux(host)
	case "tmpdir":
		t.set("scope", string(policy.Session))
		t.set("cleanup", string(policy.AtLogout))
	case "tmpfs":
		t.set("kind", string(policy.Tmpfs))
		t.set("scope", string(policy.Session))
	}
}

// bySELinux is about the methods that pam_namespace takes for "user" where SELinux
// is off; but there are no shared directories then.
func (t *table) bySELinux(host Host) {
	method := t.entry().Method
	if host.SELinux {
		t.set("by", method)
		if t.entry().has("shared") {
			t.set("shared", true)
		}
		return
	}
	t.set("by", method)
	t.remark("SELinux is off here, so that this is by user, as with pam_namespace")
	if t.entry().has("shared") {
		t.set("shared", true)
		t.lost = "it has no effect on this host: pam_namespace has shared directories only where SELinux is on"
	}
}

func (t *table) flag(f Flag, host Host) {
	switch f.Name {
	case "noinit": // says that no script is run
	case "mntopts": // all of them together, later
	case "create":
		t.create(f.Value)
	case "iscript":
		t.script(f.Value, host)
	case "shared":
		if m := t.entry().Method; m != "level" && m != "context" {
			t.remark("shared: pam_namespace ignores it with %s", m)
		}
	default:
		t.remark("pam_namespace ignores the flag %q", f.Name)
	}
}

// script is one that pam_namespace runs at each login, if it exists. It gets the same
// arguments by on_create.
func (t *table) script(name string, host Host) {
	if !strings.HasPrefix(name, "/") {
		name = "/etc/security/namespace.d/" + name
	}
	switch {
	case t.entry().has("noinit"):
		t.remark("iscript: pam_namespace does not run it, because of noinit")
		return
	case !host.Exists(name):
		t.remark("iscript: %s does not exist", name)
		return
	}
	t.set("on_create", host.Resolve(name)) // no link is followed at a login
	t.remark("iscript: it is run for new directories only, by pam_namespace at each login")
}

// skeleton is what the script of pam_namespace that is shipped does for home directories.
func (t *table) skeleton(host Host) {
	e := t.entry()
	if e.Directory == "$HOME" && !e.has("noinit") && !e.has("iscript") && host.Exists("/etc/skel") {
		t.set("skeleton", "/etc/skel")
	}
}

// create has the owner and mode that pam_namespace gives a missing target.
func (t *table) create(value string) {
	mode, rest, _ := strings.Cut(value, ",")
	owner, group, _ := strings.Cut(rest, ",")
	if mode != "" && !isOctal(mode) {
		t.remark("create: the mode %q is not valid; \"0755\" is used", mode)
		mode = ""
	}
	if mode != "" && mode[0] != '0' {
		t.remark("create: pam_namespace takes %s for a decimal number; here it is octal", mode)
	}
	text := "{ mode = " + strconv.Quote(cmp.Or(mode, "0755")) + ", owner = " + strconv.Quote(cmp.Or(owner, "$USER"))
	if group != "" {
		text += ", group = " + strconv.Quote(group)
	}
	t.set("create", inline(text+" }"))
}

// inline is a value that is TOML already.
type inline string

func isOctal(mode string) bool {
	n, err := strconv.ParseUint(mode, 8, 32)
	return err == nil && n > 0 && n <= 0o7777
}

// mountOptions takes the flags mntopts over, and returns what of them is for
// "options".
func (t *table) mountOptions() []string {
	var options []string
	for _, f := range t.entry().Flags {
		if f.Name != "mntopts" {
			continue
		}
		if t.entry().Method != "tmpfs" {
			t.remark("mntopts: pam_namespace ignores it with %s; \"options\" works with every kind", t.entry().Method)
			return nil
		}
		options = nil // the last flag applies
		for option := range strings.SplitSeq(f.Value, ",") {
			options = append(options, t.mountOption(option)...)
		}
	}
	return withoutRepeats(options)
}

func (t *table) mountOption(option string) (forOptions []string) {
	name, value, _ := strings.Cut(option, "=")
	switch {
	case option == "nosuid", option == "nodev", option == "noexec":
		return []string{option}
	case option == "" || option == "rw" || option == "suid" || option == "dev" || option == "exec":
	case name == "size" && isSize(value):
		t.set("size", strings.ToUpper(value))
	case name == "nr_inodes" && isInodes(value):
		n, _ := config.ParseSize(value) // the same suffixes, as the kernel reads both
		t.set("inodes", n)
	case name == "mode" && isOctal(value):
		t.set("mode", "0"+strings.TrimLeft(value, "0"))
		if n, _ := strconv.ParseUint(value, 8, 32); n&0o002 == 0 {
			t.remark("mntopts: with mode=%s, the directory belongs to the user here, to root with pam_namespace", value)
		}
	default:
		t.remark("mntopts: %s is not converted", option)
	}
	return nil
}

// percentage is one that a size can have.
var percentage = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([1-9][0-9]?|100)%$`) })

func isSize(value string) bool {
	_, err := config.ParseSize(value)
	return err == nil || percentage().MatchString(value)
}

func isInodes(value string) bool {
	n, err := config.ParseSize(value)
	return err == nil && n < 1<<54
}

// base keeps the directories where pam_namespace has them, if that is elsewhere than
// on the target's own file system.
func (t *table) base(host Host) {
	e := t.entry()
	parent := path.Dir(e.Instances + "x")
	if e.Method == "tmpfs" || paths.IsWithin(parent, e.Directory) && !hasVariable(e.Directory) {
		return
	}
	if hasVariable(parent) || !host.IsSafe(parent) {
		t.remark("directories are not kept in %s: it does not exist, or others than root can write to it", parent)
		if parent = besides(parent, host); parent == "" || paths.IsWithin(parent, e.Directory) {
			return
		}
		t.remark("directories are kept in %s", parent)
	}
	t.setBase(parent)
}

// besides returns a directory that is above a place where none can be kept, and so on its
// file system as a rule; otherwise one on the disk, or none at all.
func besides(parent string, host Host) string {
	if strings.HasPrefix(parent, "$HOME") {
		parent = "/home"
	}
	for parent != "/" && (hasVariable(parent) || !host.IsSafe(parent)) {
		parent = path.Dir(parent)
	}
	if parent == "/" || parent == "/var" {
		parent = "/var/lib"
	}
	if !host.IsSafe(parent) {
		return ""
	}
	return parent
}

func (t *table) setBase(parent string) {
	name := strings.NewReplacer("/", "-", "$", "").Replace(strings.Trim(t.entry().Directory, "/"))
	t.set("base", path.Join(parent, "gotmpns-"+strings.ToLower(name)))
}

// baseElsewhere is for a target that is the user's, or that the first login creates for
// its user: directories are not kept in what is a user's.
func (t *table) baseElsewhere(host Host) {
	e := t.entry()
	if t.get("base") != "" || e.Method == "tmpfs" {
		return
	}
	isHome := strings.HasPrefix(e.Directory, "$HOME")
	if !isHome && (t.get("create") == "" || strings.Contains(t.get("create"), `owner = "root"`) || host.Exists(e.Directory)) {
		return
	}
	parent := besides(path.Dir(e.Directory), host)
	if parent == "" {
		t.lost = "the target belongs to its user, and there is no other place for the directories that only root can write to"
		return
	}
	t.setBase(parent)
	t.remark("directories are kept in %s, since the target belongs to its user", parent)
}

// hideSockets hides those of X11, which /tmp shares by default.
func (t *table) hideSockets() {
	if t.entry().Directory == "/tmp" {
		t.set("share", []string{})
		t.remark("the sockets of X11 are hidden, as with pam_namespace; without share = [] they are shared")
	}
}

func (e Entry) has(flag string) bool {
	return slices.ContainsFunc(e.Flags, func(f Flag) bool { return f.Name == flag })
}

// inTOML writes a value. Strings are quoted as Go does; where that is not TOML,
// config.Check says so.
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
	case uint64:
		return strconv.FormatUint(v, 10)
	case bool:
		return strconv.FormatBool(v)
	case inline:
		return string(v)
	}
	return ""
}

// commentText is fit for a comment of TOML, which has no control characters.
func commentText(s string) string {
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
