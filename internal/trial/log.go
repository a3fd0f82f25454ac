//go:build cgo

package trial

// #include <stdlib.h>
// #include <syslog.h>
import "C"

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// The name under which this program logs; syslog(3) keeps the pointer.
var logName = C.CString("gotmpns")

// captureLog runs a function and returns the lines that modules have logged while it ran.
// They reach the log as always: syslog(3) writes them to the standard error too,
// which is a file in memory for that time.
func captureLog(run func() error) (lines []string, err error) {
	fd, err := unix.MemfdCreate("log", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot collect what the module logs (memfd_create): %w", err)
	}
	file := os.NewFile(uintptr(fd), "log")
	defer file.Close()
	before, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("cannot collect what the module logs (dup): %w", err)
	}
	defer unix.Close(before)
	if err := unix.Dup3(fd, 2, 0); err != nil {
		return nil, fmt.Errorf("cannot collect what the module logs (dup): %w", err)
	}
	C.openlog(logName, C.LOG_PERROR, C.LOG_AUTHPRIV)
	failure := run()
	C.openlog(logName, 0, C.LOG_AUTHPRIV)
	_ = unix.Dup3(before, 2, 0) // the descriptor was there a moment ago
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<20))
	if err != nil {
		return nil, failure
	}
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines, failure
}

// Around a reason, the module logs whose login it is and how long it took.
var (
	whose = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^.*pam_gotmpns\([^)]*\): (?:.* \(uid [0-9]+\): )?`) })
	took  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`, [0-9.]+ m?s$`) })
)

// lastOf returns the last reason that the module has logged; empty: there is none.
func lastOf(lines []string) string {
	last := ""
	for _, line := range lines {
		if before := whose().FindString(line); before != "" {
			last = took().ReplaceAllString(line[len(before):], "")
		}
	}
	return last
}
