package session

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
	"gotmpns/internal/plan"
	"gotmpns/internal/proc"
	"gotmpns/internal/registry"
	"gotmpns/internal/state"
	"gotmpns/internal/view"
	"gotmpns/internal/wire"
	"gotmpns/test/fatal"
	"gotmpns/test/leftover"
	"gotmpns/test/process"
)

// Tests move threads and leave them where they are. The main thread ends with none of
// them, and /proc takes it for the process: no test has it.
func init() { runtime.LockOSThread() }

var (
	alice = wire.Request{UID: 1000, GID: 1000, User: "alice", Service: "login", Shell: "/bin/sh"}
	bob   = wire.Request{UID: 1001, GID: 1001, User: "bob", Service: "login", Shell: "/bin/sh"}
)

var must = fatal.If

// machine is a host with one target, on which logins happen.
type machine struct {
	t        *testing.T
	top      string // a directory of the test's own
	target   string
	host     Host
	resident *view.Resident
}

// newMachine binds the test to a thread.
func newMachine(t *testing.T) *machine {
	t.Helper()
	leftover.Require(t)
	top, err := os.MkdirTemp("/opt", "session")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(top); _ = os.RemoveAll(state.Path) })
	m := &machine{t: t, top: top, target: top + "/target", host: Worker()}
	must(t, os.Chmod(top, 0o755), os.Mkdir(m.target, 0o755), os.Chmod(m.target, os.ModeSticky|0o777))
	m.configure("", "")
	m.resident, err = view.Settle()
	must(t, err)
	t.Cleanup(m.resident.Close)
	m.host.View = m.resident.For
	return m
}

// configure writes the configuration: what stands before the target, and after it.
func (m *machine) configure(before, after string) {
	m.t.Helper()
	text := fmt.Sprintf("%s\n[[private]]\ntarget = %q\n%s\n", before, m.target, after)
	must(m.t, os.WriteFile(m.config(), []byte(text), 0o644))
}

func (m *machine) config() string { return m.top + "/gotmpns.toml" }

// open answers a request of a process; the answer is closed with the test.
func (m *machine) open(request wire.Request, p *process.Process) *Answer {
	m.t.Helper()
	request.Config = m.config()
	answer := m.host.Open(request, p.PID)
	m.t.Cleanup(answer.Close)
	if !m.resident.IsHome() {
		m.t.Fatal("the thread is not where it was")
	}
	return answer
}

// logIn does what a login process does as well: it enters the namespace. The session's
// record is of a process that is in there and stays.
func (m *machine) logIn(request wire.Request) (*registry.Namespace, *process.Process) {
	m.t.Helper()
	answer := m.open(request, process.Stay(m.t, ""))
	if answer.Err != nil || answer.Namespace == nil {
		m.t.Fatalf("%s gets no namespace: %v", request.User, answer.Err)
	}
	fd, err := unix.FcntlInt(answer.Namespace.File.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	must(m.t, err)
	n := *answer.Namespace
	n.File = os.NewFile(uintptr(fd), n.File.Name())
	m.t.Cleanup(func() { _ = n.Close() })
	answer.Close()
	p := m.in(&n)
	m.record(request, p, n.Key)
	return &n, p
}

// in starts a process in a namespace, after a script that runs there.
func (m *machine) in(n *registry.Namespace, script ...string) *process.Process {
	m.t.Helper()
	return process.Stay(m.t, strings.Join(script, "\n"), "nsenter", "--mount=/proc/"+strconv.Itoa(os.Getpid())+"/fd/"+strconv.Itoa(int(n.File.Fd())))
}

// record makes the record of a session whose login process is p.
func (m *machine) record(request wire.Request, p *process.Process, key string) {
	m.t.Helper()
	records, err := state.Open(m.resident.Host().Root)
	must(m.t, err)
	defer records.Close()
	claim, err := records.Claim(request.UID, p.PID)
	must(m.t, err, claim.Fill(state.Session{User: request.User, Key: key, Namespace: p.Namespace(m.t)}))
}

// facts looks at a login process as a login does, and makes nothing.
func (m *machine) facts(request wire.Request, p *process.Process) plan.Facts {
	m.t.Helper()
	request.Config = m.config()
	l := login{host: m.host, request: request, pid: p.PID, answer: &Answer{UID: request.UID}}
	m.t.Cleanup(l.answer.Close)
	var err error
	l.view, err = m.host.View(p.PID)
	must(m.t, err)
	l.answer.keep(l.view)
	l.config, err = m.host.Config(request.Config)
	must(m.t, err)
	l.answer.state, err = state.Open(l.view.Host.Root)
	must(m.t, err)
	l.answer.keep(l.answer.state)
	l.policy = l.config
	must(m.t, l.identify())
	facts, err := l.gather()
	must(m.t, err)
	return facts
}

// identity is the namespace that an answer gives.
func identity(t *testing.T, n *registry.Namespace) mountfd.ID {
	t.Helper()
	id, err := proc.IdentityOf(n.File)
	must(t, err)
	return id
}

func TestWhereALoginProcessComesFrom(t *testing.T) {
	m := newMachine(t)
	_, alices := m.logIn(alice)
	bobs, bobsProcess := m.logIn(bob)
	ended, endedProcess := m.logIn(wire.Request{UID: 1002, GID: 1002, User: "carol", Service: "login"})
	left := m.in(ended)
	endedProcess.End()
	// In a namespace of bob's, in which none of his directories is.
	bare := process.Stay(t, "", "unshare", "--mount")
	m.record(bob, bare, "")

	// What is left of a session of bob's where its target has left the configuration, or
	// something lies over its instance.
	other := m.top + "/formerly"
	must(t, os.Mkdir(other, 0o755))
	changed := func(script string) *process.Process {
		return process.Stay(t, script, "nsenter", "--mount", "--target", strconv.Itoa(bobsProcess.PID), "unshare", "--mount")
	}
	former := changed("mount --bind " + m.target + " " + other + "; umount " + m.target)
	coveredBy := changed("mount -t tmpfs none " + m.target)

	type where struct {
		origin   plan.Origin
		occupant plan.Occupant
		holds    string
	}
	for name, c := range map[string]struct {
		request wire.Request
		process *process.Process
		want    where
	}{
		"the host":                                {alice, process.Stay(t, ""), where{plan.FromHost, plan.Host, ""}},
		"a session of the user":                   {alice, alices, where{plan.FromOwn, plan.Own, ""}},
		"a process in a session of another":       {alice, m.in(bobs), where{plan.FromOthers, plan.Others, ""}},
		"the login process of another's session":  {alice, bobsProcess, where{plan.FromOthers, plan.Others, "bob"}},
		"the same, for the user who has it":       {bob, bobsProcess, where{plan.FromOwn, plan.Own, ""}},
		"a service's own namespace":               {alice, process.Stay(t, "", "unshare", "--mount"), where{plan.FromElsewhere, plan.Host, ""}},
		"a namespace in a session of the user":    {alice, process.Stay(t, "", "nsenter", "--mount", "--target", strconv.Itoa(alices.PID), "unshare", "--mount"), where{plan.FromElsewhere, plan.Own, ""}},
		"what a session that has ended left":      {alice, left, where{plan.FromOthers, plan.Others, ""}},
		"where a target was configured before":    {alice, former, where{plan.FromOthers, plan.Host, ""}},
		"where something lies over the instance":  {alice, coveredBy, where{plan.FromOthers, plan.Host, ""}},
		"another's namespace with nothing at all": {alice, bare, where{plan.FromElsewhere, plan.Host, ""}},
		"the same, for that user":                 {bob, bare, where{plan.FromOwn, plan.Host, ""}},
	} {
		facts := m.facts(c.request, c.process)
		got := where{facts.Origin, facts.Places[m.target].Caller, facts.Holds}
		if got != c.want || facts.Places[m.target].Err != nil {
			t.Errorf("%s: %+v, want %+v; the target: %v", name, got, c.want, facts.Places[m.target].Err)
		}
	}
}

// byAlice runs the rest of a line of a shell script as a user.
const byAlice = "setpriv --reuid=1000 --regid=1000 --clear-groups "

func TestWhereALoginProcessIs(t *testing.T) {
	m := newMachine(t)
	must(t, os.WriteFile("/etc/fuse.conf", []byte("user_allow_other\n"), 0o644), os.Mkdir(m.top+"/here", 0o755),
		os.Mkdir(m.top+"/users", 0o777), os.Chmod(m.top+"/users", 0o777), os.MkdirAll(m.top+"/gone/x (deleted)", 0o755))
	own := []string{"unshare", "--mount", "--propagation", "private"}
	fuse := func(lets string) string {
		return byAlice + "bindfs " + lets + " /usr " + m.top + "/users; "
	}
	for name, c := range map[string]struct {
		script string
		by     []string
		want   plan.Cwd
	}{
		"the root directory":                     {"cd /", nil, plan.Cwd{Path: "/", OnHost: true}},
		"in a namespace":                         {"cd /", own, plan.Cwd{Path: "/", OnHost: true}},
		"a directory":                            {"cd " + m.top + "/here", nil, plan.Cwd{Path: m.top + "/here", OnHost: true}},
		"the same in a namespace":                {"cd " + m.top + "/here", own, plan.Cwd{Path: m.top + "/here", OnHost: true}},
		"by a link":                              {"ln -s here " + m.top + "/link; cd " + m.top + "/link", nil, plan.Cwd{Path: m.top + "/here", OnHost: true}},
		"a target":                               {"cd " + m.target, nil, plan.Cwd{Path: m.target, OnHost: true}},
		"a directory that is not on the host":    {"mount -t tmpfs tmpfs /mnt; mkdir /mnt/x; cd /mnt/x", own, plan.Cwd{Path: "/mnt/x"}},
		"another directory than the host's":      {"mount -t tmpfs tmpfs " + m.top + "/here; cd " + m.top + "/here", own, plan.Cwd{Path: m.top + "/here"}},
		"removed":                                {"mkdir " + m.top + "/r; cd " + m.top + "/r; rmdir ../r", nil, plan.Cwd{Path: m.top + "/r (deleted)"}},
		"removed, and one of that name":          {"mkdir " + m.top + "/gone/x; cd " + m.top + "/gone/x; rmdir ../x", nil, plan.Cwd{Path: m.top + "/gone/x (deleted)"}},
		"replaced":                               {"mkdir " + m.top + "/p; cd " + m.top + "/p; mv ../p ../q; mkdir ../p", nil, plan.Cwd{Path: m.top + "/q", OnHost: true}},
		"on a mount that was detached":           {"mount -t tmpfs tmpfs /mnt; mkdir /mnt/x; cd /mnt/x; umount -l /mnt", own, plan.Cwd{Path: "/x", Refused: detached}},
		"a user's file system that was detached": {fuse("-oallow_other") + "cd " + m.top + "/users/bin; umount -l " + m.top + "/users", nil, plan.Cwd{Path: "/bin", Refused: detached}},
		"below a user's file system":             {fuse("-oallow_other") + "mount -t tmpfs tmpfs " + m.top + "/users/share; cd " + m.top + "/users/share", own, plan.Cwd{Path: m.top + "/users/share"}},
		"a user's file system":                   {fuse("-oallow_other") + "cd " + m.top + "/users/bin", own, plan.Cwd{Path: m.top + "/users/bin", Refused: mountfd.ErrUsers.Error()}},
		"one that lets nobody else in":           {fuse("--no-allow-other") + "exec " + byAlice + "sh -c 'cd " + m.top + "/users/bin; echo $$; exec sleep infinity'", own, plan.Cwd{Path: m.top + "/users/bin", Refused: mountfd.ErrUsers.Error()}},
		"a user's file system on the host too":   {fuse("-oallow_other") + "cd " + m.top + "/users", nil, plan.Cwd{Path: m.top + "/users", Refused: mountfd.ErrUsers.Error()}},
	} {
		t.Run(name, func(t *testing.T) {
			p := process.Stay(t, c.script, c.by...)
			t.Cleanup(func() { _ = unix.Unmount(m.top+"/users", unix.MNT_DETACH) })
			if got := m.facts(alice, p).Cwd; got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// A user's file system that does not answer: no login waits for it.
func TestNoLoginWaitsForAUsersFileSystem(t *testing.T) {
	m := newMachine(t)
	must(t, os.WriteFile("/etc/fuse.conf", []byte("user_allow_other\n"), 0o644), os.Mkdir(m.top+"/users", 0o777), os.Chmod(m.top+"/users", 0o777))
	serve := process.Stay(t, byAlice+"bindfs -oallow_other -f /usr "+m.top+"/users &\n"+
		"while ! grep -q ' "+m.top+"/users ' /proc/self/mountinfo; do sleep 0.01; done")
	t.Cleanup(func() { _ = unix.Unmount(m.top+"/users", unix.MNT_DETACH) })
	p := process.Stay(t, "cd "+m.top+"/users/bin")
	must(t, unix.Kill(-serve.PID, unix.SIGSTOP))
	watchdog := time.AfterFunc(time.Minute, func() {
		t.Error("a user's file system was asked, and does not answer")
		serve.Kill()
	})
	defer watchdog.Stop()
	answer := m.open(alice, p)
	if answer.Err != nil || answer.Namespace == nil {
		t.Errorf("%v", answer.Err)
	}
}

func TestWhereASessionStarts(t *testing.T) {
	chdir := plan.Plan{Way: plan.Create{}, Chdir: "/tmp"}
	for name, c := range map[string]struct {
		cwd  string
		plan plan.Plan
		want start
		root bool
	}{
		"where the login process is": {"/home", plan.Plan{}, start{"/home", false}, false},
		"in the root directory":      {"/", plan.Plan{}, start{"/", false}, true},
		"unknown":                    {"", plan.Plan{}, start{"/", true}, true},
		"moved":                      {"/home", chdir, start{"/tmp", true}, false},
		"unknown, and moved":         {"", chdir, start{"/tmp", true}, false},
	} {
		o := observer{cwdFacts: plan.Cwd{Path: c.cwd}}
		if got := o.start(c.plan); got != c.want || got.isRoot() != c.root {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// The second login joins the first one's namespace only if that shows what it should.
func TestWhatASecondLoginJoins(t *testing.T) {
	for name, c := range map[string]struct {
		inside string // a script that runs in the first one's namespace
		after  string // in the configuration, at the second
		joins  bool
	}{
		"as it is":                      {"", "", true},
		"with other mounts in it":       {"mount -t tmpfs tmpfs /mnt", "", true},
		"with files in the instance":    {"touch TARGET/x", "", true},
		"the target unmounted":          {"umount TARGET", "", false},
		"something over the target":     {"mount -t tmpfs tmpfs TARGET", "", false},
		"something over the way to it":  {"mount -t tmpfs tmpfs TOP; mkdir TOP/target", "", false},
		"another instance there":        {"mkdir TARGET/x; mount --bind TARGET/x TARGET", "", false},
		"the instance bound once more":  {"mount --bind TARGET TARGET", "", true},
		"a user's file system there":    {byAlice + "bindfs -oallow_other /usr TOP/users; mount --bind TOP/users TARGET", "", false},
		"the instance removed":          {"umount TARGET; rmdir TARGET/gotmpns-*/1000; mount --bind /mnt TARGET", "", false},
		"another configuration":         {"", "share = [\"x\"]", true}, // there is no x: the plan is the same
		"another plan":                  {"", "[[bind]]\nsource = \"/usr\"\ntarget = \"/srv\"", false},
		"a session that is for itself":  {"", "scope = \"session\"", false},
		"a tmpfs in place of directory": {"", "kind = \"tmpfs\"", false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			must(t, os.WriteFile("/etc/fuse.conf", []byte("user_allow_other\n"), 0o644),
				os.Mkdir(m.top+"/users", 0o777), os.Chmod(m.top+"/users", 0o777))
			first, _ := m.logIn(alice)
			script := strings.NewReplacer("TARGET", m.target, "TOP", m.top).Replace(c.inside)
			if script != "" {
				m.in(first, script)
			}
			m.configure("", c.after)
			second := m.open(alice, process.Stay(t, "cd "+m.top))
			if second.Err != nil || second.Namespace == nil {
				t.Fatalf("the second login gets no namespace: %v", second.Err)
			}
			// Where the host keeps its mounts to itself, a namespace misses later ones.
			shared, err := m.resident.Host().IsShared(m.resident.Host().Root)
			must(t, err)
			joins := identity(t, second.Namespace) == identity(t, first)
			if joins != (c.joins && shared) {
				t.Errorf("it joins: %v, want %v; the host's mounts are shared: %v", joins, c.joins, shared)
			}
			wantShown(t, m, second)
		})
	}
}

func TestWhereNoNamespaceIsJoined(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"propagation that is private":  {`propagation = "private"`, ""},
		"a session that is for itself": {"", `scope = "session"`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.configure(c.before, c.after)
			first, _ := m.logIn(alice)
			second := m.open(alice, process.Stay(t, "cd "+m.top))
			if second.Err != nil || second.Namespace == nil || identity(t, second.Namespace) == identity(t, first) {
				t.Fatalf("%+v, %v", second.Namespace, second.Err)
			}
			wantShown(t, m, second)
		})
	}
}

// wantShown goes where the login process will go: to the namespace and the directory of
// the answer. The target has to be an instance of alice's there.
func wantShown(t *testing.T, m *machine, answer *Answer) {
	t.Helper()
	var join *wire.Join
	for _, entry := range answer.Reply.Entries {
		if j, ok := entry.(wire.Join); ok {
			join = &j
		}
	}
	if join == nil || join.Cwd == wire.None {
		t.Fatalf("the reply is %+v", answer.Reply)
	}
	namespace := answer.Descriptors[join.Namespace]
	must(t, m.resident.View().In(namespace, func(root *os.File) {
		tree := mountfd.Tree{Root: root, Table: "/proc/thread-self/mountinfo"}
		place, err := tree.Open(m.target)
		if err != nil {
			t.Error(err)
			return
		}
		defer place.Close()
		info, err := mountfd.Stat(place)
		if err != nil || !info.MountRoot || info.Mode != 0o1777 || !strings.HasPrefix(mountfd.Mark(place), "1000 ") {
			t.Errorf("at the target is %+v, marked %q: %v", info, mountfd.Mark(place), err)
		}
		cwd, err := tree.Open(m.top)
		if err != nil {
			t.Error(err)
			return
		}
		defer cwd.Close()
		want, err := mountfd.Stat(cwd)
		if got, err2 := mountfd.Stat(answer.Descriptors[join.Cwd]); err != nil || err2 != nil || got.ID != want.ID {
			t.Errorf("it starts in %+v, want %+v: %v, %v", got, want, err, err2)
		}
		if _, err := tree.RootOf(answer.Descriptors[join.Cwd]); err != nil {
			t.Errorf("it starts on a mount of another namespace: %v", err)
		}
	}))
}

// Where others than root can move a target, each login would add a mount to the host's, with
// all earlier ones below it.
func TestWhereMountPointsAreMade(t *testing.T) {
	for name, c := range map[string]struct {
		owner int
		made  bool
	}{"below a directory of root's": {0, true}, "below a user's": {int(alice.UID), false}} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.configure(`mount_points = "make"`, "")
			must(t, os.Chown(m.top, c.owner, c.owner))
			wantShown(t, m, m.open(alice, process.Stay(t, "cd "+m.top)))
			if places := m.facts(alice, process.Stay(t, "")).Places[m.target]; places.MountPoint != c.made {
				t.Errorf("it is a mount point on the host: %v, want %v", places.MountPoint, c.made)
			}
			if c.made {
				must(t, unix.Unmount(m.target, unix.MNT_DETACH))
			}
		})
	}
}

// What another user has put where a target is to be does not decide whose the instance is.
func TestAnInstanceBelongsToNobodyElse(t *testing.T) {
	for name, c := range map[string]struct {
		above os.FileMode
		want  string
	}{
		"another user's, by root's will":        {0o755, "1001:1001 707"},
		"another user's, where all can make it": {os.ModeSticky | 0o777, "1000:1000 700"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			base, err := os.MkdirTemp("/opt", "base")
			must(t, err)
			t.Cleanup(func() { _ = os.RemoveAll(base) })
			m.configure("", fmt.Sprintf("base = %q", base))
			must(t, os.Chmod(m.top, c.above), os.Chown(m.target, int(bob.UID), int(bob.GID)), os.Chmod(m.target, 0o707))
			answer := m.open(alice, process.Stay(t, "cd "+m.top))
			if answer.Err != nil || answer.Namespace == nil {
				t.Fatal(answer.Err)
			}
			must(t, m.resident.View().In(answer.Namespace.File, func(root *os.File) {
				place, err := mountfd.Open(root, m.target)
				if err != nil {
					t.Error(err)
					return
				}
				defer place.Close()
				info, err := mountfd.Stat(place)
				if got := fmt.Sprintf("%d:%d %o", info.UID, info.GID, info.Mode); got != c.want || err != nil {
					t.Errorf("the instance is %s, want %s: %v", got, c.want, err)
				}
			}))
		})
	}
}
