package cleanup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// As /proc/net/unix has it: without a name, abstract, files, one with a blank.
const table = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 15077 /run/systemd/private
0000000000000000: 00000003 00000000 00000000 0001 03 15078
0000000000000000: 00000002 00000000 00010000 0001 01 15079 @/tmp/.X11-unix/X0
0000000000000000: 00000002 00000000 00010000 0001 01 15080 /tmp/tmux-1000/default
0000000000000000: 00000002 00000000 00010000 0001 01 15081 /tmp/my socket
0000000000000000: 00000002 00000000 00010000 0001 01 15082 /tmpfs/other
`

func TestTheBoundPathsBelowATarget(t *testing.T) {
	got := within("/tmp", boundPaths(strings.NewReader(table)))
	if diff := cmp.Diff([]string{"tmux-1000/default", "my socket"}, got); diff != "" {
		t.Error(diff)
	}
}
