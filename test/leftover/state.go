package leftover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// state is what there is at one moment.
type state struct {
	self, parent int
	mounts       []string // ours and those of pid 1, one line each
	descriptors  []string
	files        map[string]string // what each is, by path
	processes    map[int]process
}

type process struct {
	pid, parent int
	start       string // tells it from another one that got the same pid
	status      string // one letter, as in ps
	command     string
}

func (p process) zombie() bool { return p.status == "Z" }

func take(ignored []string) (state, error) {
	s := state{self: os.Getpid(), parent: os.Getppid()}
	var err error
	if s.processes, err = readProcesses(); err != nil {
		return state{}, err
	}
	if s.descriptors, err = readDescriptors(); err != nil {
		return state{}, err
	}
	if s.files, err = readFiles(places, ignored); err != nil {
		return state{}, err
	}
	for _, who := range []string{"self", "1"} {
		text, err := os.ReadFile(filepath.Join("/proc", who, "mountinfo"))
		if err != nil {
			return state{}, err
		}
		s.mounts = append(s.mounts, parseMounts(who, string(text))...)
	}
	return s, nil
}

// parseMounts leaves out the ids: a mount that was detached and attached again is
// the same to a test.
func parseMounts(who, text string) []string {
	if who == "1" {
		who = "pid 1"
	}
	var mounts []string
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(fields) == 3 {
			mounts = append(mounts, who+": "+fields[2])
		}
	}
	return mounts
}

func readProcesses() (map[int]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	processes := map[int]process{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join("/proc", entry.Name())
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended
		}
		p, err := parseStat(pid, string(stat))
		if err != nil {
			return nil, err
		}
		if line, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil && len(line) > 0 {
			p.command = strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
		}
		processes[pid] = p
	}
	return processes, nil
}

// parseStat reads /proc/PID/stat, where the name may have blanks and brackets.
func parseStat(pid int, stat string) (process, error) {
	begin, end := strings.Index(stat, "("), strings.LastIndex(stat, ")")
	if begin < 0 || end < begin {
		return process{}, fmt.Errorf("cannot read the stat of process %d: %q", pid, stat)
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 20 {
		return process{}, fmt.Errorf("cannot read the stat of process %d: %q", pid, stat)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, fmt.Errorf("cannot read the stat of process %d: %w", pid, err)
	}
	return process{pid: pid, parent: parent, start: fields[19], status: fields[0], command: stat[begin : end+1]}, nil
}

func readDescriptors() ([]string, error) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var descriptors []string
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if err != nil {
			continue // the one that the directory was read with
		}
		descriptors = append(descriptors, entry.Name()+" -> "+target)
	}
	return descriptors, nil
}

func readFiles(places, ignored []string) (map[string]string, error) {
	files := map[string]string{}
	for _, place := range places {
		var device uint64
		err := filepath.WalkDir(place, func(name string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed in the meantime
			}
			if err != nil {
				return skipUnreadable(entry, err)
			}
			if matches(ignored, name) {
				return skip(entry)
			}
			info, err := entry.Info()
			if err != nil {
				return skipUnreadable(entry, err)
			}
			stat := info.Sys().(*syscall.Stat_t)
			if name == place {
				device = stat.Dev
			}
			// Of an overlay only the directories tell the file system they are in.
			if entry.IsDir() && stat.Dev != device {
				return fs.SkipDir
			}
			files[name] = fmt.Sprintf("%v %d:%d", info.Mode(), stat.Uid, stat.Gid)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("cannot look into %s: %w", place, err)
		}
	}
	return files, nil
}

func skip(entry fs.DirEntry) error {
	if entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// skipUnreadable passes by what is gone, and a user's FUSE mount, which not even
// root may look at; as a mount it is noted.
func skipUnreadable(entry fs.DirEntry, err error) error {
	unreadable := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOTCONN)
	if !unreadable || entry == nil {
		return err
	}
	return skip(entry)
}

func matches(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}
