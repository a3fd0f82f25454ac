package paths

import "testing"

func TestAPathIsWithinADirectoryByWholeNames(t *testing.T) {
	for _, c := range []struct {
		path, directory string
		within, below   bool
	}{
		{"/tmp", "/tmp", true, false},
		{"/tmp/a", "/tmp", true, true},
		{"/tmp/a/b", "/tmp", true, true},
		{"/tmpfile", "/tmp", false, false},
		{"/", "/tmp", false, false},
		{"/tmp", "/", true, true},
		{"/", "/", true, false},
	} {
		if got := IsWithin(c.path, c.directory); got != c.within {
			t.Errorf("%s within %s: %v", c.path, c.directory, got)
		}
		if got := IsBelow(c.path, c.directory); got != c.below {
			t.Errorf("%s below %s: %v", c.path, c.directory, got)
		}
	}
}
