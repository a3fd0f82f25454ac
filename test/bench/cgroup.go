package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const cgroups = "/sys/fs/cgroup"

// mountCgroups mounts what every booted system has early in its table of mounts.
// It matters here: the Go runtime looks for it when it starts, and without it
// reads the whole table, which no worker on a real host has to.
func mountCgroups() error {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	var old []string // controllers of version 1, on systems that still have them
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) == 3 && fields[1] != "" && !strings.Contains(fields[1], "=") {
			old = append(old, fields[1])
		}
	}
	if old == nil {
		return mountReadOnly("cgroup2", cgroups, "")
	}
	if err := syscall.Mount("tmpfs", cgroups, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, controllers := range old {
		point := filepath.Join(cgroups, controllers)
		err = errors.Join(err, os.Mkdir(point, 0o755), mountReadOnly("cgroup", point, controllers))
	}
	return err
}

func mountReadOnly(kind, point, options string) error {
	return errors.Join(
		syscall.Mount(kind, point, kind, 0, options),
		syscall.Mount("", point, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
}
