package leftover

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func TestDiff(t *testing.T) {
	const self = 20 // started by 10, which is go test; 1 is the disposable root's
	base := func() state {
		return state{
			self: self, parent: 10,
			mounts:      []string{"self: / / rw", "self: / /tmp rw shared:1"},
			descriptors: []string{"0 -> /dev/null"},
			files:       map[string]string{"/tmp": "drwxrwxrwt 0:0", "/tmp/old": "-rw-r--r-- 0:0"},
			processes: map[int]process{
				1:    {pid: 1, start: "1"},
				10:   {pid: 10, parent: 1, start: "2"},
				self: {pid: self, parent: 10, start: "3"},
				30:   {pid: 30, parent: self, start: "4", command: "sshd"},
			},
		}
	}
	for _, test := range []struct {
		name   string
		change func(*state)
		want   []string
	}{
		{"nothing", func(*state) {}, nil},
		{"a mount", func(s *state) { s.mounts = append(s.mounts, "self: / /mnt rw") },
			[]string{"left: mount self: / /mnt rw"}},
		{"a mount over another that is the same", func(s *state) { s.mounts = append(s.mounts, s.mounts[1]) },
			[]string{"left: mount self: / /tmp rw shared:1"}},
		{"mounts in another order", func(s *state) { slices.Reverse(s.mounts) }, nil},
		{"an unmount", func(s *state) { s.mounts = s.mounts[:1] },
			[]string{"gone: mount self: / /tmp rw shared:1"}},
		{"propagation", func(s *state) { s.mounts[1] = "self: / /tmp rw" },
			[]string{"gone: mount self: / /tmp rw shared:1", "left: mount self: / /tmp rw"}},
		{"a descriptor", func(s *state) { s.descriptors = append(s.descriptors, "5 -> /tmp/old") },
			[]string{"left: descriptor 5 -> /tmp/old"}},
		{"a child", func(s *state) { s.processes[31] = process{31, self, "9", "S", "sleep 77"} },
			[]string{"left: process 31 of parent 20: sleep 77"}},
		{"an orphan", func(s *state) { s.processes[31] = process{31, 1, "9", "S", "sleep 77"} },
			[]string{"left: process 31 of parent 1: sleep 77"}},
		{"a child of a daemon that was there", func(s *state) { s.processes[31] = process{31, 30, "9", "S", "sh"} },
			[]string{"left: process 31 of parent 30: sh"}},
		{"a zombie", func(s *state) { s.processes[31] = process{31, self, "9", "Z", "(sh)"} },
			[]string{"left: process 31 of parent 20, a zombie that nobody waits for: (sh)"}},
		{"the pid of an old process on a new one", func(s *state) { s.processes[30] = process{30, 1, "9", "S", "su"} },
			[]string{"left: process 30 of parent 1: su"}},
		{"a compiler that go test started", func(s *state) { s.processes[31] = process{31, 10, "9", "R", "compile"} }, nil},
		{"an old process that ended", func(s *state) { delete(s.processes, 30) }, nil},
		{"a directory with something in it", func(s *state) {
			s.files["/tmp/d"], s.files["/tmp/d/f"] = "drwx------ 0:0", "-rw------- 0:0"
		}, []string{"left: file /tmp/d: drwx------ 0:0"}},
		{"a file gone", func(s *state) { delete(s.files, "/tmp/old") },
			[]string{"gone: file /tmp/old: -rw-r--r-- 0:0"}},
		{"a mode", func(s *state) { s.files["/tmp"] = "drwx------ 0:0" },
			[]string{"changed: file /tmp: drwx------ 0:0, was drwxrwxrwt 0:0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			after := base()
			test.change(&after)
			if got := diff(base(), after); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestParseMountsLeavesOutIds(t *testing.T) {
	const text = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n" +
		"29 27 0:26 / /tmp rw shared:7 - tmpfs tmpfs rw\n"
	want := []string{"pid 1: 254:0 / / rw,relatime - ext4 /dev/vda rw", "pid 1: 0:26 / /tmp rw shared:7 - tmpfs tmpfs rw"}
	if got := parseMounts("1", text); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestParseStatOfANameWithBrackets(t *testing.T) {
	const stat = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456 0 0\n"
	want := process{pid: 42, parent: 7, start: "123456", status: "S", command: "(a) b (c)"}
	if got, err := parseStat(42, stat); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "42", "42 (a)", ") 42 (", "42 (a) S x 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"} {
		if _, err := parseStat(42, bad); err == nil {
			t.Errorf("%q is no stat, but was read", bad)
		}
	}
}

func TestReadFilesPassesByWhatIsIgnored(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"kept/deep", "gotmpns-1/1000", "run/gotmpns/x"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "kept/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := readFiles([]string{dir, dir + "/none"}, []string{dir + "/gotmpns-*", dir + "/run/gotmpns"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"": true, "kept": true, "kept/deep": true, "kept/fifo": true, "run": true,
		"gotmpns-1": false, "gotmpns-1/1000": false, "run/gotmpns": false, "run/gotmpns/x": false,
	} {
		if _, got := files[filepath.Join(dir, name)]; got != want {
			t.Errorf("%q noted: %v, want %v", name, got, want)
		}
	}
}
