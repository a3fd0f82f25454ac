// Package fatal ends a test where it cannot go on.
package fatal

import (
	"path/filepath"
	"testing"
)

// If ends the test where one of the errors is not nil.
func If(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// UnlessOne returns the one path that a pattern matches, and ends the test where there is
// none or another one.
func UnlessOne(t testing.TB, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s matches %v", pattern, found)
	}
	return found[0]
}
