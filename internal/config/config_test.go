package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gotmpns/internal/policy"
	"gotmpns/test/await"
)

var update = flag.Bool("update", false, "write the golden files")

// compareRules lets go-cmp look into rules by what they say.
var compareRules = cmp.Comparer(func(a, b policy.Rule) bool { return a == b })

// mine is a loader for files of the user who runs the test.
func mine() loader { return loader{owner: uint32(os.Geteuid())} }

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func rules(t *testing.T, texts ...string) []policy.Rule {
	t.Helper()
	var list []policy.Rule
	for _, text := range texts {
		rule, err := policy.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rule)
	}
	return list
}

func TestTheFileThatShipsIsTheDefault(t *testing.T) {
	path, err := filepath.Abs("gotmpns.toml")
	if err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := mine().load(put(t, filepath.Join(t.TempDir(), "gotmpns.toml"), string(copied)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(policy.Default(), got, compareRules); diff != "" {
		t.Errorf("gotmpns.toml is not the default (-default +file):\n%s", diff)
	}
}

func TestTheFileThatShipsExplainsEveryKey(t *testing.T) {
	text, err := os.ReadFile("gotmpns.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, structure := range []any{&document{}, &privateTable{}, &bindTable{}} {
		for _, key := range keysOf(structure) {
			if !regexp.MustCompile(`\b` + key + `\b`).Match(text) {
				t.Errorf("gotmpns.toml does not mention %q", key)
			}
		}
	}
}

// At an upgrade, the file is replaced while logins still use the version before: an
// unknown key would refuse them. What 0.1 does not know is in comments.
func TestTheFileThatShipsCanBeReadBy01(t *testing.T) {
	text, err := os.ReadFile("gotmpns.toml")
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"exempt", "propagation", "environment", "target", "kind", "scope", "cleanup", "for", "share"}
	for _, line := range strings.Split(string(text), "\n") {
		key, _, isKey := strings.Cut(line, " = ")
		if isKey && !strings.HasPrefix(line, "#") && !slices.Contains(known, key) {
			t.Errorf("0.1 does not know %q", key)
		}
	}
}

func TestWithoutAFileTheDefaultsHold(t *testing.T) {
	l := mine()
	l.vendor = "/nonexistent/gotmpns.toml"
	got, err := l.load(filepath.Join(t.TempDir(), "none.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(policy.Default(), got, compareRules); diff != "" {
		t.Error(diff)
	}
}

func TestAFileThatWasNamedMustBeThere(t *testing.T) {
	if _, err := mine().load(filepath.Join(t.TempDir(), "none.toml")); err == nil {
		t.Error("a missing config=FILE passes for the defaults")
	}
}

func TestDropInsOverrideAndAdd(t *testing.T) {
	dir := t.TempDir()
	main := put(t, dir+"/gotmpns.toml", "exempt = [\"carol\"]\npropagation = \"slave\"\n"+
		"[[private]]\ntarget = \"/tmp\"\n[[private]]\ntarget = \"/var/tmp\"\n"+
		"[[bind]]\nsource = \"/a\"\ntarget = \"/etc/hosts\"\n")
	put(t, dir+"/gotmpns.d/20-second.toml", "propagation = \"private\"\n[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\nsize = \"2G\"\ninodes = 7\nshare = []\n")
	put(t, dir+"/gotmpns.d/10-first.toml", "propagation = \"auto\"\nenvironment = \"keep\"\nexempt_view = \"host\"\nmount_points = \"make\"\n[[private]]\ntarget = \"/dev/shm\"\nfor = [\"@students\"]\nscope = \"session\"\n"+
		"[[bind]]\nsource = \"/b\"\ntarget = \"/etc/hosts\"\nread_only = true\nrecursive = true\n")
	put(t, dir+"/gotmpns.d/README", "not = [a drop-in")
	put(t, dir+"/gotmpns.d/.hidden.toml", "nor this")
	got, err := mine().load(main)
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Policy{
		Exempt: rules(t, "carol"), ExemptView: policy.HostView,
		Propagation: policy.PropagationPrivate, MountPoints: policy.MakeMountPoints, Environment: policy.Keep,
		Private: []policy.Private{
			{Target: "/var/tmp", Kind: policy.Directory, Scope: policy.User, Cleanup: policy.AtBoot, By: policy.ByUser},
			{Target: "/dev/shm", Kind: policy.Directory, Scope: policy.Session, Cleanup: policy.AtBoot, For: rules(t, "@students"), By: policy.ByUser},
			{Target: "/tmp", Kind: policy.Tmpfs, Scope: policy.User, Cleanup: policy.AtBoot, Size: 2 << 30, Inodes: 7, Share: []string{}, By: policy.ByUser},
		},
		Bind: []policy.Bind{{Source: "/b", Target: "/etc/hosts", Recursive: true, ReadOnly: true}},
	}
	if diff := cmp.Diff(want, got, compareRules); diff != "" {
		t.Error(diff)
	}
}

// The vendor's file counts where there is none in /etc, its drop-ins where there is
// none of that name.
func TestTheVendorsFiles(t *testing.T) {
	dir := t.TempDir()
	l := mine()
	l.vendor = dir + "/vendor/gotmpns.toml"
	main := dir + "/etc/gotmpns.toml"
	targets := func() string {
		t.Helper()
		p, err := l.load(main)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, private := range p.Private {
			all = append(all, private.Target)
		}
		return strings.Join(all, " ")
	}
	table := func(target string) string { return "[[private]]\ntarget = \"" + target + "\"\n" }
	for _, step := range []struct{ file, text, want string }{
		{"/vendor/gotmpns.toml", table("/v"), "/v"},
		{"/vendor/gotmpns.d/20.toml", table("/v20"), "/v /v20"},
		{"/vendor/gotmpns.d/40.toml", table("/v40"), "/v /v20 /v40"},
		{"/etc/gotmpns.d/30.toml", table("/e30"), "/v /v20 /e30 /v40"},
		{"/etc/gotmpns.d/20.toml", table("/e20"), "/v /e20 /e30 /v40"},
		{"/etc/gotmpns.d/40.toml", "", "/v /e20 /e30"},
		{"/etc/gotmpns.toml", table("/e"), "/e /e20 /e30"},
		{"/etc/gotmpns.toml", "", "/e20 /e30"},
	} {
		put(t, dir+step.file, step.text)
		if got := targets(); got != step.want {
			t.Errorf("with %s: got %s, want %s", step.file, got, step.want)
		}
	}
	put(t, dir+"/vendor/gotmpns.d/50.toml", "what = 1\n")
	if _, err := l.load(main); err == nil || !strings.Contains(err.Error(), "vendor/gotmpns.d/50.toml:1: unknown key") {
		t.Errorf("a mistake of the vendor: %v", err)
	}
	if err := os.Chmod(dir+"/vendor/gotmpns.d/50.toml", 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := l.load(main); err == nil || !strings.Contains(err.Error(), "others can write") {
		t.Errorf("a file of the vendor that others can write: %v", err)
	}
}

func TestEveryKey(t *testing.T) {
	got, err := mine().load(put(t, t.TempDir()+"/gotmpns.toml", `
notify = true

[[private]]
target = "~/.cache"
base = "/var/lib/caches/$USER"
scope = "user"
options = ["noexec", "nosuid"]
create = { mode = "0700", owner = "$USER", group = "users" }
skeleton = "/etc/gotmpns/skel"
on_create = "/usr/local/sbin/prepare"
by = "level"
shared = true
require_selinux = true
for = ["@students"]
except = ["uid>=5000", "carol"]

[[private]]
target = "~/.cache"
kind = "tmpfs"
size = "20%"
mode = "1770"
create = {}

[[private]]
target = "/scratch/$USER/tmp"
create = { mode = "1777" }

[[bind]]
source = "/opt/lab"
target = "~/lab"
options = ["nodev"]
except = ["@staff"]
for = ["@students"]

[[bind]]
source = "/opt/other"
target = "~/lab"
`))
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Default()
	want.Notify = true
	want.Private = []policy.Private{
		{
			Target: "~/.cache", Base: "/var/lib/caches/$USER", Kind: policy.Directory, Scope: policy.User, Cleanup: policy.AtBoot,
			Options:  policy.Options{NoSUID: true, NoExec: true},
			Create:   &policy.Create{Mode: 0o700, Owner: "$USER", Group: "users"},
			Skeleton: "/etc/gotmpns/skel", OnCreate: "/usr/local/sbin/prepare",
			By: policy.ByLevel, Shared: true, RequireSELinux: true,
			For: rules(t, "@students"), Except: rules(t, "uid>=5000", "carol"),
		},
		{
			Target: "~/.cache", Kind: policy.Tmpfs, Scope: policy.User, Cleanup: policy.AtBoot, Percent: 20, Mode: 0o1770,
			Create: &policy.Create{Mode: 0o755, Owner: "root"}, By: policy.ByUser,
		},
		{
			Target: "/scratch/$USER/tmp", Kind: policy.Directory, Scope: policy.User, Cleanup: policy.AtBoot,
			Create: &policy.Create{Mode: 0o1777, Owner: "root"}, By: policy.ByUser,
		},
	}
	want.Bind = []policy.Bind{
		{
			Source: "/opt/lab", Target: "~/lab", Options: policy.Options{NoDev: true},
			For: rules(t, "@students"), Except: rules(t, "@staff"),
		},
		{Source: "/opt/other", Target: "~/lab"},
	}
	if diff := cmp.Diff(want, got, compareRules); diff != "" {
		t.Error(diff)
	}
}

func TestSeveralTablesForATarget(t *testing.T) {
	two := "[[private]]\ntarget = \"/tmp\"\nfor = [\"alice\"]\n[[private]]\ntarget = \"/tmp\"\nkind = \"tmpfs\"\n"
	bind := "[[bind]]\nsource = \"/a\"\ntarget = \"/x\"\nfor = [\"alice\"]\n[[bind]]\nsource = \"/b\"\ntarget = \"/x\"\n"
	for _, text := range []string{two, bind, bind + "for = [\"bob\"]\n"} {
		if err := Check([]byte(text)); err != nil {
			t.Error(err)
		}
	}
}

func TestAnEmptyListOfALaterFileClears(t *testing.T) {
	dir := t.TempDir()
	main := put(t, dir+"/gotmpns.toml", "[[private]]\ntarget = \"/tmp\"\n[[bind]]\nsource = \"/a\"\ntarget = \"/etc/hosts\"\n")
	put(t, dir+"/gotmpns.d/10.toml", "private = []\nbind = []\n")
	got, err := mine().load(main)
	if err != nil || len(got.Private) != 0 || len(got.Bind) != 0 {
		t.Errorf("private = %+v, bind = %+v, %v", got.Private, got.Bind, err)
	}
	put(t, dir+"/gotmpns.d/20.toml", "[[private]]\ntarget = \"/srv\"\n")
	got, err = mine().load(main)
	if err != nil || len(got.Private) != 1 || got.Private[0].Target != "/srv" || len(got.Bind) != 0 {
		t.Errorf("and then: private = %+v, bind = %+v, %v", got.Private, got.Bind, err)
	}
}

func TestADropInAloneReplacesTheBuiltInList(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/gotmpns.d/a.toml", "[[private]]\ntarget = \"/var/tmp\"\n")
	l := mine()
	l.vendor = "/nonexistent/gotmpns.toml"
	got, err := l.load(dir + "/gotmpns.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Private) != 1 || got.Private[0].Target != "/var/tmp" {
		t.Errorf("private = %+v", got.Private)
	}
}

// Each file of testdata/mistakes has its errors beside it; they are what an
// administrator who is locked out reads.
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/mistakes/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			path := put(t, t.TempDir()+"/gotmpns.toml", string(text))
			_, err = mine().load(path)
			if err == nil {
				t.Fatal("no error")
			}
			var mistakes *Errors
			if !errors.As(err, &mistakes) {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(strings.Join(mistakes.Problems, "\n"), path, "gotmpns.toml") + "\n"
			golden := strings.TrimSuffix(file, ".toml") + ".errors"
			if *update {
				put(t, golden, got)
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFilesThatAreNotToBeTrusted(t *testing.T) {
	good := "propagation = \"slave\"\n"
	cases := map[string]struct {
		make func(path string) error
		want string
	}{
		"writable by the group": {func(p string) error { return writeMode(p, good, 0o664) }, "others can write to it"},
		"writable by all":       {func(p string) error { return writeMode(p, good, 0o666) }, "others can write to it"},
		"a symbolic link": {func(p string) error {
			return os.Symlink("/etc/hostname", p)
		}, "symbolic link"},
		"a FIFO":      {func(p string) error { return unix.Mkfifo(p, 0o644) }, "not a regular file"},
		"a directory": {func(p string) error { return os.Mkdir(p, 0o755) }, "not a regular file"},
		"1 GiB":       {func(p string) error { return sparse(p, 1<<30) }, "larger than 65536 bytes"},
		"not UTF-8":   {func(p string) error { return writeMode(p, "# \xff\xfe\n", 0o644) }, "not UTF-8"},
	}
	for name, c := range cases {
		for _, place := range []string{"gotmpns.toml", "gotmpns.d/50.toml"} {
			t.Run(name+" as "+place, func(t *testing.T) {
				dir := t.TempDir()
				if err := os.Mkdir(dir+"/gotmpns.d", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := c.make(filepath.Join(dir, place)); err != nil {
					t.Fatal(err)
				}
				l := mine()
				if place != "gotmpns.toml" {
					l.vendor = "/nonexistent/gotmpns.toml"
				}
				_, err := l.load(dir + "/gotmpns.toml")
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), place) {
					t.Errorf("error is %v, want %q with the file's name", err, c.want)
				}
			})
		}
	}
}

func TestAFileOfSomebodyElse(t *testing.T) {
	l := mine()
	l.owner++
	_, err := l.load(put(t, t.TempDir()+"/gotmpns.toml", ""))
	if err == nil || !strings.Contains(err.Error(), "belongs to uid") {
		t.Errorf("error is %v", err)
	}
}

func TestADropInDirectoryThatOthersCanWrite(t *testing.T) {
	dir := t.TempDir()
	path := put(t, dir+"/gotmpns.toml", "")
	if err := os.Mkdir(dir+"/gotmpns.d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir+"/gotmpns.d", 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := mine().load(path); err == nil || !strings.Contains(err.Error(), "others can write") {
		t.Errorf("error is %v", err)
	}
}

func writeMode(path, text string, mode os.FileMode) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func sparse(path string, size int64) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// The decoder recurses, and Go cannot recover from a stack that is used up.
func TestTheLargestFilesAreDecodedInTime(t *testing.T) {
	for name, text := range map[string]string{
		"nested lists": "exempt = " + strings.Repeat("[", largest-10),
		"unknown keys": strings.Repeat("k%d=1\n", largest/6),
		"tables":       strings.Repeat("[[private]]\n", largest/12),
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			if _, err := decodeFile("FILE", []byte(text)); err == nil {
				t.Error("no error")
			}
			// It is done in milliseconds; under an emulator, in seconds.
			if took := time.Since(began); took > await.Deadline {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestAnEmptyListOfTablesIsNoTable(t *testing.T) {
	got, err := mine().load(put(t, t.TempDir()+"/gotmpns.toml", "private = []\n"))
	if err != nil || len(got.Private) != 0 {
		t.Errorf("private = %+v, %v", got.Private, err)
	}
}

// Whatever is in a file, it is a policy or a list of errors that name file and line
// in our own words.
func FuzzConfiguration(f *testing.F) {
	shipped, err := os.ReadFile("gotmpns.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shipped)
	mistakes, _ := filepath.Glob("testdata/mistakes/*.toml")
	for _, file := range mistakes {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := decodeFile("FILE", text)
		if err != nil {
			ours(t, err)
			return
		}
		m := newMerger()
		m.add(file)
		merged, err := m.merged()
		if err != nil {
			ours(t, err)
			return
		}
		for _, p := range merged.Private {
			if policy.UnfitForPrivate(p.Target) != "" || slices.ContainsFunc(p.Share, func(s string) bool { return unfitShare(s) != "" }) {
				t.Errorf("%+v passes", p)
			}
		}
	})
}

var (
	fileAndLine = regexp.MustCompile(`^FILE:[1-9][0-9]*: [a-z"\[]`)
	theirs      = regexp.MustCompile(`toml:|strconv|reflect|struct field|config\.|%!|U\+FFFD`)
)

// ours wants file, line and words of this project in every error.
func ours(t *testing.T, err error) {
	t.Helper()
	var all *Errors
	if !errors.As(err, &all) {
		t.Fatalf("%T: %v", err, err)
	}
	for _, problem := range all.Problems {
		if !fileAndLine.MatchString(problem) {
			t.Errorf("%q has no file and line", problem)
		}
		_, what, _ := strings.Cut(problem, ": ")
		if theirs.MatchString(quotedPart.ReplaceAllString(what, "")) || strings.ContainsFunc(problem, unicode.IsControl) {
			t.Errorf("%q is not in our words", problem)
		}
	}
}

// quotedPart is what an error repeats from the file.
var quotedPart = regexp.MustCompile(`"(\\.|[^"\\])*"`)
