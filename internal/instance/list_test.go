package instance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func usageOf(t *testing.T, path string) Usage {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	return UsageOf(dir)
}

func TestUsageCountsEachFileOnceAndFollowsNothing(t *testing.T) {
	top := t.TempDir()
	outside := t.TempDir()
	big := []byte(strings.Repeat("x", 1<<20))
	for _, file := range []string{top + "/a", outside + "/b"} {
		if err := os.WriteFile(file, big, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(top+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(top+"/a", top+"/sub/again"); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": outside, "sub/link": outside + "/b", "loop": "."} {
		if err := os.Symlink(target, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	const most = 1<<20 + 64<<10 // directories and links take a little
	if u := usageOf(t, top); u.AtLeast || u.Bytes < 1<<20 || u.Bytes > most {
		t.Errorf("%+v", u)
	}
}

func TestUsageEndsInATreeWithoutEnd(t *testing.T) {
	top := t.TempDir()
	if err := os.MkdirAll(top+strings.Repeat("/d", 2*depthAtMost), 0o755); err != nil {
		t.Fatal(err)
	}
	if u := usageOf(t, top); !u.AtLeast {
		t.Errorf("%+v", u)
	}
}
