package check

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/internal/account"
	"gotmpns/internal/inventory"
	"gotmpns/internal/pamconf"
	"gotmpns/internal/policy"
)

func (s *System) readSessions(inv inventory.Inventory) {
	for _, found := range inv.Sessions {
		session := Session{User: found.User, Service: found.Service, PID: found.PID, Since: found.Since}
		session.Removed = slices.ContainsFunc(found.Places, func(p inventory.Place) bool { return p.Kind == inventory.Removed })
		s.Sessions = append(s.Sessions, session)
	}
	s.Changed = changed(s.ConfigPath)
}

// changed is when a configuration or a file beside it was last written.
func changed(path string) time.Time {
	names, _ := filepath.Glob(strings.TrimSuffix(path, ".toml") + ".d/*.toml")
	var last time.Time
	for _, name := range append(names, path) {
		if info, err := os.Stat(name); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}

// starters are programs that start others for a user, with a word of their command
// line that must be there.
var starters = map[string]string{"systemd": "--user", "tmux: server": "", "screen": "", "SCREEN": "", "dbus-daemon": "--session", "gnome-shell": ""}

// readOutside finds processes in the host's mount namespace, which this thread is in,
// whose users get private directories.
func (s *System) readOutside() {
	if !s.has(usualService) {
		return
	}
	host := inventory.Namespace()
	entries, _ := os.ReadDir("/proc")
	byUID := map[uint32]*Outside{}
	for _, entry := range entries {
		proc := "/proc/" + entry.Name()
		var st, ns unix.Stat_t
		if _, err := strconv.Atoi(entry.Name()); err != nil || unix.Stat(proc, &st) != nil || unix.Stat(proc+"/ns/mnt", &ns) != nil || ns.Ino != host {
			continue
		}
		o, seen := byUID[st.Uid]
		if !seen {
			o = s.outsideFor(st.Uid)
			byUID[st.Uid] = o
		}
		if o == nil || isService(text(proc+"/cgroup")) {
			continue
		}
		o.Count++
		name := strings.TrimSpace(text(proc + "/comm"))
		if word, ok := starters[name]; ok && strings.Contains(text(proc+"/cmdline"), word) {
			o.Named = append(o.Named, fmt.Sprintf("%s (pid %s)", name, entry.Name()))
		}
	}
	for _, o := range byUID {
		if o != nil && o.Count > 0 {
			s.Outside = append(s.Outside, *o)
		}
	}
	slices.SortFunc(s.Outside, func(a, b Outside) int { return strings.Compare(a.User, b.User) })
}

// UsersOutside returns the users of whom [Outside] has processes, sorted. The calling thread
// is in the host's mount namespace.
func UsersOutside(p policy.Policy, stacks pamconf.Stacks) []string {
	s := System{Policy: p, Stacks: stacks}
	s.readOutside()
	var users []string
	for _, o := range s.Outside {
		users = append(users, o.User)
	}
	return users
}

// isService says whether a process belongs to a system service by its cgroup
// (cgroups(7)): a service with User= sees the host's directories as any other does, and
// the end of the user's sessions does not end it. Jobs of the services through which
// people log in are sessions.
func isService(cgroups string) bool {
	for line := range strings.Lines(cgroups) {
		_, group, _ := strings.Cut(strings.TrimPrefix(line, "0::"), "/system.slice/")
		for name := range strings.SplitSeq(strings.TrimSpace(group), "/") {
			if strings.HasSuffix(name, ".service") && !slices.Contains(loginUnits, name) {
				return true
			}
		}
	}
	return false
}

// usualService is the service by which people log in, whose rules are looked at.
const usualService = "sshd"

// outsideFor is for the processes of a user who gets private directories; nil: they
// do not.
func (s *System) outsideFor(uid uint32) *Outside {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return nil
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil
	}
	groups, _, err := account.Groups(u.Username, uint32(gid), s.Policy.GroupNames())
	if err != nil {
		return nil
	}
	subject := policy.Subject{User: u.Username, UID: uid, Service: usualService, Groups: groups}
	if !slices.ContainsFunc(s.Policy.Private, func(p policy.Private) bool { return isPrivateFor(s.Policy, p, subject) }) {
		return nil
	}
	return &Outside{User: u.Username, UID: uid}
}

// readBroker asks the service manager.
func readBroker() Broker {
	var b Broker
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return b
	}
	socket, service := show("gotmpns.socket"), show("gotmpns.service")
	b.Installed = socket["LoadState"] == "loaded" && service["LoadState"] == "loaded"
	b.Socket, b.Service = socket["ActiveState"], service["ActiveState"]
	b.Restarts, _ = strconv.Atoi(service["NRestarts"])
	if pid := service["MainPID"]; pid != "" && pid != "0" {
		program, err := os.Readlink("/proc/" + pid + "/exe")
		b.Replaced = err == nil && strings.HasSuffix(program, " (deleted)")
	}
	return b
}

// show returns properties of a unit.
func show(unit string) map[string]string {
	cmd := &exec.Cmd{
		Path: "/usr/bin/systemctl",
		Args: []string{"systemctl", "show", "--property=LoadState,ActiveState,NRestarts,MainPID", unit},
		Env:  []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
	}
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	properties := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			properties[name] = value
		}
	}
	return properties
}
