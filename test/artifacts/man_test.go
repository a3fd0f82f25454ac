package artifacts

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gotmpns/test/manual"
)

func TestTheManualHasEveryModuleArgumentAndNoOther(t *testing.T) {
	source, err := os.ReadFile("../../c/args.c")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, match := range regexp.MustCompile(`is_named\(arg, "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		want = append(want, match[1]+"=")
	}
	for _, match := range regexp.MustCompile(`strcmp\(arg, "(\w+)"\)`).FindAllStringSubmatch(string(source), -1) {
		want = append(want, match[1])
	}
	got := manual.Read(t, "pam_gotmpns.8").Items("OPTIONS", "Cm")
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 5 {
		t.Errorf("module arguments (-) and pam_gotmpns(8) (+) differ:\n%s", diff)
	}
}
