package state

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	alice = 1000
	bob   = 1001
)

// noProcess is a pid that no process ever has: the largest one is 2^22 - 1 (proc(5)).
const noProcess = "4194304"

// open makes a state directory below a root of the test's own.
func open(t *testing.T) (*Dir, string) {
	t.Helper()
	root := newRoot(t)
	d, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d, root.Name() + Path
}

func newRoot(t *testing.T) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the state directory belongs to root")
	}
	root := t.TempDir()
	if err := os.Mkdir(root+"/run", 0o755); err != nil {
		t.Fatal(err)
	}
	place, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = place.Close() })
	return place
}

// another opens the state directory at path once more, as another login does.
func another(t *testing.T, path string) *Dir {
	t.Helper()
	root, err := os.OpenFile(strings.TrimSuffix(path, Path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	d, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// claim records a session of this very process.
func claim(t *testing.T, d *Dir, s Session) (name string) {
	t.Helper()
	c, err := d.Claim(s.UID, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Fill(s); err != nil {
		t.Fatal(err)
	}
	return c.Name
}

// putFile writes a file below the state directory, with the directories on the way.
func putFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(path[:strings.LastIndexByte(path, '/')], 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func namesOf(all []Recorded) []string {
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return names
}

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	d, _ := open(t)
	bases := map[string]string{}
	for _, odd := range []string{"/tmp", "/a b", "/a@b", "/%2F", "/\"quoted\"", "/line\nbreak=x", "/\xff"} {
		bases[odd] = "gotmpns-" + odd
		if name, err := d.SetBase(odd, "", bases[odd]); err != nil || name != bases[odd] || d.Base(odd) != name {
			t.Errorf("%q: %q, %v; the record says %q", odd, name, err, d.Base(odd))
		}
		tmpfs := Tmpfs{Target: odd, UID: alice, User: odd, Mark: "1000 " + odd}
		if err := d.SetTmpfs(tmpfs); err != nil {
			t.Fatal(err)
		}
		found, ok := d.Tmpfs(odd, alice)
		if diff := cmp.Diff(tmpfs, found); !ok || diff != "" {
			t.Errorf("%q: %v %s", odd, ok, diff)
		}
	}
	if diff := cmp.Diff(bases, d.Bases()); diff != "" {
		t.Error(diff)
	}
}

func TestATmpfsIsRecordedForItsUserAlone(t *testing.T) {
	d, _ := open(t)
	for _, record := range []Tmpfs{
		{Target: "/tmp", UID: alice, User: "alice", Mark: "1000 a"},
		{Target: "/dev/shm", UID: alice, User: "alice", Mark: "1000 b"},
		{Target: "/tmp", UID: bob, User: "bob", Mark: "1001 c"},
	} {
		if err := d.SetTmpfs(record); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.TmpfsOf(alice); len(got) != 2 || got[0].UID != alice || got[1].UID != alice {
		t.Errorf("alice has %+v", got)
	}
	d.ForgetTmpfs(alice)
	if got := d.TmpfsOf(alice); len(got) != 0 {
		t.Errorf("alice still has %+v", got)
	}
	if got, ok := d.Tmpfs("/tmp", bob); !ok || got.Mark != "1001 c" {
		t.Errorf("bob has %+v, %v", got, ok)
	}
}

func TestRecordsThatAreNoneAreNotBelieved(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"garbage":    func(p string) error { return os.WriteFile(p, []byte("garbage"), 0o600) },
		"half":       func(p string) error { return os.WriteFile(p, []byte("NAME=\"x"), 0o600) },
		"empty":      func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"a FIFO":     func(p string) error { return unix.Mkfifo(p, 0o600) },
		"a link":     func(p string) error { return os.Symlink("../real", p) },
		"a link out": func(p string) error { return os.Symlink("/etc/passwd", p) },
		"directory":  func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			d, path := open(t)
			putFile(t, path+"/real", "TARGET=\"/tmp\"\nNAME=\"x\"\nMARK=\"x\"\n")
			for _, directory := range []string{"/bases", "/tmpfs/1000"} {
				if err := os.MkdirAll(path+directory, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := make(path + directory + "/%2Ftmp"); err != nil {
					t.Fatal(err)
				}
			}
			if base := d.Base("/tmp"); base != "" {
				t.Errorf("the base is %q", base)
			}
			if tmpfs, _ := d.Tmpfs("/tmp", alice); tmpfs.Mark != "" {
				t.Errorf("the tmpfs is %+v", tmpfs)
			}
		})
	}
}

func TestAStateDirectoryOfOthersIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"open to others": func(p string) error { return os.Chmod(p, 0o755) },
		"sticky":         func(p string) error { return unix.Chmod(p, 0o1700) },
		"a user's":       func(p string) error { return os.Chown(p, alice, 0) },
		"a link":         func(p string) error { return moved(p, os.Symlink) },
		"a file":         func(p string) error { return moved(p, func(_, p string) error { return os.WriteFile(p, nil, 0o700) }) },
	} {
		t.Run(name, func(t *testing.T) {
			d, path := open(t)
			for _, directory := range []string{"/sessions", "/locks"} {
				if err := os.Mkdir(path+directory, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := spoil(path + directory); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := d.Claim(alice, os.Getpid()); err == nil || !strings.Contains(err.Error(), "cannot") {
				t.Errorf("error of a claim is %v", err)
			}
			if _, err := d.LockUser(alice, 0); err == nil || !strings.Contains(err.Error(), "cannot") {
				t.Errorf("error of a lock is %v", err)
			}
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenFile(strings.TrimSuffix(path, Path), unix.O_PATH, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if _, err := Open(root); err == nil || !strings.Contains(err.Error(), "cannot") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// moved replaces path by something that could stand for it.
func moved(path string, put func(old, path string) error) error {
	if err := os.Rename(path, path+".moved"); err != nil {
		return err
	}
	return put(path+".moved", path)
}

func TestLookingMakesNothing(t *testing.T) {
	root := t.TempDir()
	place, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer place.Close()
	d, err := Look(place)
	if err != nil {
		t.Fatal(err)
	}
	_, tmpfs := d.Tmpfs("/tmp", alice)
	if tmpfs || d.Base("/tmp") != "" || d.Sessions() != nil || len(d.Bases()) != 0 || d.TmpfsOf(alice) != nil ||
		d.Users() != nil || d.Living(alice) != nil {
		t.Error("something is recorded where nothing is")
	}
	d.RemoveSession("1000/1-1-x")
	d.ForgetTmpfs(alice)
	d.DropUser(alice)
	if ended := d.Sweep(); len(ended) != 0 {
		t.Errorf("sessions of %v have ended where none was", ended)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(root); len(entries) != 0 {
		t.Errorf("looking made something: %v", entries)
	}
}

func TestSweepRemovesTheDeadAndKeepsTheLiving(t *testing.T) {
	d, path := open(t)
	mine := claim(t, d, Session{UID: alice, User: "alice"})
	pid, start, _ := strings.Cut(strings.TrimPrefix(mine, "1000/"), "-")
	start, _, _ = strings.Cut(start, "-")
	for _, dead := range []string{
		"1000/" + noProcess + "-5-00000000",
		"1000/" + pid + "-1" + start + "-00000000", // the same pid, another process
		"1001/" + noProcess + "-5-00000001",
		noProcess + "-5-00000002", // of version 0.1
	} {
		putFile(t, path+"/sessions/"+dead, "USER=\"x\"\nUID=\"1002\"\n")
	}
	young := ".new-young"
	for _, file := range []string{"/sessions/", "/bases/", "/tmpfs/"} {
		putFile(t, path+file+young, "")
		putFile(t, path+file+".new-old", "")
		hours := time.Now().Add(-2 * time.Hour)
		if err := os.Chtimes(path+file+".new-old", hours, hours); err != nil {
			t.Fatal(err)
		}
	}
	ended := d.Sweep()
	slices.Sort(ended)
	if diff := cmp.Diff([]uint32{1000, 1001, 1002}, ended); diff != "" {
		t.Errorf("the users: %s", diff)
	}
	if diff := cmp.Diff([]string{mine}, namesOf(d.Sessions())); diff != "" {
		t.Errorf("the records: %s", diff)
	}
	for _, directory := range []string{"sessions", "bases", "tmpfs"} {
		names := slices.DeleteFunc(d.names(directory), func(name string) bool { return !strings.HasPrefix(name, unfinished) })
		if diff := cmp.Diff([]string{young}, names); diff != "" {
			t.Errorf("%s: %s", directory, diff)
		}
	}
	if d.Sweep() != nil && len(d.Sweep()) != 0 {
		t.Error("they end again and again")
	}
}

func TestADirectoryWithASessionIsNotDropped(t *testing.T) {
	d, path := open(t)
	name := claim(t, d, Session{UID: alice})
	d.DropUser(alice)
	if diff := cmp.Diff([]string{name}, namesOf(d.Living(alice))); diff != "" {
		t.Error(diff)
	}
	d.RemoveSession(name)
	d.DropUser(alice)
	if _, err := os.Stat(path + "/sessions/1000"); err == nil {
		t.Error("the empty directory is still there")
	}
	if users := d.Users(); len(users) != 0 {
		t.Errorf("there are sessions of %v", users)
	}
}

func TestSessionsAreListedWithTheLivingAndTheDeadToldApart(t *testing.T) {
	d, path := open(t)
	living := Session{
		UID: alice, User: "alice\nbob", Service: "sshd", TTY: "pts/0", RHost: "::1",
		Targets: []string{"/tmp", "/dev/shm"}, Key: "create\nattach \"/tmp\"\n", Why: "the first session",
	}
	living.Name = claim(t, d, living)
	dead := "1001/" + strconv.Itoa(os.Getpid()) + "-1-aaaaaaaa"
	putFile(t, path+"/sessions/"+dead, "USER=\"bob\"\n")
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(path+"/sessions/"+dead, began, began); err != nil {
		t.Fatal(err)
	}
	for _, junk := range []string{"README", unfinished + "00000000", "0-1-x", "1000/README", "1000/" + unfinished + "x", "nobody/1-1-x"} {
		putFile(t, path+"/sessions/"+junk, "UID=\"0\"\n")
	}
	got := d.Sessions()
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	if diff := cmp.Diff(Session{Name: dead, UID: bob, User: "bob"}, got[0].Session); diff != "" || got[0].Lives() || !got[0].Since.Equal(began) {
		t.Errorf("the dead one: %s %+v", diff, got[0])
	}
	if diff := cmp.Diff(living, got[1].Session); diff != "" || !got[1].Lives() || got[1].PID != os.Getpid() {
		t.Errorf("the living one: %s %+v", diff, got[1])
	}
	if diff := cmp.Diff([]string{living.Name}, namesOf(d.Living(alice))); diff != "" || len(d.Living(bob)) != 0 {
		t.Errorf("living: %s %+v", diff, d.Living(bob))
	}
}
