package usage

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkUses is a search on a host with services that have a namespace of their own
// and with many processes; GOTMPNS_BENCH="MOUNTS NAMESPACES PROCESSES".
func BenchmarkUses(b *testing.B) {
	mounts, namespaces, processes := 200, 50, 500
	if text := os.Getenv("GOTMPNS_BENCH"); text != "" {
		if _, err := fmt.Sscan(text, &mounts, &namespaces, &processes); err != nil {
			b.Fatal(err)
		}
	}
	f := newField(b)
	must(b, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	for range mounts {
		dir := b.TempDir()
		must(b, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
		b.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	start := func(command ...string) int {
		cmd := exec.Command(command[0], command[1:]...)
		must(b, cmd.Start())
		b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd.Process.Pid
	}
	var session int
	for range namespaces {
		session = start("unshare", "--mount", "sleep", "1000")
	}
	home := number(b, "/proc/self/ns/mnt")
	for number(b, fmt.Sprintf("/proc/%d/ns/mnt", session)) == home {
		runtime.Gosched()
	}
	for range processes {
		start("nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", session), "sleep", "1000")
	}
	sessions := func(n uint64) (uint32, bool) { return 1002, n != home }
	b.Run("sessions", func(b *testing.B) {
		trees := f.trees[:1]
		for b.Loop() {
			_, err := f.finder.Uses(trees, sessions, never)
			must(b, err)
		}
	})
	for name, finder := range map[string]func() *Finder{
		"first": func() *Finder { f, err := New(); must(b, err); return f },
		"again": func() *Finder { return f.finder },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				finder := finder()
				_, err := finder.Uses(f.trees, Nobodys, never)
				must(b, err)
				if finder != f.finder {
					finder.Close()
				}
			}
		})
	}
}
