// Package journal is /dev/log of the disposable root: what pam_syslog says.
package journal

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Journal collects log lines.
type Journal struct {
	conn  *net.UnixConn
	mu    sync.Mutex
	marks atomic.Int64
	text  []string
	done  chan struct{}
}

// Start listens until the test ends.
func Start(t testing.TB) *Journal {
	t.Helper()
	_ = os.Remove("/dev/log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod("/dev/log", 0o666); err != nil {
		t.Fatal(err)
	}
	j := &Journal{conn: conn, done: make(chan struct{})}
	go j.listen()
	t.Cleanup(func() { _ = conn.Close(); <-j.done; _ = os.Remove("/dev/log") })
	return j
}

func (j *Journal) listen() {
	defer close(j.done)
	buffer := make([]byte, 65536)
	for {
		n, err := j.conn.Read(buffer)
		if err != nil {
			return
		}
		j.mu.Lock()
		j.text = append(j.text, string(buffer[:n]))
		j.mu.Unlock()
	}
}

// Lines are those of the module; syslog(3) has sent them by the time a program ends.
func (j *Journal) Lines() []string {
	// One more datagram through the same socket: what came before has been read by then.
	mark := fmt.Sprintf("mark %d", j.marks.Add(1))
	conn, err := net.Dial("unixgram", "/dev/log")
	if err == nil {
		_, _ = conn.Write([]byte(mark))
		_ = conn.Close()
	}
	for {
		j.mu.Lock()
		at := slices.Index(j.text, mark)
		if at >= 0 {
			var ours []string
			for _, line := range j.text[:at] {
				if _, text, ok := strings.Cut(line, "pam_gotmpns("); ok {
					_, text, _ = strings.Cut(text, "): ")
					ours = append(ours, text)
				}
			}
			j.text = j.text[at+1:]
			j.mu.Unlock()
			return ours
		}
		j.mu.Unlock()
	}
}

// Says wants exactly one line for the last login, with all the parts in it.
func (j *Journal) Says(t testing.TB, parts ...string) {
	t.Helper()
	lines := j.Lines()
	if len(lines) != 1 {
		t.Errorf("%d lines in the log, want one: %q", len(lines), lines)
		return
	}
	for _, part := range parts {
		if !strings.Contains(lines[0], part) {
			t.Errorf("the log says %q, want it to have %q", lines[0], part)
		}
	}
}
