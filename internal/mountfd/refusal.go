package mountfd

import (
	"errors"

	"golang.org/x/sys/unix"
)

// call is a system call without which there are no logins.
type call struct {
	name  string
	admin bool // the kernel wants CAP_SYS_ADMIN before it looks at the arguments
	// probe changes nothing: its arguments make no sense to a kernel that has the call.
	probe func() error
}

var calls = []call{
	{"open_tree", false, func() error { return second(unix.OpenTree(-1, "x", unix.OPEN_TREE_CLOEXEC)) }},
	{"openat2", false, func() error { return second(unix.Openat2(-1, "x", &unix.OpenHow{Flags: unix.O_PATH})) }},
	{"move_mount", true, func() error { return unix.MoveMount(-1, "x", -1, "y", 0) }},
	{"mount_setattr", true, func() error {
		return unix.MountSetattr(-1, "x", 0, &unix.MountAttr{Propagation: unix.MS_SLAVE})
	}},
	{"statx", false, func() error { return unix.Statx(-1, "x", 0, 0, &unix.Statx_t{}) }},
	{"unshare", false, func() error { return unix.Unshare(0) }},
	{"setns", false, func() error { return unix.Setns(-1, unix.CLONE_NEWNS) }},
	{"close_range", false, func() error { return unix.CloseRange(1, 0, 0) }},
	{"fsopen", true, func() error { return second(unix.Fsopen("no such file system", 0)) }},
}

func second(_ int, err error) error { return err }

func (c call) isRefused() bool {
	err := c.probe()
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) && (!c.admin || HasAdmin())
}

// Refused returns the names of the system calls that this kernel lacks, or that a filter
// (seccomp) refuses.
func Refused() []string {
	var names []string
	for _, c := range calls {
		if c.isRefused() {
			names = append(names, c.name)
		}
	}
	return names
}

// IsFiltered says whether the calling thread has a filter of system calls (seccomp).
func IsFiltered() bool {
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	return err == nil && mode != 0
}

// HasAdmin says whether the calling thread has CAP_SYS_ADMIN.
func HasAdmin() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return err == nil && data[0].Effective>>unix.CAP_SYS_ADMIN&1 == 1
}

// Hint explains the error of a system call that [Refused] knows: a text to append, which
// begins with a semicolon; empty, if the error says enough. A missing capability comes
// first, because without it a container's filter refuses as well.
func Hint(name string, err error) string {
	switch {
	case !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM):
		return ""
	case !HasAdmin():
		return "; CAP_SYS_ADMIN is needed, also inside a container"
	case IsFiltered() && refuses(name):
		return "; a filter of system calls (seccomp) refuses " + name + ": allow it, in the profile of the container or in SystemCallFilter= of the service"
	case errors.Is(err, unix.ENOSYS):
		return "; Linux 5.12 or later is needed"
	case name == "setns":
		return "; CAP_SYS_CHROOT is needed, also inside a container"
	}
	return ""
}

func refuses(name string) bool {
	for _, c := range calls {
		if c.name == name {
			return c.isRefused()
		}
	}
	return false
}
