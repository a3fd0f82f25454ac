package run

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// privileges are the five sets of capabilities(7), as bits, and the securebits,
// of the calling thread.
type privileges struct {
	effective, permitted, inheritable, bounding, ambient uint64
	securebits                                           uint64
}

func readPrivileges() (privileges, error) {
	var p privileges
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return p, fmt.Errorf("cannot read the capabilities (capget): %w", err)
	}
	p.effective = uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
	p.permitted = uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted)
	p.inheritable = uint64(data[1].Inheritable)<<32 | uint64(data[0].Inheritable)
	for c := range uint(64) {
		set, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil {
			break // EINVAL: the kernel has no more of them
		}
		p.bounding |= uint64(set) << c
		set, err = unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(c), 0, 0)
		if err == nil {
			p.ambient |= uint64(set) << c
		}
	}
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err != nil {
		return p, fmt.Errorf("cannot read the securebits: %w", err)
	}
	p.securebits = uint64(bits)
	return p, nil
}

// restore gives the calling thread, all-powerful in a new user namespace, what
// the caller had outside of it and nothing else.
func (p privileges) restore() error {
	now, err := readPrivileges()
	if err != nil {
		return err
	}
	if now.securebits != p.securebits {
		if err := unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(p.securebits), 0, 0, 0); err != nil {
			return fmt.Errorf("cannot put the securebits back: %w", err)
		}
	}
	for c := range uint(64) {
		if (now.bounding&^p.bounding)>>c&1 == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("cannot drop capability %d from the bounding set: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot clear the ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(p.effective), Permitted: uint32(p.permitted), Inheritable: uint32(p.inheritable)},
		{Effective: uint32(p.effective >> 32), Permitted: uint32(p.permitted >> 32), Inheritable: uint32(p.inheritable >> 32)},
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("cannot drop capabilities (capset): %w", err)
	}
	for c := range uint(64) {
		if p.ambient>>c&1 == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
			return fmt.Errorf("cannot keep the ambient capability %d: %w", c, err)
		}
	}
	return nil
}

// with adds capabilities that last over the execution of any program.
func (p privileges) with(bits uint64) privileges {
	p.effective |= bits
	p.permitted |= bits
	p.inheritable |= bits
	p.ambient |= bits
	return p
}

func (p privileges) String() string {
	return fmt.Sprintf("%x,%x,%x,%x,%x,%x", p.effective, p.permitted, p.inheritable, p.bounding, p.ambient, p.securebits)
}

func parsePrivileges(s string) (p privileges, ok bool) {
	fields := []*uint64{&p.effective, &p.permitted, &p.inheritable, &p.bounding, &p.ambient, &p.securebits}
	words := strings.Split(s, ",")
	if len(words) != len(fields) {
		return p, false
	}
	for i, word := range words {
		n, err := strconv.ParseUint(word, 16, 64)
		if err != nil {
			return p, false
		}
		*fields[i] = n
	}
	return p, true
}
