package leftover

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
)

// diff says what has come and what has gone, a line each.
func diff(before, after state) []string {
	var lines []string
	lines = append(lines, diffLines("mount", before.mounts, after.mounts)...)
	for _, p := range before.newIn(after) {
		zombie := ""
		if p.zombie() {
			zombie = ", a zombie that nobody waits for"
		}
		lines = append(lines, fmt.Sprintf("left: process %d of parent %d%s: %s", p.pid, p.parent, zombie, p.command))
	}
	lines = append(lines, diffLines("descriptor", before.descriptors, after.descriptors)...)
	return append(lines, diffFiles(before.files, after.files)...)
}

// diffLines takes the order for nothing, but counts: mounts can lie on one another.
func diffLines(what string, before, after []string) []string {
	count := map[string]int{}
	for _, line := range before {
		count[line]--
	}
	for _, line := range after {
		count[line]++
	}
	var gone, left []string
	for _, line := range slices.Sorted(maps.Keys(count)) {
		for range -count[line] {
			gone = append(gone, "gone: "+what+" "+line)
		}
		for range count[line] {
			left = append(left, "left: "+what+" "+line)
		}
	}
	return append(gone, left...)
}

// diffFiles names a directory that has come or gone, and not all that is in it.
func diffFiles(before, after map[string]string) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(before)) {
		now, is := after[name]
		switch {
		case is && now != before[name]:
			lines = append(lines, fmt.Sprintf("changed: file %s: %s, was %s", name, now, before[name]))
		case !is && !onlyIn(before, after, filepath.Dir(name)):
			lines = append(lines, "gone: file "+name+": "+before[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		_, was := before[name]
		if !was && !onlyIn(after, before, filepath.Dir(name)) {
			lines = append(lines, "left: file "+name+": "+after[name])
		}
	}
	return lines
}

func onlyIn(one, other map[string]string, name string) bool {
	_, in := one[name]
	_, inOther := other[name]
	return in && !inOther
}

// newIn returns the processes that came after the state s was taken. Those that
// belong to what started the test are none of its business: `go test` compiles
// the next package at the same time.
func (s state) newIn(after state) []process {
	starters := map[int]bool{}
	for pid := after.parent; pid > 1; pid = after.processes[pid].parent {
		starters[pid] = true
	}
	var news []process
	for pid, p := range after.processes {
		if old, was := s.processes[pid]; was && old.start == p.start {
			continue
		}
		for pid > 1 && pid != after.self && !starters[pid] {
			pid = after.processes[pid].parent
		}
		if !starters[pid] {
			news = append(news, p)
		}
	}
	slices.SortFunc(news, func(a, b process) int { return cmp.Compare(a.pid, b.pid) })
	return news
}
