package cleanup

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheBoundPaths(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{dir + "/a socket", dir + "/" + filepath.Base(dir), "@" + dir + "/abstract"} {
		listener, err := net.Listen("unix", name)
		must(t, err)
		defer listener.Close()
	}
	paths, err := diagnosedPaths()
	must(t, err)
	got := within(dir, paths[uint32(os.Getuid())])
	slices.Sort(got)
	if want := []string{filepath.Base(dir), "a socket"}; !slices.Equal(got, want) {
		t.Errorf("got %q, and not %q", got, want)
	}
	if got := within(dir[:len(dir)-1], paths[uint32(os.Getuid())]); len(got) > 0 {
		t.Errorf("%q are below another name", got)
	}
}

// As /proc/net/unix has it: without a name, abstract, files, one with a blank.
const table = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 15077 /run/systemd/private
0000000000000000: 00000003 00000000 00000000 0001 03 15078
0000000000000000: 00000002 00000000 00010000 0001 01 15079 @/tmp/.X11-unix/X0
0000000000000000: 00000002 00000000 00010000 0001 01 15080 /tmp/tmux-1000/default
0000000000000000: 00000002 00000000 00010000 0001 01 15081 /tmp/my socket
0000000000000000: 00000002 00000000 00010000 0001 01 15082 /tmpfs/other
`

func TestTheListedPathsBelowATarget(t *testing.T) {
	got := within("/tmp", listedPaths(strings.NewReader(table)))
	if want := []string{"tmux-1000/default", "my socket"}; !slices.Equal(got, want) {
		t.Errorf("got %q, and not %q", got, want)
	}
}

// Whatever the kernel may add one day, and whatever is cut short.
func FuzzAddPaths(f *testing.F) {
	f.Add(dumpRequest())
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = addPaths(b, map[uint32][]string{}) })
}
