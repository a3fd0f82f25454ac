package mountfd

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// captured are lines as Linux 6.1 and 6.12 have them.
const captured = `24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:14 - proc proc rw
30 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard,errors=remount-ro
230 30 254:1 /tmp/gotmpns-1a2b3c4d/1000 /tmp rw,relatime shared:2 master:1 - ext4 /dev/vda1 rw,discard,errors=remount-ro
3 30 0:50 / /home/alice/a\040b rw,nosuid,nodev,relatime shared:3 - fuse.sshfs alice@host:/x rw,user_id=1000,group_id=1000
31 30 0:51 / /run/user/1000/doc rw,nosuid,nodev,relatime - fuse.portal portal rw,user_id=1000,group_id=1000
32 30 0:52 / /mnt/root rw,relatime - fuse.sshfs root@host:/x rw,user_id=0,group_id=0,allow_other
33 30 0:53 / /mnt/liar rw,relatime - fuse.x user_id=0 rw,user_id=1000,group_id=0
34 30 0:54 / /mnt/liar2 rw,relatime - fuse.x,user_id=0 x rw,user_id=1000,group_id=0,max_read=4096
35 30 0:55 / /mnt/ten rw,relatime - fuse x rw,user_id=01,group_id=0
360 30 8:1 / /mnt/ntfs rw,relatime - fuseblk /dev/sda1 rw,user_id=0,group_id=0,blksize=4096
`

func TestTheLineOfAMountIsFoundByItsNumber(t *testing.T) {
	for id, want := range map[uint64]string{24: " /proc ", 30: " / / ", 360: "ntfs", 3: "alice", 230: "gotmpns-", 33: "liar "} {
		line, err := findLine(strings.NewReader(captured), id)
		if err != nil || !strings.Contains(line, want) {
			t.Errorf("%d: %q, %v", id, line, err)
		}
	}
	for _, id := range []uint64{0, 1, 2, 4, 36, 2300, 1 << 40} {
		if line, err := findLine(strings.NewReader(captured), id); err == nil {
			t.Errorf("%d: %q", id, line)
		}
	}
	long := "5 30 0:57 / /long rw - overlay overlay rw,lowerdir=" + strings.Repeat("/lower:", 100_000) + "\n"
	if _, err := findLine(strings.NewReader(long+"6 30 0:58 / /after rw - tmpfs tmpfs rw\n"), 6); err != nil {
		t.Errorf("behind a long line: %v", err)
	}
	if _, err := findLine(strings.NewReader(strings.Repeat(long, 4)), 6); err == nil {
		t.Error("a line is found that is not there")
	}
}

func TestEscapesAreUndone(t *testing.T) {
	for escaped, want := range map[string]string{
		`/a\040b`: "/a b", `\011\012\134`: "\t\n\\", `\134040`: `\040`, `/plain`: "/plain", ``: "",
		`\04`: `\04`, `\`: `\`, `\999`: `\999`, `\x20`: `\x20`, `a\043`: "a#", `\303\274`: "ü",
	} {
		if got := unescape(escaped); got != want {
			t.Errorf("%q: %q, want %q", escaped, got, want)
		}
	}
}

// On kernels without statmount(2), and for another namespace, the table alone says it.
func TestTheTableSaysWhoseFuseItIs(t *testing.T) {
	place, err := os.Open("/proc/self")
	must(t, err)
	defer place.Close()
	var st unix.Statx_t
	must(t, unix.Statx(int(place.Fd()), "", peek, unix.STATX_MNT_ID, &st))
	for point, want := range map[string]error{
		"/": nil, "/home/alice/a\\040b": ErrUsers, "/run/user/1000/doc": ErrUsers, "/mnt/root": nil, "/mnt/liar": ErrUsers,
		"/mnt/liar2": ErrUsers, "/mnt/ten": ErrUsers, "/mnt/ntfs": nil,
	} {
		_, rest, _ := strings.Cut(captured, " "+point+" rw")
		line, _, _ := strings.Cut(rest, "\n")
		table := t.TempDir() + "/mountinfo"
		must(t, os.WriteFile(table, fmt.Appendf(nil, "%d 30 0:1 / %s rw%s\n", st.Mnt_id, point, line), 0o600))
		if err := (Tree{Table: table}).trustInTable(place); !errors.Is(err, want) {
			t.Errorf("%s: error is %v, want %v; the line is %q", point, err, want, line)
		}
	}
}

func TestATableThatSaysNothingIsNotTrusted(t *testing.T) {
	place, err := os.Open("/proc/self")
	must(t, err)
	defer place.Close()
	var st unix.Statx_t
	must(t, unix.Statx(int(place.Fd()), "", peek, unix.STATX_MNT_ID, &st))
	id := strconv.FormatUint(st.Mnt_id, 10)
	for _, text := range []string{"", "\n", id + "\n", id + " \n", id + " 30 0:1\n", id + " 30 0:1 / / rw\n", id + " 30 0:1 / / rw -\n", id + "0 30 0:1 / / rw - tmpfs x rw\n"} {
		table := t.TempDir() + "/mountinfo"
		must(t, os.WriteFile(table, []byte(text), 0o600))
		if err := (Tree{Table: table}).trustInTable(place); err == nil {
			t.Errorf("%q is believed", text)
		}
	}
	if err := (Tree{Table: "/nonexistent"}).trustInTable(place); err == nil {
		t.Error("no table is believed")
	}
}

func TestTheControlFileSystemIsNoFuse(t *testing.T) {
	place, err := os.Open("/proc/self")
	must(t, err)
	defer place.Close()
	var st unix.Statx_t
	must(t, unix.Statx(int(place.Fd()), "", peek, unix.STATX_MNT_ID, &st))
	table := t.TempDir() + "/mountinfo"
	must(t, os.WriteFile(table, fmt.Appendf(nil, "%d 30 0:56 / /sys/fs/fuse/connections rw,relatime - fusectl fusectl rw\n", st.Mnt_id), 0o600))
	if err := (Tree{Table: table}).trustInTable(place); err != nil {
		t.Error(err)
	}
}
