package check

import (
	"errors"
	"io"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gotmpns/internal/config"
	"gotmpns/internal/inventory"
	"gotmpns/internal/mountfd"
	"gotmpns/internal/mounts"
)

// Where says what to look at, beside what has a fixed place.
type Where struct {
	Config string   // empty: what a PAM stack says, or the default
	Files  []string // that make up the module, as installed
}

// Read gathers the facts of this machine. Root sees it from the host's view; the
// calling goroutine is bound to its thread then, which moves into the namespace
// of pid 1. What cannot be read is left out.
func Read(where Where) (System, error) {
	s := System{Root: os.Geteuid() == 0, PAM: services(), ConfigPath: where.Config}
	if s.ConfigPath == "" {
		s.ConfigPath = ConfigOf(s.PAM)
	}
	if s.ConfigPath == "" {
		s.ConfigPath = config.DefaultPath
	}
	s.Policy, s.ConfigErr = config.Load(s.ConfigPath)
	_, err := os.Lstat(s.ConfigPath)
	s.Defaults = s.ConfigErr == nil && os.IsNotExist(err)
	if s.Root {
		inv, err := inventory.Take(s.Policy)
		if err != nil {
			return System{}, err
		}
		s.Leftovers = leftoversIn(inv)
	}
	s.Kernel = readKernel()
	s.Mounts, _ = mounts.Read("/proc/thread-self")
	s.Targets, s.Sources = map[string]Target{}, map[string]Target{}
	for _, p := range s.Policy.Private {
		s.Targets[p.Target] = readTarget(p.Target)
	}
	for _, b := range s.Policy.Bind {
		s.Sources[b.Source] = readTarget(b.Source)
	}
	for _, name := range where.Files {
		s.Files = append(s.Files, readFile(name))
	}
	s.readOthers()
	return s, nil
}

// readOthers reads the files of programs with which the module has to live.
func (s *System) readOthers() {
	s.Tmpfiles = readTmpfiles()
	s.Units = readUnits()
	s.SSHD = withIncludes("/etc/ssh/sshd_config", "/etc/ssh", "include")
	s.Kerberos = withIncludes("/etc/krb5.conf", "/etc", "includedir", "include")
	s.Namespace = text("/etc/security/namespace.conf")
	more, _ := filepath.Glob("/etc/security/namespace.d/*.conf")
	for _, name := range more {
		s.Namespace += "\n" + text(name)
	}
	s.SELinux = strings.TrimSpace(text("/sys/fs/selinux/enforce")) == "1"
}

// text reads a file, up to what anybody writes by hand; none is empty.
func text(name string) string {
	const largest = 1 << 20
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, largest))
	if err != nil {
		return ""
	}
	return string(content)
}

// services reads the stacks; a file in /etc goes before one of a package.
func services() map[string]string {
	files := map[string]string{}
	for _, dir := range []string{"/usr/lib/pam.d", "/etc/pam.d"} {
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			if !entry.IsDir() && !strings.ContainsAny(entry.Name(), "~") && !strings.Contains(entry.Name(), ".dpkg-") {
				files[entry.Name()] = text(path.Join(dir, entry.Name()))
			}
		}
	}
	return files
}

func readKernel() Kernel {
	var k Kernel
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		k.Release = unix.ByteSliceToString(uts.Release[:])
	}
	// With a descriptor that there is not, a system call that exists says EBADF.
	probe := func(name string, err error) {
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) && os.Geteuid() == 0 {
			k.Refused = append(k.Refused, name)
		}
	}
	_, err := unix.OpenTree(-1, "x", unix.OPEN_TREE_CLOEXEC)
	probe("open_tree", err)
	_, err = unix.Openat2(-1, "x", &unix.OpenHow{Flags: unix.O_PATH})
	probe("openat2", err)
	probe("move_mount", unix.MoveMount(-1, "x", -1, "y", 0))
	probe("mount_setattr", unix.MountSetattr(-1, "x", 0, &unix.MountAttr{Propagation: unix.MS_SLAVE}))
	k.Admin = hasAdmin(text("/proc/self/status"))
	return k
}

// hasAdmin reads the effective capabilities (proc(5)).
func hasAdmin(status string) bool {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return err == nil && set>>unix.CAP_SYS_ADMIN&1 == 1
		}
	}
	return false
}

func readTarget(name string) Target {
	root, err := mountfd.Root()
	if err != nil {
		return Target{Err: err.Error()}
	}
	defer root.Close()
	f, err := mountfd.Open(root, name)
	if err != nil {
		return Target{Err: err.Error()}
	}
	defer f.Close()
	info, err := mountfd.Stat(f)
	if err != nil {
		return Target{Err: err.Error()}
	}
	return Target{Directory: info.IsDir(), UID: info.UID, Mode: info.Mode}
}

func readFile(name string) File {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return File{Path: name, Err: "cannot find " + name + ": " + err.Error()}
	}
	return File{Path: name, UID: st.Uid, Mode: st.Mode &^ unix.S_IFMT}
}

// readTmpfiles reads what systemd-tmpfiles would: of files with one name that of
// the first directory counts (tmpfiles.d(5)). Nil: there is no systemd-tmpfiles.
func readTmpfiles() map[string]string {
	if _, err := os.Stat("/usr/bin/systemd-tmpfiles"); err != nil {
		return nil
	}
	files := map[string]string{}
	for _, dir := range []string{"/etc", "/run", "/usr/local/lib", "/usr/lib"} {
		names, _ := filepath.Glob(dir + "/tmpfiles.d/*.conf")
		for _, name := range names {
			if _, seen := files[path.Base(name)]; !seen {
				files[path.Base(name)] = text(name)
			}
		}
	}
	return files
}

// gates are the units of programs through which people log in.
var gates = []string{
	"ssh.service", "sshd.service", "ssh@.service", "cron.service", "crond.service", "atd.service",
	"getty@.service", "serial-getty@.service", "gdm.service", "lightdm.service", "sddm.service",
}

// readUnits reads each unit and then its drop-ins; /etc goes before /usr/lib.
func readUnits() map[string]string {
	units := map[string]string{}
	for _, name := range gates {
		for _, dir := range []string{"/etc", "/run", "/usr/local/lib", "/usr/lib"} {
			if content := text(dir + "/systemd/system/" + name); content != "" {
				units[name] = content
				break
			}
		}
		var dropIns []string
		for _, dir := range []string{"/usr/lib", "/usr/local/lib", "/run", "/etc"} {
			found, _ := filepath.Glob(dir + "/systemd/system/" + name + ".d/*.conf")
			dropIns = append(dropIns, found...)
		}
		slices.SortStableFunc(dropIns, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
		for _, dropIn := range dropIns {
			if _, ok := units[name]; ok {
				units[name] += "\n" + text(dropIn)
			}
		}
	}
	return units
}

// withIncludes reads a file with what it includes in place, one level deep; nil:
// there is no such file. Words are the directives, in lower case.
func withIncludes(name, dir string, words ...string) *string {
	if _, err := os.Stat(name); err != nil {
		return nil
	}
	var all strings.Builder
	for line := range strings.Lines(text(name)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !slices.Contains(words, strings.ToLower(fields[0])) {
			all.WriteString(line)
			continue
		}
		for _, pattern := range fields[1:] {
			for _, included := range filesOf(pattern, dir) {
				all.WriteString(text(included) + "\n")
			}
		}
	}
	content := all.String()
	return &content
}

func filesOf(pattern, dir string) []string {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(dir, pattern)
	}
	if info, err := os.Stat(pattern); err == nil && info.IsDir() {
		pattern += "/*"
	}
	names, _ := filepath.Glob(pattern)
	return names
}

func leftoversIn(inv inventory.Inventory) Leftovers {
	l := Leftovers{Records: inv.Ended, Bases: inv.Strays}
	for _, i := range inv.Instances {
		var unknown user.UnknownUserError
		var unknownID user.UnknownUserIdError
		if i.Aside {
			l.Aside = append(l.Aside, i.Host)
			continue
		}
		_, err := user.LookupId(strconv.FormatUint(uint64(i.UID), 10))
		if errors.As(err, &unknownID) || errors.As(err, &unknown) {
			l.Unknown = append(l.Unknown, i.Host)
		}
	}
	return l
}
