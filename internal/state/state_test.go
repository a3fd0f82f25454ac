package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// open makes a state directory below a root of the test's own, with a /proc in
// which this process is all there is.
func open(t *testing.T) (*Dir, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the state directory belongs to root")
	}
	root := t.TempDir()
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	self := root + "/proc/" + strconv.Itoa(os.Getpid())
	for _, dir := range []string{root + "/run", self} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(self+"/stat", stat, 0o644); err != nil {
		t.Fatal(err)
	}
	place, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(place)
	if err != nil {
		t.Fatal(err)
	}
	return d, root + Path
}

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	d, _ := open(t)
	for _, odd := range []string{"/tmp", "/a b", "/a@b", "/%2F", "/\"quoted\"", "/line\nbreak=x", "/\xff"} {
		base := Base{Name: "gotmpns-" + odd, ID: mountfd.ID{Device: 1 << 40, Inode: 7}}
		if err := d.SetBase(odd, base); err != nil {
			t.Fatal(err)
		}
		got, ok := d.Base(odd)
		if diff := cmp.Diff(base, got); !ok || diff != "" {
			t.Errorf("%q: %v %s", odd, ok, diff)
		}
		tmpfs := Tmpfs{Target: odd, UID: 1000, User: odd, ID: mountfd.ID{Device: 3, Inode: 4}}
		if err := d.SetTmpfs(tmpfs); err != nil {
			t.Fatal(err)
		}
		found, ok := d.FindTmpfs(odd, tmpfs.ID)
		if diff := cmp.Diff(tmpfs, found); !ok || diff != "" {
			t.Errorf("%q: %v %s", odd, ok, diff)
		}
	}
	if _, ok := d.FindTmpfs("/tmp", mountfd.ID{}); ok {
		t.Error("no file at all is an instance")
	}
}

func TestRecordsThatAreNoneAreNotBelieved(t *testing.T) {
	d, path := open(t)
	if err := os.MkdirAll(path+"/bases", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"garbage": "garbage", "half": "NAME=\"x", "empty": ""} {
		if err := os.WriteFile(path+"/bases/%2Ftmp", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if base, ok := d.Base("/tmp"); ok && (base.Name != "" || base.ID.Inode != 0) {
			t.Errorf("%s: %+v", name, base)
		}
	}
	_ = os.Remove(path + "/bases/%2Ftmp")
	if err := unix.Mkfifo(path+"/bases/%2Ftmp", 0o600); err != nil {
		t.Fatal(err)
	}
	if base, ok := d.Base("/tmp"); ok && base.Name != "" {
		t.Errorf("a FIFO: %+v", base)
	}
}

func TestAStateDirectoryOfOthersIsRefused(t *testing.T) {
	_, path := open(t)
	root, err := os.OpenFile(strings.TrimSuffix(path, Path), unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root); err == nil || !strings.Contains(err.Error(), "cannot trust") {
		t.Errorf("error is %v", err)
	}
}

func TestStartTimeOfAProcessThatLies(t *testing.T) {
	fields := make([]string, 50)
	for i := range fields {
		fields[i] = strconv.Itoa(i + 3)
	}
	for _, comm := range []string{"bash", ") S 1 2 3", "a b", "((", "\n"} {
		got, err := StartTimeIn("77 (" + comm + ") " + strings.Join(fields, " ") + "\n")
		if err != nil || got != "22" {
			t.Errorf("%q: %s, %v", comm, got, err)
		}
	}
	if got, err := StartTimeIn("77 (x) S 1"); err == nil {
		t.Errorf("got %s", got)
	}
}

func TestSweepRemovesTheDeadAndKeepsTheLiving(t *testing.T) {
	d, path := open(t)
	mine, err := d.NewName(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	pid, start, _ := strings.Cut(mine, "-")
	start, _, _ = strings.Cut(start, "-")
	reused := pid + "-1" + start + "-00000000" // the same pid, another process
	for _, name := range []string{mine, "4194304-5-00000000", reused} {
		if err := d.SetSession(Session{Name: name, UID: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	for _, session := range []string{"", mine, "4194304-5-00000000"} {
		if err := d.SetTmpfs(Tmpfs{Target: "/tmp", UID: 1000, Session: session}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path+"/sessions/.new-young", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Sweep()
	left, _ := filepath.Glob(path + "/[st]*/*")
	want := []string{path + "/sessions/.new-young", path + "/sessions/" + mine, path + "/tmpfs/%2Ftmp@1000", path + "/tmpfs/%2Ftmp@1000." + mine}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Error(diff)
	}
	var pids []int
	for pid := range d.PIDs(1000) {
		pids = append(pids, pid)
	}
	if diff := cmp.Diff([]int{os.Getpid()}, pids); diff != "" {
		t.Error(diff)
	}
	d.RemoveSession(mine)
	if _, err := os.Stat(path + "/sessions/" + mine); err == nil {
		t.Error("the record is still there")
	}
}

func TestOneSweepDoesABoundedAmount(t *testing.T) {
	d, _ := open(t)
	for i := range 3 * sweepAtMost {
		if err := d.SetSession(Session{Name: fmt.Sprintf("4194304-%d-00000000", i+1)}); err != nil {
			t.Fatal(err)
		}
	}
	for want := 2 * sweepAtMost; want >= 0; want -= sweepAtMost {
		d.Sweep()
		if got := len(d.names("sessions")); got != want {
			t.Errorf("%d are left, want %d", got, want)
		}
	}
}

func TestWritersDoNotMix(t *testing.T) {
	d, _ := open(t)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for range 50 {
				name := strings.Repeat(string(rune('a'+i)), 1000)
				if err := d.SetBase("/tmp", Base{Name: name}); err != nil {
					t.Error(err)
				}
				got, ok := d.Base("/tmp")
				if !ok || len(got.Name) != 1000 || strings.Trim(got.Name, got.Name[:1]) != "" {
					t.Errorf("half a record: %v %q", ok, got.Name)
				}
			}
		}()
	}
	wait.Wait()
}

func TestSessionsAreListedWithTheLivingAndTheDeadToldApart(t *testing.T) {
	d, path := open(t)
	name, err := d.NewName(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	living := Session{
		Name: name, UID: 1000, User: "alice\nbob", Service: "sshd", TTY: "pts/0", RHost: "::1", Targets: []string{"/tmp", "/dev/shm"},
	}
	dead := Session{Name: strconv.Itoa(os.Getpid()) + "-1-aaaaaaaa", UID: 1001, User: "bob"}
	for _, s := range []Session{living, dead} {
		if err := d.SetSession(s); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(path+"/sessions/"+dead.Name, began, began); err != nil {
		t.Fatal(err)
	}
	for _, junk := range []string{"README", unfinished + "00000000", "0-1-x"} {
		if err := os.WriteFile(path+"/sessions/"+junk, []byte("UID=\"0\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := d.Sessions()
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	if diff := cmp.Diff(dead, got[0].Session); diff != "" || got[0].Alive || !got[0].Since.Equal(began) || d.Lives(dead.Name) {
		t.Errorf("the dead one: %s %+v", diff, got[0])
	}
	if diff := cmp.Diff(living, got[1].Session); diff != "" || !got[1].Alive || got[1].PID != os.Getpid() || !d.Lives(name) {
		t.Errorf("the living one: %s %+v", diff, got[1])
	}
}

func TestLookingMakesNothing(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(root+"/proc", 0o755); err != nil {
		t.Fatal(err)
	}
	place, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Look(place)
	if err != nil {
		t.Fatal(err)
	}
	if _, found := d.Base("/tmp"); found || d.Sessions() != nil || len(d.Bases()) != 0 || d.AllTmpfs() != nil {
		t.Error("something is recorded where nothing is")
	}
	if entries, _ := os.ReadDir(root); len(entries) != 1 {
		t.Errorf("looking made something: %v", entries)
	}
}
