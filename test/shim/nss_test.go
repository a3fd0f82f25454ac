package shim

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// CASES 27: nobody is let in on a guess where the name service does not answer, and
// nobody waits indefinitely.
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

// An unknown group is a typo, and is reported as such.
func TestAnUnknownGroupIsReportedAndEmpty(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		config := b.conf + "/gotmpns.toml"
		if err := os.WriteFile(config, []byte("exempt = [\"@stuff\"]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		b.service("worker=" + b.build + "/gotmpns-worker config=" + config)
		want(t, b.run("alice", "open"), success)
		lines := strings.Join(b.journal.Lines(), "\n")
		want(t, lines, `unknown group "stuff" in the configuration`)
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

// With a broker the same, and its other clients are answered in the meantime: there is
// no worker that they could have instead.
func TestASlowNameServiceHoldsUpNobodyElsesLogin(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.nameService(t)
		socket, config := b.conf+"/broker.sock", b.conf+"/gotmpns.toml"
		b.startBroker(t, socket)
		must(t, os.WriteFile(config, []byte("exempt = [\"@slow\"]\n"), 0o644))
		slow := "socket=" + socket + " timeout=1 worker=" + b.build + "/gotmpns-worker config=" + config
		quick := "socket=" + socket + " worker=/nowhere config=" + b.conf + "/plain.toml"
		must(t, os.WriteFile(b.conf+"/plain.toml", nil, 0o644))
		b.service(slow)
		must(t, os.Rename(b.conf+"/test", b.conf+"/slow"))
		var waiting []*exec.Cmd
		for range 10 {
			cmd := exec.Command(b.host, b.conf, "slow", "alice", "open")
			cmd.Dir = "/"
			must(t, cmd.Start())
			waiting = append(waiting, cmd)
		}
		b.service(quick)
		for range 20 {
			want(t, b.run("bob", "open"), success)
		}
		for _, cmd := range waiting {
			_ = cmd.Wait()
		}
	})
}

// startBroker runs the real broker until the test ends.
func (b *bench) startBroker(t *testing.T, socket string) {
	t.Helper()
	cmd := exec.Command(b.build+"/gotmpns-full", "serve", "--socket", socket)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	mustHappen(t, "the broker listens", func() bool {
		conn, err := net.Dial("unixpacket", socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}
