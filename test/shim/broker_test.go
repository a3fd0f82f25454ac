package shim

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gotmpns/test/fatal"
)

// CASES 12 and 28: a broker that is broken in every way there is. Whatever comes
// back is not acted upon, and a worker is asked instead.
func TestBrokenBrokers(t *testing.T) {
	for _, mode := range append([]string{
		"exits", "crashes", "closes", "empty", "short", "magic", "version", "kind", "oversized", "too-many", "one-too-many",
		"refuses-and-acts", "refuses-and-tells",
	}, malformed...) {
		t.Run(mode, func(t *testing.T) {
			each(t, func(_ *testing.T, b *bench) {
				b.fakeBroker(mode)
				b.private("alice", "open")
			})
		})
	}
}

// A broker that answers is joined like a worker; the active wait changes nothing.
func TestABrokerThatAnswers(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.fakeBroker("joins")
		got := b.run("alice", "chdir", "/usr", "open", "cwd")
		want(t, got, success)
		want(t, got, "changed: namespace")
		want(t, got, "cwd=/usr\n")
		b.journal.Says(t, "alice", "private /tmp")
	})
}

// One that takes the request and does not answer costs its timeout, with a log line.
func TestASilentBroker(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.fakeBroker("silent")
		got := b.run("alice", "open")
		want(t, got, "changed: namespace")
		lines := strings.Join(b.journal.Lines(), "\n")
		want(t, lines, "did not answer within 1 s; asking a worker")
		if strings.Contains(lines, "systemctl") {
			t.Error("there is no systemd here: " + lines)
		}
		want(t, lines, "private /tmp")
	})
}

// Nobody there, no socket, somebody's socket, a queue that is full: a worker, at
// once and without a word.
func TestNoBroker(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, path string){
		"no socket":    func(*testing.T, string) {},
		"a file":       func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600)) },
		"nobody":       func(t *testing.T, path string) { must(t, listen(t, path).Close()) },
		"a full queue": fillQueue,
		"another user's": func(t *testing.T, path string) { // who would refuse the login
			cmd := exec.Command("setpriv", "--reuid=bob", "--clear-groups", "socat", "UNIX-LISTEN:"+path+",type=5,unlink-close=0",
				"EXEC:"+dirOf(path)+"/refuses,nofork")
			must(t, os.Chmod(dirOf(path), 0o777))
			must(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			mustHappen(t, "socat listens", func() bool { _, err := os.Stat(path); return err == nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				path := b.conf + "/broker.sock"
				b.fake("refuses")
				prepare(t, path)
				b.service("socket=" + path + " worker=" + b.build + "/gotmpns-worker")
				b.private("alice", "open") // one line in the log: nobody was waited for
			})
		})
	}
}

// fillQueue leaves connections that nobody accepts, until there is no room for more.
func fillQueue(t *testing.T, path string) {
	t.Helper()
	open := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		must(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	listener, address := open(), &unix.SockaddrUnix{Name: path}
	must(t, unix.Bind(listener, address))
	must(t, unix.Listen(listener, 1))
	for range 10 {
		if err := unix.Connect(open(), address); err == unix.EAGAIN {
			return
		}
	}
	t.Fatal("the queue is never full")
}

var must = fatal.If

func dirOf(path string) string { return path[:strings.LastIndexByte(path, '/')] }

func listen(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	must(t, err)
	l.SetUnlinkOnClose(false)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// fakeBroker answers each connection with a broken worker, and has a good worker
// to fall back on.
func (b *bench) fakeBroker(mode string) {
	b.t.Helper()
	b.fake(mode)
	program, path := b.conf+"/"+mode, b.conf+"/broker.sock"
	l := listen(b.t, path)
	var children []*exec.Cmd
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			file, err := conn.File()
			conn.Close()
			if err != nil {
				return
			}
			cmd := exec.Command(program)
			cmd.Stdin = file
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if cmd.Start() == nil {
				children = append(children, cmd)
			}
			file.Close()
		}
	}()
	b.t.Cleanup(func() {
		_ = l.Close()
		<-done
		for _, cmd := range children {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
		}
	})
	b.service("timeout=1 socket=" + path + " worker=" + b.build + "/gotmpns-worker")
}
