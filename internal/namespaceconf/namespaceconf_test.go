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

var update = flag.Bool("update", false, "write the golden files anew")

// Each file of testdata has beside it what becomes of it.
func TestTranslate(t *testing.T) {
	for _, file := range examples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			entries, err := Parse(filepath.Base(file), text)
			if err == nil {
				got = Translate(entries)
				if err := config.Check([]byte(got)); err != nil {
					t.Errorf("our own reader does not accept it: %v", err)
				}
			} else {
				got = strings.Join(err.(Errors), "\n") + "\n"
			}
			golden := strings.TrimSuffix(file, ".conf") + ".toml"
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
		})
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

// Every line that is read is there again, as a comment with its number.
func TestNoLineGetsLost(t *testing.T) {
	for _, file := range examples(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := Parse("F", text)
		if err != nil {
			continue
		}
		got := Translate(entries)
		if n := strings.Count(got, "\n# F:"); n != len(entries) {
			t.Errorf("%s has %d lines, and %d are in\n%s", file, len(entries), n, got)
		}
		tables := strings.Count(got, "\n[[private]]") + strings.Count(got, "\n#[[private]]")
		if tables != len(entries) {
			t.Errorf("%s has %d lines, and %d tables come of it", file, len(entries), tables)
		}
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
		if got := Translate(entries); config.Check([]byte(got)) != nil {
			t.Errorf("%v:\n%s", config.Check([]byte(got)), got)
		}
	})
}
