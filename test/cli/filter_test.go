package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestMain lets this binary play a container's runtime for the scripts: with
// FORBID_UNSHARE, it becomes the command of its arguments behind a filter that
// refuses unshare(2).
func TestMain(m *testing.M) {
	if os.Getenv("FORBID_UNSHARE") != "" {
		fmt.Fprintln(os.Stderr, becomeFiltered(os.Args[1:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func becomeFiltered(command []string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	const load, equal, end = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{
		{Code: load, K: 0}, // the number of the call
		{Code: equal, K: unix.SYS_UNSHARE, Jf: 1},
		{Code: end, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: end, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("cannot set a filter: %w", err)
	}
	environment := append(os.Environ(), "FORBID_UNSHARE=")
	return errors.Join(errors.New("cannot execute"), syscall.Exec(path, command, environment))
}
