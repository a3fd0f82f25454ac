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

// The names that the later stages are started with.
const (
	setUpStage = "gotmpns-run-setup"
	initStage  = "gotmpns-run-init"
)

// self is this program, whatever is mounted over its path.
const self = "/proc/self/exe"

// Continue is for main, before it does anything else: where args, with the
// program's name, are those of a later stage, it carries that out and says so.
func Continue(args []string) (status int, err error, isStage bool) {
	if len(args) == 0 {
		return 0, nil, false
	}
	switch args[0] {
	case setUpStage:
		runtime.LockOSThread()
		return 0, continueSetUp(args[1:]), true
	case initStage:
		nameProcess(initStage)
		status, err := beInit(args[1:])
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
	if err := setUp(s.request, s.userNamespace); err != nil {
		return err
	}
	if s.userNamespace {
		if err := s.after.restore(); err != nil {
			return err
		}
	}
	if s.request.PID {
		// Executed anew, so that no thread of pid 1 keeps what this one gave up.
		err := syscall.Exec(self, append([]string{initStage}, s.request.Command...), os.Environ())
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
	words := []string{setUpStage, strings.Join(flags, ","), string(r.Propagation), s.after.String(), strconv.Itoa(len(r.Mounts))}
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

// decode reads what encode has written, without the first word.
func decode(words []string) (s stage, ok bool) {
	const head, each = 4, 4
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
	n, err := strconv.Atoi(words[3])
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

// supervise starts the later stages in new namespaces and waits for them.
func supervise(r Request, before privileges, userNamespace bool) (int, error) {
	s := stage{request: r, userNamespace: userNamespace, after: before}
	if r.MayMount {
		s.after = before.with(capSysAdmin)
	}
	pidfd := -1
	attr := &syscall.SysProcAttr{Cloneflags: r.namespaces(), Pdeathsig: unix.SIGKILL, PidFD: &pidfd}
	if userNamespace {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		// What the set-up needs, and gives up again.
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP, unix.CAP_NET_ADMIN}
	}
	signals := catch()
	pid, err := syscall.ForkExec(self, s.encode(), &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		return 0, explainClone(err, userNamespace)
	}
	go pass(signals, func(s unix.Signal) { _ = unix.PidfdSendSignal(pidfd, s, nil, 0) })
	return waitFor(pid, pidfd)
}
