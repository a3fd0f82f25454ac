package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/mountfd"
)

func (m Mount) String() string {
	switch m.Kind {
	case Private:
		return fmt.Sprintf("make %q private", m.Target)
	case Tmpfs:
		return fmt.Sprintf("mount a tmpfs on %q", m.Target)
	default:
		return fmt.Sprintf("bind %q to %q", m.Source, m.Target)
	}
}

// setUp makes the calling thread's namespaces, which are new, what was asked for.
func setUp(r Request, userNamespace bool) error {
	if err := propagate(r.Propagation); err != nil {
		return explainMount(err, userNamespace)
	}
	s := setter{
		walker:        walker{uid: uint32(os.Geteuid()), unknown: userNamespace, fresh: map[uint64]bool{}},
		userNamespace: userNamespace,
		shared:        r.Propagation == Shared,
	}
	sources, err := s.sources(r.Mounts)
	if err != nil {
		return explainMount(err, userNamespace)
	}
	if r.PID {
		if err := s.mountProc(); err != nil {
			return explainMount(err, userNamespace)
		}
	}
	if r.Net {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	if r.Hostname != "" {
		if err := unix.Sethostname([]byte(r.Hostname)); err != nil {
			return fmt.Errorf("cannot set the host name %q: %w", r.Hostname, err)
		}
	}
	for i, m := range r.Mounts {
		if err := s.mount(m, sources[i]); err != nil {
			return explainMount(fmt.Errorf("cannot %s: %w", m, err), userNamespace)
		}
	}
	if len(r.Mounts) == 0 {
		return nil
	}
	return enterAgain()
}

func propagate(p Propagation) error {
	flag := uintptr(unix.MS_SLAVE)
	switch p {
	case Shared:
		return nil
	case PropagationOff:
		flag = unix.MS_PRIVATE
	}
	err := unix.Mount("", "/", "", flag|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("cannot keep mounts from the host: / is no mount point here, as in a chroot: %w", err)
	}
	return os.NewSyscallError("cannot keep mounts from the host: mount", err)
}

// setter does the mounts.
type setter struct {
	walker
	userNamespace bool
	shared        bool // mounts travel to the host, and ours must not
}

// sources clones what is to be bound, before anything hides it: a detached mount
// for each bind, nil for the rest.
func (s setter) sources(mounts []Mount) ([]*os.File, error) {
	all := make([]*os.File, len(mounts))
	for i, m := range mounts {
		if m.Kind == Private || m.Kind == Tmpfs {
			continue
		}
		source, err := s.open(m.Source, 0)
		if err == nil {
			all[i], err = s.clone(m.Kind, source)
			source.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("cannot %s: %w", m, err)
		}
	}
	return all, nil
}

func (s setter) clone(kind Kind, source *os.File) (*os.File, error) {
	mount, err := mountfd.Clone(source, kind != Bind)
	if err != nil {
		if s.userNamespace && kind == Bind && errors.Is(err, unix.EINVAL) {
			return nil, &Error{err, "something is mounted below it, and the kernel does not let a plain user see what that hides: --rbind takes it along"}
		}
		return nil, err
	}
	if kind == BindReadOnly {
		err = mountfd.AddFlags(mount, unix.MOUNT_ATTR_RDONLY, true)
	}
	return mount, err
}

func (s setter) mount(m Mount, source *os.File) error {
	target, err := s.target(m, source)
	if err != nil {
		return err
	}
	defer target.Close()
	if source == nil {
		if source, err = s.empty(m, target); err != nil {
			return err
		}
	}
	defer source.Close()
	return mountfd.Attach(source, target)
}

// target opens the place to mount on, and ensures that this can be done.
func (s setter) target(m Mount, source *os.File) (*os.File, error) {
	kind := uint32(unix.S_IFDIR)
	if source != nil {
		info, err := mountfd.Stat(source)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			kind = unix.S_IFREG
		}
	}
	target, err := s.open(m.Target, kind)
	if err != nil {
		return nil, err
	}
	if err := s.fits(m, target, kind == unix.S_IFDIR); err != nil {
		target.Close()
		return nil, err
	}
	return target, nil
}

func (s setter) fits(m Mount, target *os.File, wantsDir bool) error {
	info, err := mountfd.Stat(target)
	if err != nil {
		return err
	}
	root, err := mountfd.Root()
	if err != nil {
		return err
	}
	defer root.Close()
	top, err := mountfd.Stat(root)
	switch {
	case err != nil:
		return err
	case info.ID == top.ID:
		return errors.New("/ cannot be replaced")
	case wantsDir && !info.IsDir() && m.Source == "":
		return fmt.Errorf("%s is not a directory", m.Target)
	case wantsDir && !info.IsDir():
		return fmt.Errorf("%s is a directory, and %s is not", m.Source, m.Target)
	case !wantsDir && info.IsDir():
		return fmt.Errorf("%s is a directory, and %s is not", m.Target, m.Source)
	case s.shared && !info.MountRoot:
		return fmt.Errorf("%s is no mount point, so the host would see what is mounted there; use --propagation slave", m.Target)
	case s.shared:
		return mountfd.SetPropagation(target, unix.MS_PRIVATE, false)
	}
	return nil
}

// empty makes the file system that is the command's own: as the target is, but
// without setuid programs and devices.
func (s setter) empty(m Mount, target *os.File) (*os.File, error) {
	info, err := mountfd.Stat(target)
	if err != nil {
		return nil, err
	}
	flags, err := mountfd.Flags(target)
	if err != nil {
		return nil, err
	}
	t := mountfd.Tmpfs{
		Size: m.Size, Mode: info.Mode, UID: info.UID, GID: info.GID,
		Flags:        flags | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		SELinuxLabel: label(target), SourceInTable: "gotmpns",
	}
	if s.userNamespace {
		t.UID, t.GID, t.Mode = s.uid, uint32(os.Getegid()), info.Mode|0o700
	}
	mount, err := mountfd.NewTmpfs(t)
	if err != nil {
		return nil, err
	}
	made, err := mountfd.Stat(mount)
	if err != nil {
		mount.Close()
		return nil, err
	}
	s.fresh[made.Device] = true
	return mount, nil
}

func label(dir *os.File) string {
	readable, err := mountfd.ReadDir(dir, ".")
	if err != nil {
		return "" // the policy decides, as for everything that one cannot read
	}
	defer readable.Close()
	return mountfd.SELinuxLabel(readable)
}

// mountProc shows the processes of the new pid namespace.
func (s setter) mountProc() error {
	if s.shared {
		if err := unix.Mount("", "/proc", "", unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("cannot make /proc private: %w", err)
		}
	}
	err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if errors.Is(err, unix.EPERM) && s.userNamespace {
		return &Error{
			fmt.Errorf("cannot mount /proc for a pid namespace: %w", err),
			"parts of /proc are hidden here, as in a container, and a new one would show them: only root can have --pid",
		}
	}
	return os.NewSyscallError("cannot mount /proc for a pid namespace: mount", err)
}

// loopbackUp switches on the one interface of a new network namespace.
func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot switch on the loopback interface: %w", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return os.NewSyscallError("cannot switch on the loopback interface: ioctl", unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request))
}

// enterAgain moves into the working directory by its name: what is mounted there
// now is what the command is to see. Where the name leads nowhere any more, it is
// the nearest directory above that there is.
func enterAgain() error {
	name, err := unix.Getwd()
	if err != nil || !strings.HasPrefix(name, "/") {
		return nil // it has no name, or none below /, so nothing can be mounted over it
	}
	for {
		err := unix.Chdir(name)
		switch {
		case err == nil, errors.Is(err, unix.EACCES):
			return nil // in a directory that one could not enter now, one stays
		case name == "/":
			return fmt.Errorf("cannot enter %s: %w", name, err)
		}
		name = filepath.Dir(name)
	}
}
