package pamconf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type argumentsCase struct{ words, want string }

// argumentsTable reads testdata/arguments.txt.
func argumentsTable(t *testing.T) []argumentsCase {
	t.Helper()
	text, err := os.ReadFile("testdata/arguments.txt")
	if err != nil {
		t.Fatal(err)
	}
	repeated := regexp.MustCompile(`<(\d+)>`)
	var cases []argumentsCase
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = repeated.ReplaceAllStringFunc(line, func(s string) string {
			n, _ := strconv.Atoi(strings.Trim(s, "<>"))
			return strings.Repeat("x", n)
		})
		words, want, ok := strings.Cut(strings.TrimSpace(line), " -> ")
		if !ok {
			t.Fatalf("not a case: %q", line)
		}
		cases = append(cases, argumentsCase{words, want})
	}
	return cases
}

// describe writes arguments as the table has them.
func describe(a Arguments) string {
	var words []string
	add := func(set bool, format string, value any) {
		if set {
			words = append(words, fmt.Sprintf(format, value))
		}
	}
	if a.Debug {
		words = append(words, "debug")
	}
	add(a.Config != "", "config=%s", a.Config)
	add(a.Worker != "", "worker=%s", a.Worker)
	add(a.Socket != "", "socket=%s", a.Socket)
	add(a.NoSocket, "socket=%s", "none")
	add(a.Timeout != 0, "timeout=%d", a.Timeout)
	for range a.Ignored {
		words = append(words, "ignored")
	}
	return strings.Join(words, " ")
}

func TestArgumentsInGo(t *testing.T) {
	for _, c := range argumentsTable(t) {
		if got := describe(ParseArguments(strings.Fields(c.words))); got != c.want {
			t.Errorf("%.60s: got %.60q, want %.60q", c.words, got, c.want)
		}
	}
}

// The module reads the same words in C.
func TestArgumentsInC(t *testing.T) {
	program := filepath.Join(t.TempDir(), "args_table")
	build := exec.Command("cc", "-std=c11", "-D_GNU_SOURCE", `-DGOTMPNS_WORKER="/worker"`, "-o", program, "../../c/test/args_table.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cases := argumentsTable(t)
	var input strings.Builder
	for _, c := range cases {
		input.WriteString(c.words + "\n")
	}
	run := exec.Command(program)
	run.Stdin = strings.NewReader(input.String())
	out, err := run.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(got) != len(cases) {
		t.Fatalf("%d results for %d cases", len(got), len(cases))
	}
	for i, c := range cases {
		if diff := cmp.Diff(c.want, strings.TrimSpace(got[i])); diff != "" {
			t.Errorf("%.60s: %.400s", c.words, diff)
		}
	}
}

func TestIgnoredArgumentsHaveAReason(t *testing.T) {
	for word, want := range map[string]string{
		"debgu": "unknown", "config=x": "absolute path", "timeout=+5": "from 1 to 600", "worker=/" + strings.Repeat("x", 5000): "longer than 4095",
	} {
		a := ParseArguments([]string{word})
		if len(a.Ignored) != 1 || a.Ignored[0].Argument != word || !strings.Contains(a.Ignored[0].Reason, want) {
			t.Errorf("%.20s: %+v", word, a.Ignored)
		}
	}
}
