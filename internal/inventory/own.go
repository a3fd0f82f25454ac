package inventory

import (
	"cmp"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"gotmpns/internal/instance"
	"gotmpns/internal/mounts"
	"gotmpns/internal/policy"
	"gotmpns/internal/proc"
)

// Own makes an inventory of what a plain user can know: the namespaces of
// their processes, and what of ours is mounted in them. It has neither the PAM service
// that opened a session, nor instances without a process in them.
func Own(uid uint32, user string, p policy.Policy) Inventory {
	inv := Inventory{Partial: true}
	for _, s := range ownNamespaces(uid) {
		s.User, s.UID = user, uid
		ours := ownMounts(s.table, uid, p)
		host := s.table.Without(ours...)
		for _, m := range ours {
			s.Places = append(s.Places, ownPlace(s, m, host))
		}
		if len(ours) == 0 {
			continue
		}
		inv.host = host
		inv.Sessions = append(inv.Sessions, s)
		inv.addOwn(s)
	}
	return inv
}

func ownMounts(table mounts.Table, uid uint32, p policy.Policy) []*mountinfo.Info {
	var ours []*mountinfo.Info
	for _, m := range table {
		if table.At(m.Mountpoint) == m && isOwn(m, uid, p) {
			ours = append(ours, m)
		}
	}
	return ours
}

// HostTable is the host's mount table as far as the table of a plain user's session
// shows it: without what is mounted for the session. A mount that receives from the
// host is shared there; one that carries a private directory and does not is not, even
// where the session shares it within itself.
func HostTable(uid uint32, p policy.Policy, session mounts.Table) mounts.Table {
	ours := ownMounts(session, uid, p)
	table := session.Without(ours...)
	for i, m := range table {
		host := *m
		isCarrier := slices.ContainsFunc(ours, func(o *mountinfo.Info) bool { return o.Parent == m.ID })
		if strings.Contains(m.Optional, "master:") {
			host.Optional = "shared:0"
		} else if isCarrier {
			host.Optional = ""
		}
		table[i] = &host
	}
	return table
}

// ownNamespaces has one entry for each mount namespace, by its oldest process.
func ownNamespaces(uid uint32) []Session {
	byNumber := map[uint64]Session{}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		directory := "/proc/" + entry.Name()
		var st unix.Stat_t
		if unix.Stat(directory, &st) != nil || st.Uid != uid {
			continue
		}
		number := namespaceOf(directory)
		if seen, ok := byNumber[number]; number == 0 || ok && seen.PID < pid {
			continue
		}
		if table, err := mounts.Read(directory); err == nil {
			byNumber[number] = Session{PID: pid, Since: began(pid), Namespace: number, Proc: directory, table: table}
		}
	}
	sessions := make([]Session, 0, len(byNumber))
	for _, s := range byNumber {
		sessions = append(sessions, s)
	}
	slices.SortFunc(sessions, func(a, b Session) int { return cmp.Compare(a.PID, b.PID) })
	return sessions
}

// began says when a process began, and is zero where that is not known.
func began(pid int) time.Time {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every architecture of ours
	var now unix.Timespec
	start, err := proc.Began(pid)
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return time.Time{}
	}
	ticks, err := strconv.ParseInt(start, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(ticks)*tick - time.Duration(now.Nano())).Truncate(time.Second)
}

// isOwn recognises an instance of ours by what is mounted: there is no record
// that a plain user could read.
func isOwn(m *mountinfo.Info, uid uint32, p policy.Policy) bool {
	if m.FSType == "tmpfs" && m.Source == instance.TmpfsSource && m.Root == "/" {
		return true
	}
	directory, name := path.Split(m.Root)
	if number, _, _ := strings.Cut(name, "."); number != strconv.FormatUint(uint64(uid), 10) {
		return false
	}
	directory = strings.TrimSuffix(directory, "/")
	return instance.IsBaseName(path.Base(directory)) || slices.ContainsFunc(p.Private, func(private policy.Private) bool {
		// The root of a mount is a path in its file system, which may itself be
		// mounted anywhere.
		return private.Base != "" && (private.Target == m.Mountpoint || policy.IsVariable(private.Target)) && strings.HasSuffix(private.Base, directory)
	})
}

func ownPlace(s Session, m *mountinfo.Info, host mounts.Table) Place {
	p := Place{Target: m.Mountpoint, Kind: Directory, Reach: s.Proc + "/root" + m.Mountpoint}
	if m.FSType == "tmpfs" && m.Source == instance.TmpfsSource {
		p.Kind = Tmpfs
	}
	p.Host, _ = s.table.Same(m.Mountpoint, host)
	return p
}

// addOwn lists the instances of a session that are not listed yet.
func (inv *Inventory) addOwn(s Session) {
	for _, p := range s.Places {
		host := cmp.Or(p.Host, p.Reach)
		if slices.ContainsFunc(inv.Instances, func(i Instance) bool { return i.Target == p.Target && i.Host == host }) {
			continue
		}
		i := Instance{User: s.User, UID: s.UID, Target: p.Target, Kind: p.Kind, Host: host}
		if dir, err := os.Open(p.Reach); err == nil {
			i.Usage = instance.UsageOf(dir)
			dir.Close()
		}
		inv.Instances = append(inv.Instances, i)
	}
}
