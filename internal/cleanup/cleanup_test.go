package cleanup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/instance"
	"gotmpns/internal/policy"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
	"gotmpns/test/leftover"
)

// host is a target of the test's own, with the records that its sessions have.
type host struct {
	*testing.T
	view    *view.View
	records *state.Dir
	private policy.Private
	target  string
}

func newHost(t *testing.T) *host {
	t.Helper()
	leftover.Require(t)
	// Outside of /tmp, where the tests themselves have files.
	target, err := os.MkdirTemp("/opt", "target")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(target); _ = os.RemoveAll("/run/gotmpns") })
	must(t, os.Chmod(target, os.ModeSticky|0o777))
	h := &host{T: t, target: target}
	h.view, err = view.Enter(os.Getpid()) // this goroutine keeps its thread, which ends with it
	must(t, err)
	h.records, err = state.Open(h.view.Host.Root)
	must(t, err)
	h.private = policy.Private{Target: target, Kind: policy.Directory, Scope: policy.User, Cleanup: policy.AtLogout}
	return h
}

// instance makes one with a file in it, and returns its path.
func (h *host) instance(owner instance.Owner) string {
	h.Helper()
	place, err := instance.OpenTarget(h.view.Host, h.target)
	must(h.T, err)
	defer place.Dir.Close()
	store := instance.NewStore(h.view, h.records)
	defer store.Close()
	dir, err := store.Directory(place, policy.Private{}, owner)
	must(h.T, err)
	defer dir.Close()
	path := filepath.Join(h.base(), filepath.Base(dir.Name()))
	must(h.T, os.WriteFile(path+"/file", nil, 0o600))
	return path
}

func (h *host) base() string { return h.target + "/" + h.records.Base(h.target) }

// session records one that this process has opened.
func (h *host) session(uid uint32) (name string) {
	h.Helper()
	claim, err := h.records.Claim(uid, os.Getpid())
	must(h.T, err)
	must(h.T, claim.Close())
	return claim.Name
}

func (h *host) cleaner() *Cleaner {
	h.Helper()
	c, err := New(Options{View: h.view, Records: h.records, Policy: policy.Policy{Private: []policy.Private{h.private}}})
	must(h.T, err)
	h.Cleanup(c.Close)
	return c
}

// find returns what is due.
func (h *host) find(c *Cleaner, kinds ...Kind) []Due {
	h.Helper()
	due, err := c.Find(kinds...)
	must(h.T, err)
	return due
}

// want compares paths on the host with what is due or was removed.
func (h *host) want(due []Due, paths ...string) {
	h.Helper()
	var got []string
	for _, d := range due {
		got = append(got, d.Path)
	}
	if strings.Join(got, " ") != strings.Join(paths, " ") {
		h.Errorf("got %q, and not %q", got, paths)
	}
}

func (h *host) remove(c *Cleaner, due []Due) []Due {
	h.Helper()
	removed, err := c.Remove(due)
	must(h.T, err)
	return removed
}

// names lists the base.
func (h *host) names() string {
	h.Helper()
	entries, err := os.ReadDir(h.base())
	must(h.T, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func (h *host) wantNames(want string) {
	h.Helper()
	if got := h.names(); got != want {
		h.Errorf("the base has %q, and not %q", got, want)
	}
}

var (
	alice = instance.Owner{UID: 1000, User: "alice"}
	bob   = instance.Owner{UID: 1001, User: "bob"}
)

func TestTheInstanceOfAUserWithoutASessionIsRemoved(t *testing.T) {
	h := newHost(t)
	gone := h.instance(alice)
	h.instance(bob)
	session := h.session(bob.UID)
	c := h.cleaner()
	h.want(h.remove(c, h.find(c, Always...)), gone)
	h.wantNames("1001 1001.user")
	h.records.RemoveSession(session)
	h.remove(c, h.find(c, Always...))
	h.wantNames("")
}

// Only what the policy says; the rest is there for whom asks.
func TestWhatIsNotToBeEmptiedAtLogoutStays(t *testing.T) {
	h := newHost(t)
	h.private.Cleanup = policy.AtBoot
	path := h.instance(alice)
	c := h.cleaner()
	h.want(h.find(c, Always...))
	h.want(h.find(c, Unused), path)
}

func TestTheEndOfOneUsersSessions(t *testing.T) {
	h := newHost(t)
	path := h.instance(alice)
	h.instance(bob)
	c := h.cleaner()
	due, err := c.FindUsers(map[uint32]bool{alice.UID: true})
	must(t, err)
	h.want(h.remove(c, due), path)
	h.wantNames("1001 1001.user")
}

// An instance of one session goes with that session, also where it stayed empty.
func TestTheInstanceOfASession(t *testing.T) {
	h := newHost(t)
	h.private.Scope = policy.Session
	names := []string{h.session(alice.UID), h.session(alice.UID)}
	var paths []string
	for _, name := range names {
		owner := alice
		owner.Session = name
		paths = append(paths, h.instance(owner))
	}
	must(t, os.Remove(paths[0]+"/file"))
	c := h.cleaner()
	h.want(h.find(c, Always...))
	h.records.RemoveSession(names[0])
	due, err := c.FindUsers(map[uint32]bool{bob.UID: true})
	must(t, err)
	h.want(due)
	due, err = c.FindUsers(map[uint32]bool{alice.UID: true})
	must(t, err)
	h.want(h.remove(c, due), paths[0])
	h.wantNames(filepath.Base(paths[1]) + " " + filepath.Base(paths[1]) + ".user")
}

// A login that comes when the instance has been found due keeps it.
func TestALoginBeforeTheRename(t *testing.T) {
	h := newHost(t)
	path := h.instance(alice)
	c := h.cleaner()
	due := h.find(c, Always...)
	h.want(due, path)
	h.session(alice.UID)
	h.want(h.remove(c, due))
	h.wantNames("1000 1000.user")
}

// A process that comes then keeps it, too, though it has no session.
func TestAProcessBeforeTheRename(t *testing.T) {
	h := newHost(t)
	path := h.instance(alice)
	c := h.cleaner()
	due := h.find(c, Always...)
	sleep := exec.Command("sleep", "1000")
	sleep.Dir = path
	must(t, sleep.Start())
	h.want(h.remove(c, due))
	h.wantNames("1000 1000.user")
	must(t, sleep.Process.Kill())
	_ = sleep.Wait()
	h.want(h.remove(c, due), path)
	h.wantNames("")
}

// What a process uses when its user has a new instance already is kept under a name
// that nobody is given, until the process has ended.
func TestAnInstanceThatCannotBeGivenBack(t *testing.T) {
	h := newHost(t)
	path := h.instance(alice)
	c := h.cleaner()
	due := h.find(c, Always...)
	retired, ok, err := c.retire(due[0])
	must(t, err)
	if !ok {
		t.Fatal("it was not retired")
	}
	sleep := exec.Command("sleep", "1000")
	sleep.Dir = filepath.Join(h.base(), retired.entry.Name())
	must(t, sleep.Start())
	h.instance(alice)
	h.session(alice.UID)
	must(t, c.giveBack([]Due{retired}, nil))
	h.wantNames(retired.entry.Name() + " 1000 1000.user")
	h.want(h.find(c, Always...))
	must(t, sleep.Process.Kill())
	_ = sleep.Wait()
	h.remove(c, h.find(c, Always...))
	h.wantNames("1000 1000.user")
	if _, err := os.Stat(path + "/file"); err != nil {
		t.Error(err)
	}
}

// The rest of a removal is nobody's instance any more, even if a process uses it.
func TestARestIsNotGivenBack(t *testing.T) {
	h := newHost(t)
	h.instance(alice)
	rest := h.base() + "/.gone-12345678.1000"
	must(t, os.Rename(h.base()+"/1000", rest))
	must(t, os.Remove(h.base()+"/1000.user"))
	c := h.cleaner()
	due := h.find(c, Always...)
	h.want(due, rest)
	sleep := exec.Command("sleep", "1000")
	sleep.Dir = rest
	must(t, sleep.Start())
	h.want(h.remove(c, due))
	h.wantNames(filepath.Base(rest))
	must(t, sleep.Process.Kill())
	_ = sleep.Wait()
	h.want(h.remove(c, due), rest)
}

func TestHalvesOfInstances(t *testing.T) {
	h := newHost(t)
	h.instance(alice)
	h.session(alice.UID)
	for _, name := range []string{"/.new-young", "/.new-older"} {
		must(t, os.Mkdir(h.base()+name, 0o700))
	}
	old := time.Now().Add(-2 * time.Hour)
	must(t, os.Chtimes(h.base()+"/.new-older", old, old))
	c := h.cleaner()
	h.want(h.remove(c, h.find(c, Always...)), h.base()+"/.new-older")
	h.wantNames(".new-young 1000 1000.user")
}

// What is set aside, what belongs to nobody, and old bases stay until somebody asks.
func TestTheOtherKinds(t *testing.T) {
	h := newHost(t)
	unknown := h.instance(alice)
	aside := h.base() + "/1001.old-12345678"
	must(t, os.Mkdir(aside, 0o700))
	base, orphan := h.base(), h.target+"/gotmpns-0123abcd"
	for name, mode := range map[string]os.FileMode{orphan: 0o700, h.target + "/gotmpns-mine": 0o700, h.target + "/gotmpns-0123abce": 0o755} {
		must(t, os.Mkdir(name, mode))
	}
	must(t, os.Mkdir(orphan+"/1000", 0o700))
	must(t, os.Mkdir(h.target+"/gotmpns-deadbeef", 0o700))
	_, err := h.records.SetBase("/another/name/for/it", "", "gotmpns-deadbeef")
	must(t, err)
	h.private.Cleanup = policy.AtBoot
	c := h.cleaner()
	h.want(h.find(c, Always...))
	h.want(h.find(c, OrphanedBase)) // a login may be about to record it
	c.young = 0
	for kind, path := range map[Kind]string{Aside: aside, OrphanedBase: orphan} {
		h.want(h.remove(c, h.find(c, kind)), path)
	}
	if _, err := c.Find(UnknownUser); err == nil {
		t.Error("unknown users are found without asking for them")
	}
	c.Exists = func(uint32) (bool, error) { return false, errors.New("no answer") }
	if due, err := c.Find(UnknownUser); err == nil || len(due) > 0 {
		t.Errorf("without an answer, %v are unknown: %v", due, err)
	}
	c.Exists = func(uid uint32) (bool, error) { return uid != alice.UID, nil }
	h.want(h.remove(c, h.find(c, UnknownUser)), unknown)
	left, err := filepath.Glob(h.target + "/*")
	must(t, err)
	if len(left) != 4 {
		t.Errorf("left are %q; the base is %s", left, base)
	}
}

// Two at once would take what the other one may give back for the rest of a removal.
func TestOneCleanUpAtATime(t *testing.T) {
	h := newHost(t)
	h.instance(alice)
	first, second := h.cleaner(), h.cleaner()
	due := h.find(first, Always...)
	if _, err := second.Find(Always...); !errors.Is(err, instance.ErrBusy) {
		t.Errorf("got %v", err)
	}
	h.remove(first, due)
	closed := make(chan struct{})
	time.AfterFunc(20*time.Millisecond, func() { first.Close(); close(closed) })
	second.Wait = time.Minute
	h.find(second, Always...)
	<-closed
}

// A login that takes long, because its user has stopped it, keeps the instance, and the
// clean-up does not wait for it for long.
func TestALoginThatHoldsTheLock(t *testing.T) {
	h := newHost(t)
	h.instance(alice)
	bobs := h.instance(bob)
	unlock, err := h.records.LockUser(alice.UID, 0)
	must(t, err)
	c := h.cleaner()
	removed, err := c.Remove(h.find(c, Always...))
	if !errors.Is(err, state.ErrBusy) {
		t.Errorf("got %v", err)
	}
	h.want(removed, bobs)
	h.wantNames("1000 1000.user")
	unlock()
	h.remove(c, h.find(c, Always...))
	h.wantNames("")
}

// More than one search is needed for these.
func TestManyInstances(t *testing.T) {
	h := newHost(t)
	h.instance(alice)
	for i := range 2*treesAtOnce + 1 {
		must(t, os.MkdirAll(h.base()+"/"+strconv.Itoa(2000+i)+"/file", 0o700))
	}
	used := exec.Command("sleep", "1000")
	used.Dir = h.base() + "/" + strconv.Itoa(2000+2*treesAtOnce)
	must(t, used.Start())
	defer func() { _ = used.Process.Kill(); _ = used.Wait() }()
	c := h.cleaner()
	if removed := h.remove(c, h.find(c, Always...)); len(removed) != 2*treesAtOnce+1 {
		t.Errorf("%d were removed", len(removed))
	}
	h.wantNames(filepath.Base(used.Dir))
}

// When there is no time left, everything is as it was.
func TestAPassThatIsStopped(t *testing.T) {
	h := newHost(t)
	h.instance(alice)
	c := h.cleaner()
	due := h.find(c, Always...)
	c.Stop = func() bool { return len(h.names()) > len("1000 1000.user") } // it is retired
	h.want(h.remove(c, due))
	h.wantNames("1000 1000.user")
}

// A user can create files in a directory that is being removed, as fast as they go. All others'
// directories are removed all the same, and what is left is due again.
func TestAUserWhoFillsWhatIsRemoved(t *testing.T) {
	for name, second := range map[string]time.Duration{"the broker": 0, "the command": 2 * shareOfUser} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			filled, err := os.Open(h.instance(alice))
			must(t, err)
			defer filled.Close()
			other := h.instance(bob)
			c := h.cleaner()
			c.SecondTimeout = second
			due := h.find(c, Always...)
			end, number := time.Now().Add(2*time.Minute), atomic.Int64{}
			c.Stop = func() bool { // it is asked before each name
				fd, err := unix.Openat(int(filled.Fd()), strconv.FormatInt(number.Add(1), 10), unix.O_CREAT|unix.O_WRONLY, 0o600)
				if err == nil {
					unix.Close(fd)
				}
				return time.Now().After(end)
			}
			removed, err := c.Remove(due)
			h.want(removed, other)
			if (err != nil) != (second > 0) || !c.Left() {
				t.Errorf("the error is %v, left over: %v", err, c.Left())
			}
			if time.Now().After(end) {
				t.Error("it took all the time that there was")
			}
			c.Stop = never
			c.SecondTimeout = 0
			for again := 0; again == 0; { // one pass may be too short for all of it
				again = len(h.remove(c, h.find(c, Unfinished)))
				if time.Now().After(end) {
					t.Fatal("it was not removed afterwards")
				}
			}
		})
	}
}

// The age-based cleaner must not remove what is mounted in a session alone: for the
// host it is an old empty directory.
func TestTheMountPointsOfAUserStayYoung(t *testing.T) {
	h := newHost(t)
	path := h.instance(alice)
	for _, name := range []string{"/mounted here", "/other"} {
		must(t, os.Mkdir(path+name, 0o700))
		old := time.Now().Add(-1000 * time.Hour)
		must(t, os.Chtimes(path+name, old, old))
	}
	session := exec.Command("unshare", "--mount", "sh", "-c", `mount --bind "$1" "$2" && mount -t tmpfs tmpfs "$2/mounted here" && echo && exec sleep 1000`,
		"sh", path, h.target)
	out, err := session.StdoutPipe()
	must(t, err)
	must(t, session.Start())
	defer func() { _ = session.Process.Kill(); _ = session.Wait() }()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal("the session has not come up")
	}
	claim, err := h.records.Claim(alice.UID, session.Process.Pid)
	must(t, err)
	must(t, claim.Close())
	must(t, h.cleaner().Refresh())
	for name, young := range map[string]bool{"/mounted here": true, "/other": false} {
		var st unix.Stat_t
		must(t, unix.Stat(path+name, &st))
		if is := time.Since(time.Unix(st.Mtim.Unix())) < time.Hour; is != young {
			t.Errorf("%s is young: %v", name, is)
		}
	}
}

// However logins and clean-ups meet: what a login has been given stays until its
// session has ended. Here, only the records say that it has not.
func TestLoginsWhileTheCleanUpIsAtWork(t *testing.T) {
	h := newHost(t)
	h.instance(alice)
	end := make(chan struct{})
	cleaned := make(chan int)
	go func() {
		v, err := view.Enter(os.Getpid())
		if err != nil {
			t.Error(err)
		}
		c, err := New(Options{View: v, Records: h.records, Policy: policy.Policy{Private: []policy.Private{h.private}}})
		if err != nil {
			t.Error(err)
		}
		defer c.Close()
		n := 0
		defer func() { cleaned <- n }()
		for {
			select {
			case <-end:
				return
			default:
			}
			due, err := c.FindUsers(map[uint32]bool{alice.UID: true})
			if err != nil {
				t.Error(err)
			}
			removed, err := c.Remove(due)
			if err != nil {
				t.Error(err)
			}
			n += len(removed)
		}
	}()
	for i := range 400 {
		login(h, time.Duration(i%20)*100*time.Microsecond)
		time.Sleep(time.Duration(i%7) * 300 * time.Microsecond)
	}
	close(end)
	if n := <-cleaned; n == 0 {
		t.Error("nothing was cleaned up in between: this shows nothing")
	}
}

// login makes a file as soon as it has an instance, and looks whether it stays.
func login(h *host, stay time.Duration) {
	h.Helper()
	claim, err := h.records.Claim(alice.UID, os.Getpid())
	must(h.T, err)
	must(h.T, claim.Close())
	defer h.records.RemoveSession(claim.Name)
	place, err := instance.OpenTarget(h.view.Host, h.target)
	must(h.T, err)
	defer place.Dir.Close()
	store := instance.NewStore(h.view, h.records)
	dir, err := store.Directory(place, policy.Private{}, alice)
	store.Close()
	must(h.T, err)
	defer dir.Close()
	file, err := unix.Openat(int(dir.Fd()), claim.Name[strings.IndexByte(claim.Name, '/')+1:], unix.O_CREAT|unix.O_RDWR, 0o600)
	must(h.T, err)
	defer unix.Close(file)
	time.Sleep(stay)
	var st unix.Stat_t
	must(h.T, unix.Fstat(file, &st))
	if st.Nlink == 0 {
		h.Fatal("a session has lost its file")
	}
}

// What systemd-tmpfiles leaves of old bases at boot goes without being asked for.
func TestABaseOfBeforeTheBoot(t *testing.T) {
	h := newHost(t)
	h.instance(alice)
	h.session(alice.UID)
	orphan := h.target + "/gotmpns-0123abcd"
	must(t, os.MkdirAll(orphan+"/1000/.X11-unix", 0o700))
	c := h.cleaner()
	c.young = 0
	h.want(h.find(c, Always...))
	c.booted = func() time.Time { return time.Now().Add(time.Hour) }
	h.want(h.remove(c, h.find(c, Always...)), orphan)
	h.wantNames("1000 1000.user")
}
