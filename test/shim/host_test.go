package shim

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// CASES 29 and 49: whatever a host does with its signals, children and threads, it
// gets no child, no zombie and no SIGCHLD, pending or delivered (private looks).
func TestHostsOfEveryKind(t *testing.T) {
	for name, words := range map[string][]string{
		"a handler that reaps all":                  {"reap-all", "open"},
		"SIGCHLD ignored":                           {"ignore-sigchld", "open"},
		"SA_NOCLDWAIT":                              {"no-zombies", "open"},
		"SIGCHLD blocked, a handler that waits":     {"block-and-wait", "open", "unblock"},
		"the same, without a worker to execute":     {"block-and-wait", "open", "unblock"},
		"a thread in waitpid":                       {"start", "open-beside-wait"},
		"a thread in waitpid with __WALL":           {"start", "open-beside-wall"},
		"a thread beside another that is in dlopen": {"thread-open"},
		"a forked child that opens":                 {"start", "fork-open"},
		"a forked child that closes":                {"open", "fork-close", "close"},
	} {
		for _, worker := range []string{"real", "fake"} {
			t.Run(name+", "+worker, func(t *testing.T) {
				each(t, func(t *testing.T, b *bench) {
					if worker == "fake" {
						b.fakeFor("joins", 5)
					}
					status, change := success, "changed: namespace\n"
					if strings.Contains(name, "without") {
						b.service("worker=/nowhere")
						status, change = systemErr, ""
					}
					got := b.run("alice", words...)
					want(t, got, status)
					for line := range strings.Lines(got) {
						if strings.HasPrefix(line, "changed: descriptors") && slices.Contains(words, "thread-open") {
							continue // the other thread's
						}
						if strings.HasPrefix(line, "changed: ") && line != change {
							t.Error(line)
						}
					}
					switch name {
					case "SIGCHLD blocked, a handler that waits", "the same, without a worker to execute":
						want(t, got, "signals=0\n")
					case "a thread in waitpid":
						want(t, got, "found=1\n") // its own child
					case "a thread in waitpid with __WALL":
						if !strings.Contains(got, "found=1\n") && !strings.Contains(got, "found=2\n") {
							t.Error(got)
						}
					}
					b.journal.Says(t, "alice")
				})
			})
		}
	}
}

// CASES 37: a process that has a session of alice's open stays where it is when it opens one
// of bob's, which fails: it has one namespace for both. Who comes first is served, and again.
func TestOneProcessWithTwoUsers(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		got := b.run("alice", "open", "run", "echo hers > /tmp/note", "another", "bob", "open", "run", "cat /tmp/note",
			"another", "alice", "open", "run", "cat /tmp/note")
		if strings.Count(got, success) != 2 || strings.Count(got, systemErr) != 1 || strings.Count(got, "changed: ") != 1 || strings.Count(got, "hers\n") != 2 {
			t.Error(got)
		}
		lines := strings.Join(b.journal.Lines(), "\n")
		want(t, lines, "bob (uid 1001): cannot open a session in this process: it has a session of alice open")
		// An exempt user has no session of ours.
		got = b.run("root", "open", "another", "bob", "open")
		want(t, got, "changed: namespace\n")
	})
}

// A subreaper inherits the worker, as it does any orphan, and nothing else.
func TestASubreaper(t *testing.T) {
	for name, test := range map[string]struct{ args, status, reaped string }{
		"a worker":             {"", success, "reaped=1\n"},
		"no worker to execute": {"worker=/nowhere", systemErr, "reaped=0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				if test.args != "" {
					b.service(test.args)
				}
				got := b.run("alice", "subreaper", "open", "reap")
				want(t, got, test.status)
				want(t, got, test.reaped)
				b.journal.Says(t, "alice")
			})
		})
	}
}

// CASES 36: how many descriptors a caller leaves a setuid program does not decide
// whether the session is private.
func TestFewDescriptors(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.blind = true
		raises := mayRaiseLimits()
		b.fakeFor("joins", 5)
		for limit := 3; limit <= 20; limit++ {
			for _, free := range []int{0, 10} {
				free = min(free, limit-3)
				for _, hard := range []string{"-", strconv.Itoa(limit)} {
					got := b.run("alice", "start", "rlimit", "NOFILE", strconv.Itoa(limit), hard, "free-fds", strconv.Itoa(free), "open")
					what := fmt.Sprintf("limit %d, hard %s, %d free", limit, hard, free)
					change := "changed: namespace\n"
					switch {
					case strings.Contains(got, success):
						want(t, got, change)
					case limit == 3 && hard == "-": // libpam itself needs one, for its audit message
					default:
						change = ""
						if hard == "-" || raises || free >= 6 {
							t.Errorf("%s: refused: %s", what, got)
						}
					}
					for line := range strings.Lines(got) {
						if strings.HasPrefix(line, "changed: ") && line != change {
							t.Errorf("%s: %s", what, line)
						}
					}
				}
			}
		}
		b.journal.Lines()
	})
}

// The real worker, by a caller whose soft limit leaves nothing.
func TestFewDescriptorsForTheRealWorker(t *testing.T) {
	each(t, func(_ *testing.T, b *bench) {
		b.blind = true
		for _, limit := range []string{"4", "6", "10"} {
			got := b.run("alice", "start", "rlimit", "NOFILE", limit, "-", "free-fds", "0", "open")
			want(b.t, got, success)
			b.journal.Says(b.t, "alice", "private /tmp")
		}
	})
}

// CASES 36: a working directory on another user's FUSE, that root cannot enter or
// that does not answer, is neither looked at nor a reason to refuse.
func TestAWorkingDirectoryOnFUSE(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		if strings.HasSuffix(b.host, "sanitized") {
			t.Skip("the sanitizers ignore their options in setuid programs")
		}
		b.fakeFor("joins-without-directory", 5) // the real one looks for the directory itself
		host, stop := b.conf+"/host", ""
		text, err := os.ReadFile(b.host)
		must(t, err)
		must(t, os.WriteFile(host, text, 0o755))
		must(t, os.Chmod(host, 0o755|os.ModeSetuid))
		must(t, os.Chmod(b.conf, 0o755))
		for _, name := range []string{"root cannot enter it", "it does not answer"} {
			if name == "it does not answer" {
				stop = "kill -STOP $!; "
			}
			script := "mkdir -p ~/source ~/mount; bindfs -f --no-allow-other ~/source ~/mount & " +
				"while ! mountpoint -q ~/mount; do :; done; cd ~/mount; " + stop +
				host + " " + b.conf + " test bob become-root just-open cwd; cd /; kill -CONT $!; fusermount3 -u ~/mount; wait"
			cmd := exec.Command("setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "env", "HOME=/home/alice", "bash", "-c", script)
			cmd.Dir = "/"
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s", name, err, out)
			}
			want(t, string(out), success)
			want(t, string(out), "cwd=/\n")
			b.journal.Says(t, "bob", "no reason given")
		}
	})
}

// A user may kill the processes of a setuid program of theirs, and so the intermediate
// one, while the worker is still in the memory of the login process. The login waits for
// it to leave.
func TestAKilledIntermediate(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		if strings.HasSuffix(b.host, "sanitized") {
			t.Skip("the sanitizers' run-time does not work under strace")
		}
		b.fakeFor("joins", 60)
		trace := b.conf + "/trace"
		cmd := exec.Command("strace", "-f", "-o", trace, "-e", "trace=clone,execve", "-e", "inject=execve:delay_enter=2000000:when=1",
			b.host, b.conf, "test", "alice", "open")
		var out strings.Builder
		cmd.Dir, cmd.Stdout, cmd.Stderr = "/", &out, &out
		must(t, cmd.Start())
		intermediate := regexp.MustCompile(`(?m)^(\d+) +clone\(.*CLONE_PIDFD`)
		mustHappen(t, "the worker is being started", func() bool {
			text, _ := os.ReadFile(trace)
			match := intermediate.FindSubmatch(text)
			if match == nil {
				return false
			}
			pid, err := strconv.Atoi(string(match[1]))
			must(t, err)
			return syscall.Kill(pid, syscall.SIGKILL) == nil
		})
		must(t, cmd.Wait())
		want(t, out.String(), success)
		want(t, out.String(), "changed: namespace")
		b.journal.Says(t, "alice", "private /tmp")
	})
}

// Threads that open at the same time leave the process's limits as they were.
func TestThreadsAtTheSameTime(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.fakeFor("joins", 60)
		got := b.run("alice", "rlimit", "NOFILE", "100", "-", "threads-open", "8")
		// A thread that has been joined may still be counted.
		rest := strings.ReplaceAll(got, "changed: threads\n", "")
		if strings.Contains(rest, "changed: ") || strings.Count(got, "thread=0\n") != 8 {
			t.Error(got)
		}
		b.journal.Lines()
	})
}
