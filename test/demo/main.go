// Command demo shows, with real PAM sessions of real users in a disposable
// root, what the module does: what a session sees, what another one sees, what
// the host sees, and that nothing stays behind.
//
// Each session is a process of its own, as with sshd or login: it opens the PAM
// session, runs what it is told as its user, and closes the session again.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/msteinert/pam/v2"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "session" {
		exitOn(session(os.Args[2]))
		return
	}
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

	say("bob logs in: he has a /tmp of his own, and cannot even name hers.")
	bob := s.login("bob")
	bob.run("ls -A /tmp | wc -l")
	bob.run("cat /tmp/draft.txt /tmp/minutes.txt")
	bob.run("stubborn && cat /tmp/draft.txt")

	say("the host notices nothing: its /tmp is as it was, and so is its table of mounts.")
	s.host("cat /tmp/minutes.txt")
	s.host("cat /tmp/draft.txt")
	s.host("grep -c ' /tmp ' /proc/self/mounts")

	say("it is the kernel that says no, not a convention:")
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
	for _, pattern := range []string{"/proc/[0-9]*/exe", "/run/gotmpns/sessions/*"} {
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

type stage struct{ config string }

// setUp makes two users and a PAM service that has nothing but the module.
func setUp() (stage, error) {
	exe, err := os.Executable()
	if err != nil {
		return stage{}, err
	}
	build := filepath.Dir(exe)
	for _, name := range []string{"alice", "bob"} {
		if _, err := user.Lookup(name); err == nil {
			continue
		}
		if out, err := exec.Command("useradd", "--create-home", "--shell", "/bin/sh", name).CombinedOutput(); err != nil {
			return stage{}, fmt.Errorf("useradd %s: %w: %s", name, err, out)
		}
	}
	if err := os.WriteFile("/usr/local/bin/stubborn", []byte(stubborn), 0o755); err != nil {
		return stage{}, err
	}
	config, err := os.MkdirTemp("/run", "pam")
	if err != nil {
		return stage{}, err
	}
	stack := "auth required pam_permit.so\naccount required pam_permit.so\n" +
		"session required " + build + "/pam_gotmpns.so worker=" + build + "/gotmpns-worker\n"
	return stage{config}, os.WriteFile(config+"/demo", []byte(stack), 0o644)
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
	cmd := exec.Command(os.Args[0], "session", name)
	cmd.Env = append(os.Environ(), "DEMO_PAM="+s.config)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	exitOn(err)
	out, err := cmd.StdoutPipe()
	exitOn(err)
	exitOn(cmd.Start())
	return &login{name, cmd, bufio.NewWriter(in), bufio.NewReader(out), in.Close}
}

// run sends one command to the session and prints what it says.
func (l *login) run(command string) {
	prompt(l.user, "$", command)
	fmt.Fprintln(l.input, command)
	exitOn(l.input.Flush())
	quoted, err := l.output.ReadString('\n')
	exitOn(err)
	text, err := strconv.Unquote(strings.TrimSpace(quoted))
	exitOn(err)
	indent(text)
}

func (l *login) end() error {
	if err := l.close(); err != nil {
		return err
	}
	return l.cmd.Wait()
}

// ---- one session ----

func session(name string) error {
	runtime.LockOSThread() // the namespace is this thread's, and its children's
	account, err := user.Lookup(name)
	if err != nil {
		return err
	}
	silent := pam.ConversationFunc(func(pam.Style, string) (string, error) { return "", nil })
	tx, err := pam.StartConfDir("demo", name, silent, os.Getenv("DEMO_PAM"))
	if err != nil {
		return err
	}
	defer tx.End()
	if err := tx.OpenSession(0); err != nil {
		return err
	}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		fmt.Println(strconv.Quote(runAs(account, commands.Text())))
	}
	return tx.CloseSession(0)
}

func runAs(account *user.User, command string) string {
	uid, _ := strconv.ParseUint(account.Uid, 10, 32)
	gid, _ := strconv.ParseUint(account.Gid, 10, 32)
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + account.HomeDir, "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	out, _ := cmd.CombinedOutput()
	return string(out)
}
