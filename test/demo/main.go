// Command demo shows, with real PAM sessions of real users in a disposable
// root, what the module does: what a session sees, what another one sees, what
// the host sees, and that nothing stays behind.
//
// Each session is a "gotmpns try" with a shell in it: it opens the PAM session as
// sshd or login would, the shell runs the demo's commands as its user, and at its end
// the session is closed again. The command works so on any machine.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if os.Getenv("GOTMPNS_DISPOSABLE") == "" || os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, `demo: this makes users and mounts, so it runs in a disposable root: run "make demo" as root`)
		os.Exit(1)
	}
	exitOn(show())
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo: cannot go on:", err)
		os.Exit(1)
	}
}

// ---- the story ----

// stubborn writes to /tmp whatever TMPDIR says, as so many programs do.
const stubborn = `#!/bin/sh
echo "the draft of $(id -un)" > /tmp/draft.txt
`

func show() error {
	s, err := setUp()
	if err != nil {
		return err
	}
	before, err := trace()
	if err != nil {
		return err
	}
	say("pam_gotmpns: one /tmp for each user, from login to logout")
	say("")
	s.host("echo 'minutes of the board' > /tmp/minutes.txt")
	s.host("ls -l /tmp")

	say("alice logs in, and runs a program that ignores TMPDIR:")
	alice := s.login("alice")
	alice.run("ls -A /tmp | wc -l")
	alice.run("TMPDIR=/home/alice stubborn && cat /tmp/draft.txt")

	say("she logs in a second time, from elsewhere: the same /tmp.")
	again := s.login("alice")
	again.run("cat /tmp/draft.txt")

	say("bob logs in: he has a /tmp of his own, and no path leads to hers.")
	bob := s.login("bob")
	bob.run("ls -A /tmp | wc -l")
	bob.run("cat /tmp/draft.txt /tmp/minutes.txt")
	bob.run("stubborn && cat /tmp/draft.txt")

	say("nothing has changed on the host, neither its /tmp nor its mounts.")
	s.host("cat /tmp/minutes.txt")
	s.host("cat /tmp/draft.txt")
	s.host("grep -c ' /tmp ' /proc/self/mounts")

	say("the kernel enforces it:")
	bob.run("umount /tmp")
	bob.run("unshare --user --map-root-user --mount umount /tmp")

	say("all log out.")
	for _, login := range []*login{alice, again, bob} {
		if err := login.end(); err != nil {
			return err
		}
	}
	return epilogue(before)
}

// epilogue compares what there was before the first login with what there is
// after the last.
func epilogue(before []string) error {
	after, err := trace()
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(after, func(line string) bool { return slices.Contains(before, line) })
	if len(left) > 0 {
		return fmt.Errorf("something is left behind: %s", strings.Join(left, "; "))
	}
	say("no mount, no process, no session record is left.")
	say("alice's files wait in her instance for her next login; they go at boot.")
	return nil
}

// trace lists the mounts, the processes and the records that there are now.
func trace() ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	seen := strings.Split(string(mounts), "\n")
	for _, pattern := range []string{"/proc/[0-9]*/exe", "/run/gotmpns/sessions/*/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		seen = append(seen, found...)
	}
	return seen, nil
}

func say(text string) { fmt.Println(text) }

func prompt(who, sign, command string) { fmt.Printf("  %-6s%s %s\n", who, sign, command) }

func indent(output string) {
	for line := range strings.Lines(output) {
		fmt.Print("          " + line)
	}
}

// ---- the stage ----

// stage is where the command and the module were built.
type stage struct{ build string }

// setUp makes two users, and a program like many.
func setUp() (stage, error) {
	exe, err := os.Executable()
	if err != nil {
		return stage{}, err
	}
	for _, name := range []string{"alice", "bob"} {
		if _, err := user.Lookup(name); err == nil {
			continue
		}
		if out, err := exec.Command("useradd", "--create-home", "--shell", "/bin/sh", name).CombinedOutput(); err != nil {
			return stage{}, fmt.Errorf("useradd %s: %w: %s", name, err, out)
		}
	}
	return stage{filepath.Dir(exe)}, os.WriteFile("/usr/local/bin/stubborn", []byte(stubborn), 0o755)
}

// host runs a command as root, outside every session.
func (s stage) host(command string) {
	prompt("host", "#", command)
	out, _ := exec.Command("/bin/sh", "-c", command).CombinedOutput()
	indent(string(out))
}

// login is a session that is open.
type login struct {
	user   string
	cmd    *exec.Cmd
	input  *bufio.Writer
	output *bufio.Reader
	close  func() error
}

func (s stage) login(name string) *login {
	cmd := exec.Command(s.build+"/gotmpns-full", "try", "--module", s.build+"/pam_gotmpns.so",
		"--worker", s.build+"/gotmpns-worker", name, "--", "/bin/sh")
	cmd.Env = append(os.Environ(), "LANG=C.UTF-8")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	exitOn(err)
	out, err := cmd.StdoutPipe()
	exitOn(err)
	exitOn(cmd.Start())
	return &login{name, cmd, bufio.NewWriter(in), bufio.NewReader(out), in.Close}
}

// run sends one command to the shell of the session and prints what it says.
func (l *login) run(command string) {
	const end = "-- that was all --\n"
	prompt(l.user, "$", command)
	fmt.Fprintf(l.input, "{ %s; } 2>&1 </dev/null\nprintf '%%s' '%s'\n", command, end)
	exitOn(l.input.Flush())
	for {
		line, err := l.output.ReadString('\n')
		exitOn(err)
		if line == end {
			return
		}
		indent(line)
	}
}

func (l *login) end() error {
	if err := l.close(); err != nil {
		return err
	}
	return l.cmd.Wait()
}
