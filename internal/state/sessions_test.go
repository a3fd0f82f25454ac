package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gotmpns/internal/proc"
	"gotmpns/test/leftover"
	"gotmpns/test/process"
)

func TestAClaimIsASessionBeforeItIsFilled(t *testing.T) {
	d, path := open(t)
	c, err := d.Claim(alice, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path + "/sessions/" + c.Name)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	got := d.Living(alice)
	want := Session{Name: c.Name, UID: alice}
	if len(got) != 1 || got[0].PID != os.Getpid() || cmp.Diff(want, got[0].Session) != "" {
		t.Errorf("%+v", got)
	}
	if users := d.Users(); cmp.Diff([]uint32{alice}, users) != "" {
		t.Errorf("there are sessions of %v", users)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	d.RemoveSession(c.Name)
	if got := d.Sessions(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestEachSessionOfOneProcessHasItsRecord(t *testing.T) {
	d, _ := open(t)
	names := map[string]bool{}
	for _, uid := range []uint32{alice, alice, bob} {
		names[claim(t, d, Session{UID: uid})] = true
	}
	if len(names) != 3 || len(d.Living(alice)) != 2 || len(d.Living(bob)) != 1 {
		t.Errorf("%v", names)
	}
}

func TestThereIsNoClaimWithoutAProcess(t *testing.T) {
	d, _ := open(t)
	zombie := process.Stay(t, "")
	zombie.Kill()
	for name, pid := range map[string]int{"nobody's": 1 << 22, "a zombie's": zombie.PID, "zero": 0, "a group's": -1} {
		if c, err := d.Claim(alice, pid); err == nil {
			t.Errorf("%s pid: there is a claim, %s", name, c.Name)
		}
	}
	if got := d.Sessions(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestAProcessThatHasEndedIsNotLiving(t *testing.T) {
	d, _ := open(t)
	login := process.Stay(t, "")
	c, err := d.Claim(alice, login.PID)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Living(alice)) != 1 {
		t.Error("it does not live while it is there")
	}
	login.Kill() // nobody has waited for it
	if got := d.Living(alice); len(got) != 0 {
		t.Errorf("a zombie lives: %+v", got)
	}
	if diff := cmp.Diff([]uint32{alice}, d.Sweep()); diff != "" || len(d.Sessions()) != 0 {
		t.Errorf("sweep: %s, %+v is left", diff, d.Sessions())
	}
	if err := c.Fill(Session{UID: alice}); err != nil { // its worker is slow
		t.Error(err)
	}
	if got := d.Sessions(); len(got) != 0 {
		t.Errorf("a record has come back: %+v", got)
	}
}

func TestVeryManyRecordsOfEndedSessionsAreRemoved(t *testing.T) {
	d, path := open(t)
	living := claim(t, d, Session{UID: alice})
	leave := func(count int) {
		t.Helper()
		for i := range count {
			name := fmt.Sprintf("%s/sessions/%d/%d-1-%08x", path, alice, os.Getpid(), i)
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(count int) {
		t.Helper()
		if n := len(d.Sessions()); n != count {
			t.Errorf("%d records are there, want %d", n, count)
		}
	}
	leave(pruneAbove - 1)
	d.Prune(alice)
	want(pruneAbove)
	leave(pruneAbove)
	d.Prune(bob)
	want(pruneAbove + 1)
	d.Prune(alice)
	want(1)
	if all := d.Living(alice); len(all) != 1 || all[0].Name != living {
		t.Errorf("%+v", all)
	}
}

func TestAPidThatIsGivenOutAgainIsNotLiving(t *testing.T) {
	leftover.Require(t)
	d, _ := open(t)
	first := process.Stay(t, "")
	c, err := d.Claim(alice, first.PID)
	if err != nil {
		t.Fatal(err)
	}
	start, err := proc.Began(first.PID)
	if err != nil {
		t.Fatal(err)
	}
	first.End()
	second := process.Again(t, first.PID)
	for proc.Is(second.PID, start) { // within one tick of the clock
		second.End()
		second = process.Again(t, first.PID)
	}
	if got := d.Living(alice); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	later, err := d.Claim(alice, second.PID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{later.Name}, namesOf(d.Living(alice))); diff != "" {
		t.Error(diff)
	}
	d.Sweep()
	if diff := cmp.Diff([]string{later.Name}, namesOf(d.Sessions())); diff != "" || later.Name == c.Name {
		t.Error(diff)
	}
}

// Sessions that were open when the package was upgraded go on.
func TestRecordsOfVersion01AreSessions(t *testing.T) {
	d, path := open(t)
	start, err := proc.Began(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	old := Session{
		Name: strconv.Itoa(os.Getpid()) + "-" + start + "-0badcafe", UID: alice, User: "alice", Service: "sshd",
		TTY: "pts/0", RHost: "::1", Targets: []string{"/tmp", "/dev/shm"},
	}
	putFile(t, path+"/sessions/"+old.Name,
		`UID="1000"`+"\n"+`USER="alice"`+"\n"+`SERVICE="sshd"`+"\n"+`TTY="pts/0"`+"\n"+`RHOST="::1"`+"\n"+`TARGETS="/tmp\n/dev/shm"`+"\n")
	d.Sweep()
	got := d.Sessions()
	if len(got) != 1 || !got[0].Lives() {
		t.Fatalf("%+v", got)
	}
	if diff := cmp.Diff(old, got[0].Session); diff != "" {
		t.Error(diff)
	}
	d.RemoveSession(old.Name)
	if got := d.Sessions(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestAReaderSeesAWholeRecordOrNone(t *testing.T) {
	d, path := open(t)
	whole := Session{UID: alice, User: strings.Repeat("u", 3000), Key: strings.Repeat("k", 30000), Why: strings.Repeat("w", 3000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		writer := another(t, path)
		for range 200 {
			c, err := writer.Claim(alice, os.Getpid())
			if err == nil {
				err = c.Fill(whole)
			}
			if err != nil {
				t.Error(err)
				return
			}
			writer.RemoveSession(c.Name)
		}
	}()
	for {
		for _, r := range d.Living(alice) {
			want := whole
			want.Name = r.Name
			empty := Session{Name: r.Name, UID: alice}
			if cmp.Diff(empty, r.Session) != "" && cmp.Diff(want, r.Session) != "" {
				t.Fatalf("half a record: %d, %d, %d characters", len(r.User), len(r.Key), len(r.Why))
			}
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestClaimsAndTheRemovalOfTheEmptyDirectoryDoNotMix(t *testing.T) {
	d, path := open(t)
	done, broker := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(broker)
		for {
			select {
			case <-done:
				return
			default:
				d.DropUser(alice)
				time.Sleep(time.Millisecond) // no broker does it more often, by far
			}
		}
	}()
	race(t, path, func(login *Dir, _ int) string {
		for range 20 {
			c, err := login.Claim(alice, os.Getpid())
			if err != nil {
				t.Error(err)
				return ""
			}
			_ = c.Close()
			if _, err := os.Stat(path + "/sessions/" + c.Name); err != nil {
				t.Error(err)
			}
			login.RemoveSession(c.Name)
		}
		return ""
	})
	close(done)
	<-broker
}

// What a login asks for is found by its user: the number of others costs nothing.
func TestNoLoginReadsTheRecordsOfOthers(t *testing.T) {
	d, path := open(t)
	claim(t, d, Session{UID: bob})
	if err := d.SetTmpfs(Tmpfs{Target: "/tmp", UID: bob, Mark: "1001 x"}); err != nil {
		t.Fatal(err)
	}
	events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(events)
	for _, directory := range []string{"/sessions", "/sessions/1001", "/tmpfs", "/tmpfs/1001"} {
		if _, err := unix.InotifyAddWatch(events, path+directory, unix.IN_ACCESS); err != nil {
			t.Fatal(err)
		}
	}
	claim(t, d, Session{UID: alice})
	if len(d.Living(alice)) != 1 {
		t.Error("alice has no session")
	}
	d.TmpfsOf(alice)
	d.Tmpfs("/tmp", alice)
	d.ForgetTmpfs(alice)
	d.DropUser(alice)
	if read := whatWasRead(events); len(read) != 0 {
		t.Errorf("a login of alice has read %q", read)
	}
	d.Living(bob)
	if len(whatWasRead(events)) == 0 {
		t.Error("this would not have seen it")
	}
}

// whatWasRead returns the names of what was read in the directories that are watched,
// except for alice's own; empty is the name of such a directory itself.
func whatWasRead(inotify int) []string {
	var buffer [4096]byte
	n, err := unix.Read(inotify, buffer[:])
	if err != nil {
		return nil // EAGAIN: nothing
	}
	var names []string
	for at := 0; at < n; {
		const header, length = unix.SizeofInotifyEvent, 12
		end := at + header + int(binary.NativeEndian.Uint32(buffer[at+length:]))
		if name := strings.TrimRight(string(buffer[at+header:end]), "\x00"); name != "1000" {
			names = append(names, name)
		}
		at = end
	}
	return names
}

func TestWhatHasGoneIsNoError(t *testing.T) {
	d, path := open(t)
	name := claim(t, d, Session{UID: alice})
	if err := os.RemoveAll(path + "/sessions"); err != nil {
		t.Fatal(err)
	}
	d.RemoveSession(name)
	d.DropUser(alice)
	if d.Living(alice) != nil || d.Sessions() != nil || len(d.Sweep()) != 0 {
		t.Error("something is there")
	}
	claim(t, d, Session{UID: alice})
	if len(d.Living(alice)) != 1 {
		t.Error("there is no new record")
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if c, err := d.Claim(alice, os.Getpid()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a claim in a directory that has gone: %+v, %v", c, err)
	}
}

// A file system that is nearly full takes the beginning of a record, as a pipe does.
func TestARecordThatIsCutOffIsAnError(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	c := Claim{Name: "1000/1-1-1", fd: pipe[1]}
	if err := c.Fill(Session{Key: strings.Repeat("x", 1<<20)}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the error is %v", err)
	}
}
