package shim

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// CASES 27: nobody is let in on a guess where the name service does not answer,
// and nobody waits for ever.
func TestANameServiceInTrouble(t *testing.T) {
	for group, why := range map[string]string{
		"slow": "did not answer in time; if user and group lookups are slow here, raise the module argument timeout=SECONDS",
		"down": `cannot look up the group "down"`,
	} {
		t.Run(group, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				b.nameService(t)
				config := b.conf + "/gotmpns.toml"
				if err := os.WriteFile(config, []byte("exempt = [\"@"+group+"\"]\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				b.service("timeout=1 worker=" + b.build + "/gotmpns-worker config=" + config)
				b.refused(why, "open")
			})
		})
	}
}

// A group that nobody knows is a slip of the pen, and is told as such.
func TestAnUnknownGroupIsToldAndCountsNobody(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		config := b.conf + "/gotmpns.toml"
		if err := os.WriteFile(config, []byte("exempt = [\"@stuff\"]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		b.service("worker=" + b.build + "/gotmpns-worker config=" + config)
		want(t, b.run("alice", "open"), success)
		lines := strings.Join(b.journal.Lines(), "\n")
		want(t, lines, `the configuration names the group "stuff", which nobody knows here`)
		want(t, lines, "private /tmp")
	})
}

// nameService puts c/test/nss_test.c behind the files, for groups.
func (b *bench) nameService(t *testing.T) {
	t.Helper()
	before, err := os.ReadFile("/etc/nsswitch.conf")
	if err != nil {
		t.Fatal(err)
	}
	library, err := exec.Command("sh", "-c", "ldconfig -p | sed -n 's/.*libc.so.6.* => //p' | head -n 1").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSuffix(strings.TrimSpace(string(library)), "libc.so.6") + "libnss_test.so.2"
	text, err := os.ReadFile(b.build + "/shim/libnss_test.so.2")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(before)) {
		if !strings.HasPrefix(line, "group:") {
			lines = append(lines, line)
		}
	}
	if err := os.WriteFile("/etc/nsswitch.conf", []byte(strings.Join(lines, "")+"group: files test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.WriteFile("/etc/nsswitch.conf", before, 0o644)
		_ = os.Remove(path)
	})
}
