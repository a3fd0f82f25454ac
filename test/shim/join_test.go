package shim

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestJoining(t *testing.T) {
	for name, test := range map[string]struct {
		mode  string
		words []string
		want  []string
	}{
		"the working directory is kept":                {"joins", []string{"chdir", "/usr/bin", "open", "cwd"}, []string{"cwd=/usr/bin\n"}},
		"below /tmp it is the new /tmp's, or the root": {"joins", []string{"chdir", "/tmp", "open", "cwd"}, []string{"cwd=/tmp\n", "changed: cwd"}},
		"none is the root of the namespace":            {"joins-without-directory", []string{"chdir", "/usr", "open", "cwd"}, []string{"cwd=/\n", "changed: cwd"}},
		"one that cannot be entered, too":              {"cwd-is-a-file", []string{"chdir", "/usr", "open", "cwd"}, []string{"cwd=/\n", "changed: cwd"}},
		"a root directory of the caller's is kept":     {"joins-with-root", []string{"start", "chroot", "/", "chdir", "/usr", "open", "cwd"}, []string{"cwd=/usr\n"}},
		"variables and a line for the user": {"joins-with-all",
			[]string{"putenv", "TMPDIR=/old", "putenv", "TMP=/old", "open", "getenv", "TMPDIR", "getenv", "TMP", "getenv", "TEMP", "getenv", "TEMPDIR"},
			[]string{"info=your /tmp is private\n", "TMPDIR=/tmp\n", "TMP=(unset)\n", "TEMP=(unset)\n", "TEMPDIR=(unset)\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				b.fakeFor(test.mode, 5)
				got := b.run("alice", test.words...)
				for _, part := range append(test.want, success, "changed: namespace") {
					want(t, got, part)
				}
				for line := range strings.Lines(got) {
					if strings.HasPrefix(line, "changed: ") && line != "changed: namespace\n" && line != "changed: cwd\n" {
						t.Error(line)
					}
				}
				lines := strings.Join(b.journal.Lines(), "\n")
				if test.mode == "cwd-is-a-file" {
					want(t, lines, "alice (uid 1000): cannot enter the working directory in the user's mount namespace: Not a directory; the session starts in the root directory")
				}
				if test.mode == "joins-with-all" {
					want(t, lines, "a warning")
				}
			})
		})
	}
}

// A program that has changed its root, as vsftpd does, keeps it, and its working directory.
func TestJoiningWithARootDirectory(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.fakeFor("joins-with-root", 5)
		root := b.changedRoot(t)
		got := b.run("alice", "start", "chroot", root, "chdir", "/usr", "open", "cwd")
		for _, part := range []string{success, "changed: namespace\n", "cwd=/usr\n"} {
			want(t, got, part)
		}
		if strings.Contains(got, "changed: root") || strings.Contains(got, "changed: cwd") {
			t.Error(got)
		}
		b.journal.Says(t, "alice", "private /tmp")
	})
}

// The same where the commit fails after the namespace has been entered.
func TestARootDirectoryIsRestored(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.fakeFor("root-is-a-file", 5)
		root := b.changedRoot(t)
		b.refused("cannot enter the root directory", "start", "chroot", root, "chdir", "/usr", "open")
	})
}

// changedRoot mounts the directories of / below another directory until the test ends.
func (b *bench) changedRoot(t *testing.T) string {
	t.Helper()
	root := b.conf + "/root"
	must(t, os.Mkdir(root, 0o755))
	must(t, unix.Mount("root", root, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(root, unix.MNT_DETACH)) })
	must(t, unix.Mount("", root, "", unix.MS_PRIVATE, ""))
	for _, name := range []string{"usr", "etc", "opt", "proc", "dev", "tmp", "run"} {
		must(t, os.Mkdir(root+"/"+name, 0o755))
		must(t, unix.Mount("/"+name, root+"/"+name, "", unix.MS_BIND, ""))
		must(t, unix.Mount("", root+"/"+name, "", unix.MS_PRIVATE, ""))
	}
	for _, name := range []string{"lib", "lib64"} {
		must(t, os.Symlink("usr/"+name, root+"/"+name))
	}
	return root
}

// What the commit refuses leaves PAM's variables as they were, and removes the record.
func TestWhatTheCommitRefusesIsUndone(t *testing.T) {
	for mode, why := range map[string]string{
		"a-file": "something else", "a-process": "something else", "a-network": "something else",
		"root-is-a-file": "cannot enter the root directory of the login process in the user's mount namespace (fchdir, chroot): Not a directory",
	} {
		t.Run(mode, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				b.fakeFor(mode, 5)
				record := "/run/gotmpns/sessions/1000/12-34-ab"
				for user, status := range map[string]string{"alice": systemErr, "root": success} {
					must(t, os.MkdirAll("/run/gotmpns/sessions/1000", 0o700))
					must(t, os.WriteFile(record, nil, 0o600))
					got := b.run(user, "putenv", "TMP=/old", "chdir", "/usr", "open", "getenv", "TMP", "getenv", "TMPDIR", "cwd")
					for _, part := range []string{status, "TMP=/old\n", "TMPDIR=(unset)\n", "cwd=/usr\n"} {
						want(t, got, part)
					}
					if strings.Contains(got, "changed: ") || strings.Contains(got, "info=") {
						t.Errorf("%s: %s", user, got)
					}
					b.journal.Says(t, user, why)
					if mode != "a-process" && mode != "a-network" && exists(record) {
						t.Error("the record is still there")
					}
				}
			})
		})
	}
}

// The record of a session goes with it, and the user's directory stays.
func TestCloseRemovesTheRecordAlone(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.fakeFor("joins-with-all", 5)
		record := "/run/gotmpns/sessions/1000/12-34-ab"
		must(t, os.MkdirAll("/run/gotmpns/sessions/1000", 0o700))
		must(t, os.WriteFile(record, nil, 0o600))
		got := b.run("alice", "open", "run", "ls "+record+" | wc -l", "close", "close")
		want(t, got, "1\n")
		if strings.Count(got, "close=0") != 2 || exists(record) || !exists("/run/gotmpns/sessions/1000") {
			t.Error(got)
		}
		b.journal.Lines()
	})
}

// PAM_SILENT: nothing is shown, refused or not.
func TestASilentHost(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		for mode, status := range map[string]string{"joins-with-all": success, "refuses": systemErr} {
			b.fakeFor(mode, 5)
			got := b.run("alice", "silent", "open")
			want(t, got, status)
			if strings.Contains(got, "info=") || strings.Contains(got, "error=") {
				t.Error(got)
			}
		}
		b.journal.Lines()
	})
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
