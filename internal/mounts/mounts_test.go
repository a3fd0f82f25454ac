package mounts

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
)

// As /proc/PID/mountinfo has it: a host with one file system, a second one on
// /mnt/disk, something mounted below /tmp, and a session with a private /tmp
// into which the host's .X11-unix was brought.
const host = `20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
21 20 8:2 / /mnt/disk rw shared:2 - ext4 /dev/sda2 rw
22 20 0:30 / /tmp/hidden rw shared:3 - tmpfs tmpfs rw
23 20 8:2 /data /srv\040data rw shared:2 - ext4 /dev/sda2 rw
`

const session = `40 1 8:1 / / rw master:1 - ext4 /dev/sda1 rw
41 40 8:2 / /mnt/disk rw master:2 - ext4 /dev/sda2 rw
42 40 0:30 / /tmp/hidden rw master:3 - tmpfs tmpfs rw
43 40 8:1 /tmp/gotmpns-1a2b3c4d/1000 /tmp rw - ext4 /dev/sda1 rw
44 43 8:1 /tmp/.X11-unix /tmp/.X11-unix rw master:1 - ext4 /dev/sda1 rw
45 40 0:77 / /dev/shm rw - tmpfs gotmpns rw
`

func table(t *testing.T, text string) Table {
	t.Helper()
	parsed, err := mountinfo.GetMountsFromReader(strings.NewReader(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestWhereASessionsFilesAreOnTheHost(t *testing.T) {
	inside, outside := table(t, session), table(t, host)
	for _, c := range []struct{ path, want string }{
		{"/tmp", "/tmp/gotmpns-1a2b3c4d/1000"},
		{"/tmp/draft", "/tmp/gotmpns-1a2b3c4d/1000/draft"},
		{"/tmp/hidden/x", "/tmp/gotmpns-1a2b3c4d/1000/hidden/x"}, // not the host's mount
		{"/tmpfile", "/tmpfile"},
		{"/tmp/.X11-unix/X0", "/tmp/.X11-unix/X0"},
		{"/mnt/disk/data/x", "/mnt/disk/data/x"},
		{"/", "/"},
		{"/dev/shm/x", ""},
	} {
		got, found := inside.Same(c.path, outside)
		if got != c.want || found != (c.want != "") {
			t.Errorf("%s: %q, %v", c.path, got, found)
		}
	}
}

func TestASpaceInAMountPoint(t *testing.T) {
	outside := table(t, host)
	if got, _ := outside.Same("/srv data/x", outside); got != "/mnt/disk/data/x" {
		t.Errorf("%q", got)
	}
}

func TestTheTableWithoutPrivateMountsIsTheHosts(t *testing.T) {
	inside := table(t, session)
	without := inside.Without(inside.At("/tmp"), inside.At("/dev/shm"))
	if len(without) != 3 {
		t.Errorf("%d mounts are left", len(without))
	}
	if got, _ := inside.Same("/tmp/draft", without); got != "/tmp/gotmpns-1a2b3c4d/1000/draft" {
		t.Errorf("%q", got)
	}
}

func TestPointsAndPeers(t *testing.T) {
	outside := table(t, host)
	if outside.IsPoint("/tmp") || !outside.IsPoint("/mnt/disk") || !outside.IsPoint("/") {
		t.Error("mount points are not told from directories")
	}
	if !outside.IsShared("/tmp") || table(t, session).IsShared("/tmp") {
		t.Error("shared mounts are not told from others")
	}
	if Table(nil).At("/tmp") != nil {
		t.Error("an empty table has a mount")
	}
}

func TestOtherPathsOfADirectory(t *testing.T) {
	outside := table(t, host+"24 20 8:1 /tmp /var/tmp rw shared:1 - ext4 /dev/sda1 rw\n"+
		"25 20 8:1 / /mnt/root rw - ext4 /dev/sda1 rw\n26 25 0:44 / /mnt/root/tmp rw - tmpfs tmpfs rw\n27 20 0:30 / /opt/again rw - tmpfs tmpfs rw\n")
	for path, want := range map[string]string{"/tmp": "/var/tmp", "/srv data": "/mnt/disk/data", "/mnt/disk/x": "", "/tmp/hidden": "/opt/again", "/tmp/sub": "/var/tmp/sub"} {
		if got := strings.Join(outside.Others(path), " "); got != want {
			t.Errorf("%s is at %q as well, want %q", path, got, want)
		}
	}
	if got := Table(nil).Others("/tmp"); got != nil {
		t.Errorf("%v", got)
	}
}

func TestARemovedDirectoryIsNowhere(t *testing.T) {
	inside := table(t, sessionRoot+"41 40 8:1 /tmp/gotmpns-1a2b3c4d/1000//deleted /tmp rw - ext4 /dev/sda1 rw\n")
	if got, found := inside.Same("/tmp/x", table(t, host)); found {
		t.Errorf("%q", got)
	}
	if !IsRemoved(inside.At("/tmp")) || IsRemoved(inside.At("/")) {
		t.Error("a removed directory looks like one that is there")
	}
}

const sessionRoot = "40 1 8:1 / / rw master:1 - ext4 /dev/sda1 rw\n"

// What [ReadAlong] leaves out says nothing about the paths that it is for.
func TestATableAlongSomePaths(t *testing.T) {
	const more = "46 43 8:3 / /tmp/deep\\040er rw - ext4 /dev/sdb1 rw\n47 45 8:3 / /dev/shm/below rw - ext4 /dev/sdb1 rw\n48 40 8:9 / /dev/shm2 rw - ext4 /dev/sdb1 rw\n"
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/mountinfo", []byte(session+more), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{"/tmp/deep er/x", "/dev/shm", "/tmp", "/"}
	along, err := ReadAlong(dir, paths...)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 9 || len(along) != 4 {
		t.Errorf("%d and %d mounts, want 9 and 4", len(all), len(along))
	}
	for _, path := range paths {
		if one, other := all.At(path), along.At(path); one == nil || other == nil || one.ID != other.ID {
			t.Errorf("%s lies on %v, and on %v", path, one, other)
		}
	}
	if _, err := Read(dir + "/missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}
