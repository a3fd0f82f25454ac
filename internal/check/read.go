package check

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
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
	"gotmpns/internal/pamconf"
	"gotmpns/internal/session"
	"gotmpns/internal/view"
)

// Where says what to look at, beside what has a fixed place.
type Where struct {
	Config string   // empty: the first that a PAM stack uses
	Files  []string // that make up the module, as installed
}

// Read gathers the facts of this machine. Root sees it from the host's view: the
// calling goroutine is bound to its thread then, which moves into the namespace
// of pid 1. What cannot be read is left out, and named in NotSeen where it matters.
func Read(where Where) System {
	s := System{Root: os.Geteuid() == 0, Kernel: readKernel()}
	if s.Root {
		if _, err := view.Enter(os.Getpid()); err != nil {
			s.NotSeen = append(s.NotSeen, "seen from this process's own mount namespace: "+err.Error())
		}
	}
	s.Stacks = pamconf.Read()
	inPlace := ConfigsOf(s.Stacks)
	s.ConfigPath = cmp.Or(where.Config, inPlace[0])
	s.Draft = !slices.Contains(inPlace, s.ConfigPath)
	s.Policy, s.ConfigErr = config.Load(s.ConfigPath)
	_, err := os.Lstat(s.ConfigPath)
	s.Defaults = s.ConfigErr == nil && os.IsNotExist(err)
	s.readHost()
	for _, name := range where.Files {
		s.Files = append(s.Files, readFile(name))
	}
	s.readPolicys()
	s.readOthers()
	return s
}

// readHost reads mounts, sessions and instances.
func (s *System) readHost() {
	var err error
	if s.Mounts, err = mounts.Read("/proc/thread-self"); err != nil {
		s.NotSeen = append(s.NotSeen, err.Error())
	}
	if !s.Root {
		s.Mounts = inventory.HostTable(uint32(os.Getuid()), s.Policy, s.Mounts)
		return
	}
	inv, err := inventory.Take(s.Policy, inventory.Want{})
	if err != nil {
		s.NotSeen = append(s.NotSeen, "sessions and leftovers are not checked: "+err.Error())
		return
	}
	s.Leftovers = leftoversIn(inv)
	if s.ConfigErr == nil {
		if s.Refused, err = session.Rehearse(s.Policy, people()); err != nil {
			s.NotSeen = append(s.NotSeen, "logins are not rehearsed: "+err.Error())
		}
	}
	s.readSessions(inv)
	s.readOutside()
}

// readPolicys reads what the policy and the stacks name.
func (s *System) readPolicys() {
	s.Targets, s.Sources, s.Shares, s.Workers = map[string]Target{}, map[string]Target{}, map[string]bool{}, map[string]File{}
	for _, p := range s.Policy.Private {
		target := readTarget(p.Target)
		target.Open = openAbove(p.Target)
		s.Targets[p.Target] = target
		for _, name := range p.Share {
			_, err := os.Lstat(mounts.Join(p.Target, "/"+name))
			s.Shares[mounts.Join(p.Target, "/"+name)] = err == nil
		}
	}
	for _, b := range s.Policy.Bind {
		s.Sources[b.Source] = readTarget(b.Source)
	}
	for _, l := range ourLines(s.Stacks) {
		if worker := pamconf.ParseArguments(l.Args).Worker; worker != "" {
			s.Workers[worker] = readFile(worker)
		}
	}
	s.readNames()
}

// readOthers reads the files of programs with which the module has to live.
func (s *System) readOthers() {
	s.Tmpfiles = readTmpfiles()
	s.Units = readUnits(s.Policy)
	s.Broker = readBroker()
	_, err := os.Stat("/usr/share/pam-configs/gotmpns")
	s.Profile = err == nil
	s.SSHD = withIncludes("/etc/ssh/sshd_config", "/etc/ssh", "include")
	s.Kerberos = withIncludes("/etc/krb5.conf", "/etc", "includedir", "include")
	more, _ := filepath.Glob("/etc/security/namespace.d/*.conf")
	for _, name := range append([]string{"/etc/security/namespace.conf"}, more...) {
		s.Namespace = append(s.Namespace, Part{name, text(name)})
	}
	s.SELinux = strings.TrimSpace(text("/sys/fs/selinux/enforce")) == "1" && !slices.ContainsFunc(s.Files, isLabelled)
}

// isLabelled says whether a file has the label of the worker in the module's policy.
func isLabelled(f File) bool {
	var label [256]byte
	n, err := unix.Lgetxattr(f.Path, "security.selinux", label[:])
	return err == nil && strings.Contains(string(label[:n]), ":gotmpns_exec_t:")
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

func readKernel() Kernel {
	var k Kernel
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		k.Release = unix.ByteSliceToString(uts.Release[:])
	}
	k.Refused, k.Admin, k.Filtered = mountfd.Refused(), mountfd.HasAdmin(), mountfd.IsFiltered()
	return k
}

func readTarget(name string) Target {
	root, err := mountfd.Root()
	if err != nil {
		return Target{Err: err.Error()}
	}
	defer root.Close()
	f, err := mountfd.Open(root, name)
	if err != nil {
		target := Target{Err: err.Error(), Missing: errors.Is(err, fs.ErrNotExist)}
		if errors.Is(err, unix.ELOOP) {
			target.Behind, _ = filepath.EvalSymlinks(name) // a link that leads nowhere has nothing behind it
		}
		return target
	}
	defer f.Close()
	info, err := mountfd.Stat(f)
	if err != nil {
		return Target{Err: err.Error()}
	}
	return Target{Directory: info.IsDir(), UID: info.UID, Mode: info.Mode}
}

// openAbove returns the directory on the way to a target in which others than root can
// make or replace the next name; zero: there is none, or it is below a home directory.
// With the sticky bit, what root has made there is safe.
func openAbove(target string) Opening {
	if strings.HasPrefix(target, "~") {
		return Opening{}
	}
	for at := target; at != "/"; at = path.Dir(at) {
		var dir, entry unix.Stat_t
		if unix.Lstat(path.Dir(at), &dir) != nil || dir.Mode&unix.S_IFMT != unix.S_IFDIR || dir.Mode&mountfd.WritableByOthers == 0 {
			continue
		}
		sticky := dir.Mode&unix.S_ISVTX != 0
		if !sticky || unix.Lstat(at, &entry) != nil || entry.Uid != 0 {
			return Opening{path.Dir(at), sticky, at}
		}
	}
	return Opening{}
}

func readFile(name string) File {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return File{Path: name, Err: "cannot find " + name + ": " + err.Error()}
	}
	return File{Path: name, UID: st.Uid, Mode: st.Mode &^ unix.S_IFMT}
}

// readTmpfiles reads what systemd-tmpfiles would: of files with one name that of
// the first directory takes effect (tmpfiles.d(5)). Nil: there is no systemd-tmpfiles.
func readTmpfiles() map[string]Part {
	if _, err := os.Stat("/usr/bin/systemd-tmpfiles"); err != nil {
		return nil
	}
	files := map[string]Part{}
	for _, dir := range []string{"/etc", "/run", "/usr/local/lib", "/usr/lib"} {
		names, _ := filepath.Glob(dir + "/tmpfiles.d/*.conf")
		for _, name := range names {
			if _, seen := files[path.Base(name)]; !seen {
				files[path.Base(name)] = Part{name, text(name)}
			}
		}
	}
	return files
}

// withIncludes reads a file with what it includes in place, one level deep; nil:
// there is no such file. Words are the directives, in lower case.
func withIncludes(name, dir string, words ...string) []Part {
	if _, err := os.Stat(name); err != nil {
		return nil
	}
	parts := []Part{{Path: name}}
	for line := range strings.Lines(text(name)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !slices.Contains(words, strings.ToLower(fields[0])) {
			parts[len(parts)-1].Text += line
			continue
		}
		for _, pattern := range fields[1:] {
			for _, included := range filesOf(pattern, dir) {
				parts = append(parts, Part{included, text(included)})
			}
		}
		parts = append(parts, Part{Path: name})
	}
	return parts
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
	// A lookup by the C library reads the file from its beginning, for each user.
	known := map[uint32]bool{}
	for _, a := range localAccounts() {
		known[a.UID] = true
	}
	for _, i := range inv.Instances {
		if i.Aside {
			l.Aside = append(l.Aside, i.Host)
			continue
		}
		if _, asked := known[i.UID]; !asked {
			known[i.UID] = !isUnknown(i.UID)
		}
		if !known[i.UID] {
			l.Unknown = append(l.Unknown, i.Host)
		}
	}
	return l
}

// isUnknown says that no source of accounts has a uid; one that fails does not say so.
func isUnknown(uid uint32) bool {
	var unknown user.UnknownUserError
	var unknownID user.UnknownUserIdError
	_, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	return errors.As(err, &unknownID) || errors.As(err, &unknown)
}
