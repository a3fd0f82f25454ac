package proc

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gotmpns/internal/mountfd"
	"gotmpns/test/leftover"
	"gotmpns/test/process"
)

func TestStartTimeOfAProcessThatLies(t *testing.T) {
	fields := make([]string, 50)
	for i := range fields {
		fields[i] = strconv.Itoa(i + 3)
	}
	stat := func(comm, state string) string {
		fields[0] = state
		return "77 (" + comm + ") " + strings.Join(fields, " ") + "\n"
	}
	for _, comm := range []string{"bash", ") S 1 2 3", "a b", "((", "\n", ") Z 1", ""} {
		if got, err := startTimeIn(stat(comm, "S")); err != nil || got != "22" {
			t.Errorf("%q: %s, %v", comm, got, err)
		}
	}
	for what, text := range map[string]string{
		"too short": "77 (x) S 1",
		"nothing":   "",
		"no name":   "77",
		"a zombie":  stat("x", "Z"),
		"dead":      stat("x", "X"),
		"a liar":    stat(") S 1 2 3", "Z"),
	} {
		if got, err := startTimeIn(text); err == nil {
			t.Errorf("%s: got %s", what, got)
		}
	}
}

func TestAnOpenedProcessIsNeverAnother(t *testing.T) {
	leftover.Require(t)
	first := process.Stay(t, "")
	p := open(t, first.PID)
	start, err := p.StartTime()
	if err != nil || !Is(first.PID, start) {
		t.Fatalf("start is %q, %v", start, err)
	}
	first.Kill()
	if _, err := p.StartTime(); err == nil || Is(first.PID, start) {
		t.Errorf("a zombie lives: %v", err)
	}
	first.End()
	second := process.Again(t, first.PID)
	for Is(second.PID, start) { // within one tick of the clock
		second.End()
		second = process.Again(t, first.PID)
	}
	for what, look := range map[string]func() error{
		"start time":        func() error { _, err := p.StartTime(); return err },
		"mount namespace":   func() error { _, err := p.MountNamespace(); return err },
		"root directory":    func() error { _, err := p.Root(); return err },
		"working directory": func() error { _, err := p.Cwd(); return err },
		"identity":          func() error { _, err := p.Identity("ns/mnt"); return err },
		"table":             func() error { _, err := os.ReadFile(p.Table()); return err },
	} {
		if look() == nil {
			t.Errorf("the %s of another process is taken for its own", what)
		}
	}
	if now, err := Began(second.PID); err != nil || now == start {
		t.Errorf("the second process began at %q, the first at %q: %v", now, start, err)
	}
}

func open(t *testing.T, pid int) *Process {
	t.Helper()
	p, err := Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestWhatIsNoProcess(t *testing.T) {
	for _, pid := range []int{0, -1, 1 << 22} {
		if p, err := Open(pid); err == nil {
			t.Errorf("%d is opened: %+v", pid, p)
		}
		if Is(pid, "0") || Is(pid, "") {
			t.Errorf("%d lives", pid)
		}
	}
	if Is(os.Getpid(), "") {
		t.Error("a process without a start time lives")
	}
}

func TestNamespacesOfUsersAreTheirs(t *testing.T) {
	leftover.Require(t)
	for name, c := range map[string]struct {
		by   []string
		ours bool
	}{
		"this one":                {nil, true},
		"one that root made":      {[]string{"unshare", "--mount"}, true},
		"one of a user namespace": {[]string{"unshare", "--user", "--map-root-user", "--mount"}, false},
		"one that a user made": {[]string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups",
			"unshare", "--user", "--map-root-user", "--mount"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, process.Stay(t, "", c.by...).PID)
			namespace, err := p.MountNamespace()
			if err != nil {
				t.Fatal(err)
			}
			defer namespace.Close()
			if got := OwnedByUs(namespace); got != c.ours {
				t.Errorf("it is ours: %v, want %v", got, c.ours)
			}
			one, err := IdentityOf(namespace)
			if err != nil {
				t.Fatal(err)
			}
			same, err := p.Identity("ns/mnt")
			mine, mineErr := IdentityAt("/proc/self/ns/mnt")
			if err != nil || mineErr != nil || one != same || (one == mine) != (c.by == nil) {
				t.Errorf("it is %v, %v and this one %v: %v, %v", one, same, mine, err, mineErr)
			}
		})
	}
}

func TestAFileThatIsNoNamespaceIsNotOurs(t *testing.T) {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if OwnedByUs(file) {
		t.Errorf("%s is a namespace of ours", file.Name())
	}
}

// The working directory is what the process has, whatever its path is by now.
func TestTheWorkingDirectoryIsOpenedNotItsPath(t *testing.T) {
	for name, c := range map[string]struct {
		script func(dir string) string
		path   func(dir string) string
	}{
		"as it is":    {func(d string) string { return "cd " + d + "/a" }, func(d string) string { return d + "/a" }},
		"renamed":     {func(d string) string { return "cd " + d + "/a; mv ../a ../b" }, func(d string) string { return d + "/b" }},
		"removed":     {func(d string) string { return "cd " + d + "/a; rmdir ../a" }, func(d string) string { return d + "/a (deleted)" }},
		"replaced":    {func(d string) string { return "cd " + d + "/a; mv ../a ../b; mkdir ../a" }, func(d string) string { return d + "/b" }},
		"not entered": {func(d string) string { return "cd " + d + "/a; chmod 0 ." }, func(d string) string { return d + "/a" }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(dir+"/a", 0o755); err != nil {
				t.Fatal(err)
			}
			before, err := IdentityAt(dir + "/a")
			if err != nil {
				t.Fatal(err)
			}
			stays := process.Stay(t, c.script(dir))
			cwd, err := open(t, stays.PID).Cwd()
			if err != nil {
				t.Fatal(err)
			}
			defer cwd.Close()
			if cwd.Name() != c.path(dir) {
				t.Errorf("it is called %q, want %q", cwd.Name(), c.path(dir))
			}
			info, err := mountfd.Peek(cwd)
			if err != nil || info.Inode != before.Inode || !info.IsDir() {
				t.Errorf("it is %+v, want inode %d: %v", info, before.Inode, err)
			}
		})
	}
}

func TestAllProcessesAreListedOnce(t *testing.T) {
	stays := process.Stay(t, "")
	zombie := process.Stay(t, "")
	zombie.Kill()
	gone := process.Stay(t, "")
	gone.End()
	pids, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{os.Getpid(), stays.PID, zombie.PID} {
		if !slices.Contains(pids, pid) {
			t.Errorf("%d is missing", pid)
		}
	}
	slices.Sort(pids)
	if slices.Contains(pids, gone.PID) || len(slices.Compact(pids)) != len(pids) {
		t.Errorf("%d has gone; all are %v", gone.PID, pids)
	}
}

func TestProcessesByMountNamespace(t *testing.T) {
	own, err := IdentityAt("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	self, calls := uint64(0), 0
	look := func(goOn bool) {
		err := MountNamespaces(func(pid int, number uint64) bool {
			calls++
			if pid == os.Getpid() {
				self = number
			}
			return goOn
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if look(true); self != own.Inode {
		t.Errorf("this process is in %d, want %d", self, own.Inode)
	}
	calls = 0
	if look(false); calls != 1 {
		t.Errorf("after the end it was called %d times", calls-1)
	}
}
