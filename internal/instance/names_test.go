package instance

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNamesInABaseTellWhatTheyAreNamesOf(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	b := base{dir: dir}
	for name, want := range map[string]Entry{
		Owner{UID: 1000}.name():                                       {Owner: Owner{UID: 1000}},
		Owner{UID: 1000, Session: "1000/12-34-56"}.name():             {Owner: Owner{UID: 1000, Session: "12-34-56"}},
		Owner{UID: 1000, At: "s0:c1"}.name():                          {Owner: Owner{UID: 1000, At: "s0:c1"}},
		Owner{UID: 1000}.name() + asideMark + "1a":                    {Owner: Owner{UID: 1000}, Kind: Aside},
		Owner{UID: 1000, At: "s0"}.name() + asideMark + "1a":          {Owner: Owner{UID: 1000, At: "s0"}, Kind: Aside},
		Owner{UID: 1000, Session: "1000/1-2-3"}.name() + ".old-1a":    {Owner: Owner{UID: 1000, Session: "1-2-3"}, Kind: Aside},
		retiredName(Owner{UID: 1000}.name()):                          {Owner: Owner{UID: 1000}, Kind: Retired},
		retiredName(Owner{UID: 1000, Session: "1000/12-34-5"}.name()): {Owner: Owner{UID: 1000}, Kind: Retired},
		".gone-12345678":     {Owner: Owner{UID: NoUID}, Kind: Retired},
		unfinished + "1a2b3": {Owner: Owner{UID: NoUID}, Kind: Unfinished},
	} {
		got, ok := b.entry(name)
		want.name, want.Path = name, dir.Name()+"/"+name
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Entry{})); diff != "" || !ok {
			t.Errorf("%s: %v %s", name, ok, diff)
		}
	}
	for _, name := range []string{Owner{UID: 1000}.link(), "lost+found", "", "4294967296", "-1"} {
		if e, ok := b.entry(name); ok {
			t.Errorf("%q is taken for %+v", name, e)
		}
	}
	if before := (Entry{name: retiredName("1000.1-2-3")}).before(); before != "1000.1-2-3" {
		t.Errorf("the name before was %q", before)
	}
}
