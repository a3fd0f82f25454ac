//go:build cgo

package trial

import "testing"

func TestTheReasonInTheLog(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{[]string{`gotmpns: pam_gotmpns(gotmpns:session): alice (uid 1000): private /tmp, 1.9 ms`}, "private /tmp"},
		{[]string{`gotmpns: pam_gotmpns(su-l:session): a (uid 1) (uid 1000): refused: x (uid 3): y, 1.9 ms`}, "y"},
		{[]string{`gotmpns: pam_gotmpns(gotmpns:session): cannot use the module argument "x"`, "gotmpns: PAM unable to dlopen"}, `cannot use the module argument "x"`},
		{[]string{"gotmpns: PAM unable to dlopen"}, ""},
		{nil, ""},
	} {
		if got := lastOf(c.lines); got != c.want {
			t.Errorf("%q: %q, want %q", c.lines, got, c.want)
		}
	}
}
