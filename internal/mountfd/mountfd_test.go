package mountfd

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// in opens a directory of the test's own as a place. No root is needed.
func in(t *testing.T) (*os.File, string) {
	t.Helper()
	path := t.TempDir()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	dir := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { _ = dir.Close() })
	return dir, path
}

func TestHowFilesAreOpened(t *testing.T) {
	dir, path := in(t)
	must(t, os.Mkdir(path+"/dir", 0o755), os.WriteFile(path+"/file", nil, 0o644), os.WriteFile(path+"/dir/below", nil, 0o644),
		unix.Mkfifo(path+"/fifo", 0o666), os.Symlink("file", path+"/link"), os.Symlink("dir", path+"/dirlink"), os.Symlink("/etc", path+"/out"))
	open := map[string]func(*os.File, string) (*os.File, error){"Open": Open, "OpenDir": OpenDir, "ReadDir": ReadDir, "OpenRegular": OpenRegular}
	for name, want := range map[string]map[string]error{
		"":              {"Open": nil, "OpenDir": nil, "ReadDir": nil},
		"/":             {"Open": nil, "OpenDir": nil, "ReadDir": nil},
		"dir":           {"Open": nil, "OpenDir": nil, "ReadDir": nil},
		"/dir/":         {"Open": nil, "OpenDir": nil, "ReadDir": nil},
		"file":          {"Open": nil, "OpenDir": unix.ENOTDIR, "ReadDir": unix.ENOTDIR, "OpenRegular": nil},
		"dir/../file":   {"Open": nil, "OpenRegular": nil},
		"fifo":          {"Open": nil, "OpenDir": unix.ENOTDIR, "ReadDir": unix.ENOTDIR, "OpenRegular": nil}, // without a writer
		"no":            {"Open": fs.ErrNotExist, "OpenDir": fs.ErrNotExist, "ReadDir": fs.ErrNotExist, "OpenRegular": fs.ErrNotExist},
		"link":          {"Open": unix.ELOOP, "OpenDir": unix.ELOOP, "ReadDir": unix.ELOOP, "OpenRegular": unix.ELOOP},
		"dirlink/below": {"Open": unix.ELOOP, "OpenRegular": unix.ELOOP},
		"out/passwd":    {"Open": unix.ELOOP, "OpenRegular": unix.ELOOP},
		"..":            {"Open": unix.EXDEV, "OpenDir": unix.EXDEV, "ReadDir": unix.EXDEV},
		"dir/../../x":   {"Open": unix.EXDEV, "OpenRegular": unix.EXDEV},
	} {
		for how, want := range want {
			f, err := open[how](dir, name)
			if !errors.Is(err, want) || err != nil && !strings.HasPrefix(err.Error(), "cannot open "+strings.TrimSuffix(nameBelow(dir, name), "/")) {
				t.Errorf("%s(%q): error is %v, want %v", how, name, err, want)
			}
			if err != nil {
				continue
			}
			if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s(%q) is inherited: %v", how, name, err)
			}
			must(t, f.Close())
		}
	}
}

func TestWhatIsAskedOfAFile(t *testing.T) {
	dir, path := in(t)
	must(t, os.Mkdir(path+"/dir", 0o755), os.Chmod(path+"/dir", os.ModeSticky|0o777), os.WriteFile(path+"/file", nil, 0o640),
		os.Chmod(path+"/file", os.ModeSetuid|0o711), os.Link(path+"/file", path+"/again"))
	seen := map[string]Info{}
	for _, name := range []string{"dir", "file", "again"} {
		f, err := Open(dir, name)
		must(t, err)
		info, err := Stat(f)
		must(t, err)
		peeked, err := Peek(f)
		if err != nil || peeked != info {
			t.Errorf("%s: %+v by a look, %+v by asking: %v", name, peeked, info, err)
		}
		seen[name] = info
		must(t, f.Close())
	}
	if d := seen["dir"]; !d.IsDir() || d.Mode != 0o1777 || d.MountRoot || d.UID != uint32(os.Getuid()) {
		t.Errorf("%+v", d)
	}
	if f := seen["file"]; f.IsDir() || f.Type != unix.S_IFREG || f.Mode != 0o4711 || f != seen["again"] || f.ID == seen["dir"].ID {
		t.Errorf("%+v", f)
	}
	root, err := Root()
	must(t, err)
	defer root.Close()
	if info, err := Stat(root); err != nil || !info.MountRoot {
		t.Errorf("/: %+v, %v", info, err)
	}
}

func TestAMountHangsWhereItIsAttached(t *testing.T) {
	top, tree := newTop(t)
	for name, open := range map[string]func() (*os.File, error){
		"a tmpfs": func() (*os.File, error) {
			return NewTmpfs(Tmpfs{Mode: 0o750, UID: 1000, GID: 1001, SourceInTable: "gotmpns", Flags: unix.MOUNT_ATTR_NODEV})
		},
		"a clone": func() (*os.File, error) {
			place, err := tree.Open(top + "/plain")
			must(t, err)
			defer place.Close()
			return Clone(place, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			before, err := os.ReadFile(tree.Table)
			must(t, err)
			mount, err := open()
			must(t, err)
			defer mount.Close()
			info, err := Stat(mount)
			must(t, err)
			if detached, err := os.ReadFile(tree.Table); err != nil || string(detached) != string(before) {
				t.Errorf("a detached mount is in the table: %v", err)
			}
			must(t, os.MkdirAll(top+"/target", 0o755))
			target, err := tree.Open(top + "/target")
			must(t, err)
			defer target.Close()
			// By what was opened: another directory has the path by now.
			must(t, os.Rename(top+"/target", top+"/moved"), os.Mkdir(top+"/target", 0o755))
			must(t, Attach(mount, target))
			there, err := tree.Open(top + "/moved")
			must(t, err)
			got, err := Stat(there)
			if err != nil || got.ID != info.ID || !got.MountRoot {
				t.Errorf("there is %+v, want %+v: %v", got, info, err)
			}
			if empty, err := os.ReadDir(top + "/target"); err != nil || len(empty) != 0 {
				t.Errorf("%v, %v", empty, err)
			}
			must(t, os.Rename(top+"/target", top+"/target2")) // a mount point itself cannot be renamed
			must(t, Detach(there), there.Close(), os.Remove(top+"/moved"), os.Remove(top+"/target2"))
			if after, err := os.ReadFile(tree.Table); err != nil || string(after) != string(before) {
				t.Errorf("the table was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

func TestAMountIsDetachedWithAllBelowIt(t *testing.T) {
	top, tree := newTop(t)
	before, err := os.ReadFile(tree.Table)
	must(t, err)
	mount(t, "tmpfs", top+"/first", "tmpfs", 0)
	mount(t, "tmpfs", top+"/first/below", "tmpfs", 0)
	inUse, err := tree.Open(top + "/first/below")
	must(t, err)
	defer inUse.Close()
	place, err := tree.Open(top + "/first")
	must(t, err)
	defer place.Close()
	must(t, Detach(place))
	if after, err := os.ReadFile(tree.Table); err != nil || string(after) != string(before) {
		t.Errorf("the table was\n%s\nand is\n%s", before, after)
	}
	if err := Detach(place); err == nil {
		t.Error("what is detached is detached again")
	}
}

func TestAttributesOfMounts(t *testing.T) {
	top, tree := newTop(t)
	mount(t, "tmpfs", top+"/mount", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV)
	mount(t, "tmpfs", top+"/mount/below", "tmpfs", 0)
	place, err := tree.Open(top + "/mount")
	must(t, err)
	defer place.Close()
	flags, err := Flags(place)
	if err != nil || !slices.Equal(FlagNames(flags), []string{"nosuid", "nodev"}) {
		t.Errorf("%v, %v", FlagNames(flags), err)
	}
	for recursive, below := range map[bool][]string{false: nil, true: {"noexec"}} {
		clone, err := Clone(place, true)
		must(t, err)
		must(t, AddFlags(clone, unix.MOUNT_ATTR_NOEXEC, recursive), AddFlags(clone, 0, true))
		flags, err := Flags(clone)
		if err != nil || !slices.Equal(FlagNames(flags), []string{"nosuid", "nodev", "noexec"}) {
			t.Errorf("recursive: %v: %v, %v", recursive, FlagNames(flags), err)
		}
		inside, err := Open(clone, "below")
		must(t, err)
		flags, err = Flags(inside)
		if err != nil || !slices.Equal(FlagNames(flags), below) {
			t.Errorf("recursive: %v: below it %v, %v", recursive, FlagNames(flags), err)
		}
		must(t, inside.Close(), clone.Close())
	}
	if flags, err := Flags(place); err != nil || slices.Contains(FlagNames(flags), "noexec") {
		t.Errorf("the mount that was cloned has changed: %v, %v", FlagNames(flags), err)
	}
}

func TestMarks(t *testing.T) {
	top, tree := newTop(t)
	mount(t, "tmpfs", top+"/tmpfs", "tmpfs", 0)
	mount(t, "ramfs", top+"/ramfs", "ramfs", 0)
	const mark = "1000 0123456789abcdef"
	for _, c := range []struct {
		path string
		room bool
	}{{top, true}, {top + "/tmpfs", true}, {top + "/ramfs", false}} {
		path := c.path + "/marked"
		must(t, os.Mkdir(path, 0o755), os.Mkdir(path+"/below", 0o755))
		dir, err := os.Open(path)
		must(t, err)
		defer dir.Close()
		if marked, err := SetMark(dir, mark); marked != c.room || err != nil {
			t.Errorf("%s: %v, %v", path, marked, err)
		}
		want := ""
		if c.room {
			want = mark
		}
		wantMark(t, tree, path, want)
		wantMark(t, tree, path+"/below", "")
		mount(t, path, top+"/bound", "", unix.MS_BIND)
		wantMark(t, tree, top+"/bound", want)
		place, err := tree.Open(top + "/bound")
		must(t, err)
		must(t, os.Rename(path, path+"2"))
		wantMark(t, tree, path+"2", want)
		must(t, os.RemoveAll(path+"2"))
		if got := Mark(place); got != want {
			t.Errorf("%s, which was removed, bears %q", path, got)
		}
		must(t, place.Close(), unix.Unmount(top+"/bound", unix.MNT_DETACH))
	}
	must(t, unix.Setxattr(top+"/plain", markName, []byte(strings.Repeat("x", 1000)), 0))
	wantMark(t, tree, top+"/plain", "") // longer than any of ours
	wantMark(t, tree, top+"/plain/file", "")
	wantMark(t, tree, top+"/plain/fifo", "") // nobody waits for a writer
}

func wantMark(t *testing.T, tree Tree, path, want string) {
	t.Helper()
	place, err := tree.Open(path)
	must(t, err)
	defer place.Close()
	if got := Mark(place); got != want {
		t.Errorf("%s bears %q, want %q", path, got, want)
	}
}
