package login

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// shell is a session that runs one script after another, until the test ends.
type shell struct {
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
}

const endOfAnswer = "end of the answer"

// startShell opens a session of a user's by su.
func startShell(t *testing.T, user string) *shell {
	t.Helper()
	return startShellBy(t, "su", user, "-c", "exec sh")
}

// startShellBy opens a session by a command that starts a shell.
func startShellBy(t *testing.T, name string, args ...string) *shell {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	// Of a process group of its own, so that all of it can be ended.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{in, bufio.NewReader(out), cmd}
	t.Cleanup(func() { s.end() })
	s.run(t, ":")
	return s
}

// run returns what a script prints in the session.
func (s *shell) run(t *testing.T, script string) string {
	t.Helper()
	if _, err := fmt.Fprintf(s.in, "{ %s\n} </dev/null 2>&1; echo %s\n", script, endOfAnswer); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if before, ok := strings.CutSuffix(line, endOfAnswer+"\n"); ok {
			return text.String() + before
		}
		text.WriteString(line)
		if err != nil {
			t.Fatalf("the session has ended: %q, %v", text.String(), err)
		}
	}
}

// end ends the shell, and waits for the session to end.
func (s *shell) end() {
	if s.cmd.ProcessState == nil {
		_ = s.in.Close()
		_ = s.cmd.Wait()
	}
}

// kill ends the login process as nothing that it can prepare for does.
func (s *shell) kill() {
	_ = syscall.Kill(s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.cmd.Wait()
}

const printNamespace = "readlink /proc/self/ns/mnt"

var namespaceName = regexp.MustCompile(`mnt:\[\d+\]`)

// namespace is the mount namespace of the session.
func (s *shell) namespace(t *testing.T) string {
	t.Helper()
	return namespaceIn(t, s.run(t, printNamespace))
}

// namespaceIn finds the answer to printNamespace.
func namespaceIn(t *testing.T, text string) string {
	t.Helper()
	found := namespaceName.FindString(text)
	if found == "" {
		t.Fatalf("there is no namespace in %q", text)
	}
	return found
}

// namespaceOf is where a process is.
func namespaceOf(t *testing.T, pid int) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// holdBy opens a session by any of the ways, which lasts until the test ends, and
// returns its namespace.
func holdBy(t *testing.T, w way, user string) string {
	t.Helper()
	gate := "/opt/" + strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()) + ".gate"
	mustRun(t, "mkfifo", "-m", "644", gate)
	t.Cleanup(func() { _ = os.Remove(gate) })
	opener := openFIFO(t, gate)
	ready := outFIFO(t, user)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(t, user, printNamespace+" > "+ready+"; read line < "+gate)
	}()
	answer := read(t, ready)
	// After what the way itself has registered, so before it: its files are needed till the end.
	t.Cleanup(func() {
		if _, err := opener.WriteString("end\n"); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return namespaceIn(t, answer)
}

// outFIFO is one more beside resultFIFO, which has one name for each test.
func outFIFO(t *testing.T, user string) string {
	t.Helper()
	path := outFile(t, user)
	_ = os.Remove(path)
	mustRun(t, "mkfifo", "-m", "600", path)
	mustRun(t, "chown", user, path)
	return path
}
