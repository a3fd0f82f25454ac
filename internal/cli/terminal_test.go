package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gotmpns/internal/check"
)

func TestWrapping(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  []string
	}{
		{"as it is", 0, []string{"as it is"}},
		{"too narrow to wrap anything", 10, []string{"too narrow to wrap anything"}},
		{"one two three four five six", 20, []string{"one two three four", "five six"}},
		{"exactly twenty chars and more", 20, []string{"exactly twenty chars", "and more"}},
		{"a /path/that/is/longer/than/a/line stays whole", 20, []string{"a", "/path/that/is/longer/than/a/line", "stays whole"}},
		{"ümläüte zählen éinfäch wïe buchstaben", 20, []string{"ümläüte zählen", "éinfäch wïe", "buchstaben"}},
		{"", 20, []string{""}},
	} {
		if diff := cmp.Diff(c.want, wrap(c.text, c.width)); diff != "" {
			t.Errorf("%q: %s", c.text, diff)
		}
	}
}

func TestColumns(t *testing.T) {
	var c columns
	c.add("A", "LONGER", "x")
	c.line("  free text that aligns with nothing")
	c.add("é", "y", "")
	var out strings.Builder
	if err := c.print(&out); err != nil {
		t.Fatal(err)
	}
	want := "A  LONGER  x\n  free text that aligns with nothing\né  y\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// A pipe gets whole lines, without colors.
func TestAReportInAPipe(t *testing.T) {
	long := strings.Repeat("word ", 40) + "end"
	var out strings.Builder
	r := report{Findings: []check.Finding{{ID: "x", Level: check.Problem, Subject: "s", Text: long, Advice: "do it"}}}
	if err := printReport(screenOf(&out), r); err != nil {
		t.Fatal(err)
	}
	want := "PROBLEM  s: " + long + "\n           -> do it\n\n1 problem\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	out.Reset()
	if err := printReport(screen{out: &out, width: 40, color: true}, r); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if !strings.HasPrefix(lines[0], "\x1b[1;31mPROBLEM\x1b[0m  s: word") || !strings.HasPrefix(lines[1], "         word") {
		t.Errorf("%q", lines[:2])
	}
}

// A name in a message may be a user's.
func TestMessagesDoNotCommandTheTerminal(t *testing.T) {
	const text, want = "cannot use /home/\x1b]0;x\a\x9b2J\u202e\xff/é ü\n\tnext", "cannot use /home/�]0;x��2J��/é ü\n\tnext"
	var out, paragraph strings.Builder
	printError(hinted(errors.New(text), text), &out)
	if want := "gotmpns: error: " + want + "\ngotmpns: hint: " + want + "\n"; out.String() != want {
		t.Errorf("the error is printed as %q", out.String())
	}
	screen{out: &paragraph}.paragraph("", 0, text)
	if paragraph.String() != want+"\n" {
		t.Errorf("the finding is printed as %q", paragraph.String())
	}
}
