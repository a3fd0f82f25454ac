package namespaceconf

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gotmpns/internal/config"
)

var update = flag.Bool("update", false, "write the golden files")

// hosts are the two for which there are golden files. Both have the usual directories,
// and instances in some that are safe.
func hosts() map[string]Host {
	exists := func(path string) bool { return path != "/missing" && !strings.HasPrefix(path, "/run/user/") }
	safe := func(directory string) bool {
		return slices.Contains([]string{"/home", "/run/user", "/tmp-inst", "/var/tmp-inst", "/opt/nvme/inst", "/home/.inst", "/var/lib"}, directory)
	}
	resolve := func(path string) string {
		if name, ok := strings.CutPrefix(path, "/sbin/"); ok {
			return "/usr/sbin/" + name
		}
		return path
	}
	homes := map[string]string{"root": "/root", "daemon": "/usr/sbin", "bin": "/bin", "www-data": "/var/www", "guest": "/home/guest", "sync": "/bin"}
	return map[string]Host{
		".toml":         {Exists: exists, IsSafe: safe, Resolve: resolve, Homes: homes},
		".selinux.toml": {Exists: exists, IsSafe: safe, Resolve: resolve, Homes: homes, SELinux: true},
	}
}

// Each file of testdata has beside it what becomes of it on a host without SELinux;
// and on one with SELinux, if that is something else.
func TestTranslate(t *testing.T) {
	for _, file := range examples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			off := translated(t, file, hosts()[".toml"])
			compare(t, strings.TrimSuffix(file, ".conf")+".toml", off)
			if on := translated(t, file, hosts()[".selinux.toml"]); on != off {
				compare(t, strings.TrimSuffix(file, ".conf")+".selinux.toml", on)
			}
		})
	}
}

// translated returns what becomes of a file, or its mistakes.
func translated(t *testing.T, file string, host Host) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := Parse(filepath.Base(file), text)
	if err != nil {
		return strings.Join(err.(Errors), "\n") + "\n"
	}
	got := Translate(entries, host)
	if err := config.Check([]byte(got)); err != nil {
		t.Errorf("our own reader does not accept it: %v", err)
	}
	return got
}

func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

// With the keys that this version supports, too, the result is accepted, has every
// line as a comment, and says of each table whether it was converted.
func TestNoLineGetsLost(t *testing.T) {
	for _, file := range examples(t) {
		for _, host := range hosts() {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			entries, err := Parse("F", text)
			if err != nil {
				continue
			}
			got := Translate(entries, host)
			if err := config.Check([]byte(got)); err != nil {
				t.Errorf("%s: our own reader does not accept it: %v\n%s", file, err, got)
			}
			if n := strings.Count(got, "\n# F:"); n != len(entries) {
				t.Errorf("%s has %d lines, and %d are in\n%s", file, len(entries), n, got)
			}
			if lost, off := strings.Count(got, "\n#   Not converted: "), strings.Count(got, "\n#[[private]]"); lost != off {
				t.Errorf("%s: %d tables are comments, %d of them with a reason:\n%s", file, off, lost, got)
			}
		}
	}
}

func examples(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	return files
}

func TestSplit(t *testing.T) {
	for line, want := range map[string][]string{
		"a  b\tc":     {"a", "b", "c"},
		`"a b" c`:     {"a b", "c"},
		`a"b c"d`:     {"ab cd"},
		`a\ b`:        {"a b"},
		`a\tb\\ "\""`: {"a\tb\\", `"`},
		`"" b`:        {"", "b"},
		`a\`:          {`a\`},
	} {
		got, closed := split(line)
		if !slices.Equal(got, want) || !closed {
			t.Errorf("split(%q) = %q, %t, want %q", line, got, closed, want)
		}
	}
	if _, closed := split(`"a b`); closed {
		t.Error("a quotation mark that is not closed passes")
	}
}

// Whatever is in a file, it is an error that names it, or a configuration that
// logins would accept.
func FuzzTranslate(f *testing.F) {
	for _, file := range examples(f) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := Parse("F", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "F:") {
				t.Errorf("%q does not name the file", err)
			}
			return
		}
		for _, host := range hosts() {
			if got := Translate(entries, host); config.Check([]byte(got)) != nil {
				t.Errorf("%v:\n%s", config.Check([]byte(got)), got)
			}
		}
	})
}
