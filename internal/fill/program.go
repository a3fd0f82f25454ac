package fill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

// programAtMost is how long a program may take. The login waits for it, and other logins
// of the same user wait for a second and are refused then. The module's own timeout is 5
// seconds by default, and says less about what was too slow.
const programAtMost = 4 * time.Second

// Program is what "on_create" runs.
type Program struct {
	Path string
	file *os.File // a place
}

// OpenProgram opens a program that nobody but root can replace or change; the caller
// closes it.
func OpenProgram(tree mountfd.Tree, name string) (*Program, error) {
	f, err := tree.OpenTrusted(name)
	if err != nil {
		return nil, err
	}
	info, err := mountfd.Stat(f)
	switch {
	case err != nil:
	case info.Type != unix.S_IFREG:
		err = fmt.Errorf("cannot run %s: it is not a file", name)
	case info.Mode&0o100 == 0:
		err = fmt.Errorf("cannot run %s: it is not executable; run \"chmod +x %s\"", name, name)
	default:
		if err = checkMount(f); err == nil {
			err = checkScript(tree, f)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Program{name, f}, nil
}

// checkMount refuses a program on a file system that has none.
func checkMount(place *os.File) error {
	flags, err := mountfd.Flags(place)
	if err == nil && flags&unix.MOUNT_ATTR_NOEXEC != 0 {
		err = fmt.Errorf("cannot run %s: its file system is mounted with noexec", place.Name())
	}
	return err
}

// checkScript finds out whether the kernel could execute a file that is a script: its
// first line has to name a program. Any other file is left to the kernel.
func checkScript(tree mountfd.Tree, place *os.File) error {
	head, err := readHead(place)
	if err != nil || bytes.IndexByte(head, 0) >= 0 {
		return err
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	words := bytes.Fields(bytes.TrimPrefix(line, []byte("#!")))
	if !bytes.HasPrefix(line, []byte("#!")) || len(words) == 0 {
		return fmt.Errorf("cannot run %s: its first line names no interpreter; write \"#!/bin/sh\" for a shell script", place.Name())
	}
	// Links are followed: the path is in a file of root's. A relative one starts at /.
	name := string(words[0])
	fd, err := unix.Openat2(int(tree.Root.Fd()), strings.TrimPrefix(path.Clean("/"+name), "/"),
		&unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return fmt.Errorf("cannot run %s: cannot find its interpreter %s: %w", place.Name(), name, err)
	}
	interpreter := os.NewFile(uintptr(fd), name)
	defer interpreter.Close()
	info, err := mountfd.Stat(interpreter)
	if err == nil && (info.Type != unix.S_IFREG || info.Mode&0o111 == 0) {
		err = fmt.Errorf("cannot run %s: its interpreter %s is not executable", place.Name(), name)
	}
	return err
}

// readHead reads what the kernel looks at to find an interpreter.
func readHead(place *os.File) ([]byte, error) {
	f, err := os.Open(fmt.Sprintf("/proc/thread-self/fd/%d", place.Fd()))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", place.Name(), errors.Unwrap(err))
	}
	defer f.Close()
	const longest = 256 // BINPRM_BUF_SIZE
	head := make([]byte, longest)
	n, err := f.ReadAt(head, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return head[:n], err
}

// Close closes the program.
func (p *Program) Close() { p.file.Close() }

// Where the program finds what it is for. The descriptor of the program itself stays
// open: an interpreter of a script reads it by that path.
const (
	targetFD = 3 + iota
	instanceFD
	programFD
)

func descriptor(n int) string { return "/proc/self/fd/" + strconv.Itoa(n) }

// Run runs the program for a new instance, and waits for it. It runs in a pid namespace
// whose first process is the launcher (c/launcher.c): whatever it starts ends with it, and
// all of it ends with the calling thread, whichever domain SELinux gives to the program.
// It inherits three descriptors, no environment, and no signal that is ignored.
func (p *Program) Run(job Job) error {
	ctx, cancel := context.WithTimeout(context.Background(), programAtMost)
	defer cancel()
	output := &head{}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "--run", descriptor(programFD), p.Path, job.Target, descriptor(instanceFD), "1", job.User)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"GOTMPNS_TARGET=" + job.Target,
		"GOTMPNS_INSTANCE=" + descriptor(instanceFD),
		"GOTMPNS_USER=" + job.User,
		"GOTMPNS_UID=" + strconv.FormatUint(uint64(job.UID), 10),
		"GOTMPNS_GID=" + strconv.FormatUint(uint64(job.GID), 10),
	}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{job.HostDir, job.Instance, p.file}
	cmd.Stderr = output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGKILL, Cloneflags: unix.CLONE_NEWPID}
	cmd.WaitDelay = time.Second // nobody is left who could hold the pipe; but wait for nobody
	old := unix.Umask(0o022)    // of this thread, which shares it with no other one
	err := cmd.Run()
	unix.Umask(old)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("cannot prepare %s: %s did not end within %v and was killed", job.Target, p.Path, programAtMost)
	}
	if notRun := (*fs.PathError)(nil); errors.As(err, &notRun) {
		return fmt.Errorf("cannot prepare %s: cannot execute %s: %w", job.Target, p.Path, notRun.Err)
	}
	if err != nil {
		return fmt.Errorf("cannot prepare %s: %s failed: %w%s", job.Target, path.Base(p.Path), err, output.quoted())
	}
	return nil
}

// head keeps the beginning of what a program reports, and takes in the rest.
type head struct{ text bytes.Buffer }

const headAtMost = 300

func (h *head) Write(text []byte) (int, error) {
	h.text.Write(text[:min(len(text), headAtMost-h.text.Len())])
	return len(text), nil
}

func (h *head) quoted() string {
	if text := strings.TrimSpace(h.text.String()); text != "" {
		return ": " + text
	}
	return ""
}
