package run

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The first arguments of the later stages.
const (
	setUpStage = "gotmpns-run-setup"
	initStage  = "gotmpns-run-init"
)

const (
	self     = "/proc/self/exe" // this program, whatever is mounted over its path
	selfName = "gotmpns"
)

// Continue is for main, before it does anything else: where args, with the
// program's name, are those of a later stage, it carries that out and says so.
func Continue(args []string) (status int, err error, isStage bool) {
	if len(args) < 2 {
		return 0, nil, false
	}
	switch args[1] {
	case setUpStage:
		runtime.LockOSThread()
		return 0, continueSetUp(args[2:]), true
	case initStage:
		nameProcess(initStage)
		status, err := beInit(args[2:])
		return status, err, true
	}
	return 0, nil, false
}

// nameProcess is for ps, which would call it after self.
func nameProcess(name string) {
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
}

func continueSetUp(args []string) error {
	s, ok := decode(args)
	if !ok {
		return errors.New("cannot continue: " + setUpStage + " is started by gotmpns run only")
	}
	return s.setUpAndExecute()
}

// setUpAndExecute mounts in the calling thread's namespaces, which are new, and becomes the
// command, or its pid 1. It returns with an error only.
func (s stage) setUpAndExecute() error {
	if err := setUp(s.request, s.userNamespace); err != nil {
		return err
	}
	if s.userNamespace {
		if err := s.after.restore(); err != nil {
			return err
		}
	}
	if s.request.PID {
		// Executed again, so that no thread of pid 1 keeps what this one gave up.
		err := syscall.Exec(self, append([]string{selfName, initStage}, s.request.Command...), os.Environ())
		return os.NewSyscallError("cannot become pid 1: execve", err)
	}
	return execute(s.request.Command)
}

// stage is what the set-up has to know.
type stage struct {
	request       Request
	userNamespace bool
	after         privileges // in a user namespace: what the command has
}

// Words, because a path can have any byte in it but zero.
func (s stage) encode() []string {
	r := s.request
	flags := []string{}
	for _, f := range s.flags() {
		if *f.value {
			flags = append(flags, f.name)
		}
	}
	words := []string{selfName, setUpStage, strings.Join(flags, ","), string(r.Propagation), s.after.String(), r.Hostname, strconv.Itoa(len(r.Mounts))}
	for _, m := range r.Mounts {
		words = append(words, string(m.Kind), m.Source, m.Target, strconv.FormatUint(m.Size, 10))
	}
	return append(words, r.Command...)
}

type flag struct {
	name  string
	value *bool
}

func (s *stage) flags() []flag {
	r := &s.request
	return []flag{{"user", &s.userNamespace}, {"pid", &r.PID}, {"net", &r.Net}, {"ipc", &r.IPC}, {"uts", &r.UTS}, {"mounts", &r.MayMount}}
}

// decode reads what encode has written, without the first two words.
func decode(words []string) (s stage, ok bool) {
	const head, each = 5, 4
	if len(words) < head {
		return s, false
	}
	given := "," + words[0] + ","
	for _, f := range s.flags() {
		*f.value = strings.Contains(given, ","+f.name+",")
	}
	s.request.Propagation = Propagation(words[1])
	if s.after, ok = parsePrivileges(words[2]); !ok {
		return s, false
	}
	s.request.Hostname = words[3]
	n, err := strconv.Atoi(words[4])
	words = words[head:]
	if err != nil || n < 0 || n > len(words)/each || len(words) == n*each {
		return s, false
	}
	for ; n > 0; n-- {
		size, err := strconv.ParseUint(words[3], 10, 64)
		if err != nil {
			return s, false
		}
		s.request.Mounts = append(s.request.Mounts, Mount{Kind(words[0]), words[1], words[2], size})
		words = words[each:]
	}
	s.request.Command = words
	return s, true
}

// supervise starts the later stages as a child in new namespaces, and waits for it.
func (s stage) supervise() (int, error) {
	pidfd := -1
	attr := &syscall.SysProcAttr{Cloneflags: s.request.namespaces(), Pdeathsig: unix.SIGKILL, PidFD: &pidfd}
	if s.userNamespace {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		// What the set-up needs, and gives up again.
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP, unix.CAP_NET_ADMIN}
	}
	pid, err := syscall.ForkExec(self, s.encode(), &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		return 0, explainClone(err, s.userNamespace)
	}
	// Not before the start, for it takes time, which the child uses. Who ends us in
	// between ends the child, too, as if it were the command.
	go pass(catch(), func(s unix.Signal) { _ = unix.PidfdSendSignal(pidfd, s, nil, 0) })
	return waitFor(pid, pidfd)
}
