package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gotmpns/test/manual"
)

// subcommands are those that gotmpns(1) has to have; help explains itself.
func subcommands() []*cobra.Command {
	return slices.DeleteFunc(newRoot().Commands(), func(c *cobra.Command) bool { return c.Name() == "help" })
}

func TestTheManualHasEverySubcommandAndOptionAndNoOther(t *testing.T) {
	page := manual.Read(t, "gotmpns.1")
	for _, cmd := range subcommands() {
		items, ok := page[cmd.Name()]
		if !ok {
			t.Errorf("gotmpns(1) has no .Ss %s", cmd.Name())
		}
		var options []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { options = append(options, "-"+f.Name) })
		documented := page.Items(cmd.Name(), "Fl")
		slices.Sort(options)
		if !slices.IsSorted(documented) {
			t.Errorf("%s: the options are not sorted: %v", cmd.Name(), items)
		}
		if diff := cmp.Diff(options, documented); diff != "" {
			t.Errorf("%s: options (-) and gotmpns(1) (+) differ:\n%s", cmd.Name(), diff)
		}
		delete(page, cmd.Name())
	}
	for heading := range page {
		if heading != "" && strings.ToUpper(heading) != heading {
			t.Errorf("gotmpns(1) has %q, which is not a subcommand", heading)
		}
	}
}

func TestTheManualHasTheExitStatuses(t *testing.T) {
	got := manual.Read(t, "gotmpns.1")["EXIT STATUS"]
	want := []string{"0", "1", "2", "3", "126", "127"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Help teaches: what it does, in whole lines that fit a terminal, and how.
func TestEverySubcommandIsExplainedWithExamples(t *testing.T) {
	for _, cmd := range subcommands() {
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s: there is no explanation, or no example", cmd.Name())
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len([]rune(strings.TrimSuffix(line, "\n"))) > 82 {
				t.Errorf("%s: too long for a terminal: %q", cmd.Name(), line)
			}
		}
	}
}
