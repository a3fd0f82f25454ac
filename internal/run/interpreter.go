package run

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// explainExec names the interpreter of a program that is there and could not be
// executed: the mounts may have hidden that.
func explainExec(path string, err error) error {
	interpreter := interpreterOf(path)
	if interpreter == "" {
		return err
	}
	if cause := unix.Access(interpreter, unix.X_OK); cause != nil {
		return fmt.Errorf("its interpreter %s cannot be executed: %w", interpreter, cause)
	}
	if next := interpreterOf(interpreter); next != "" && unix.Access(next, unix.X_OK) != nil {
		return fmt.Errorf("its interpreter %s needs %s: %w", interpreter, next, err)
	}
	return err
}

// interpreterOf returns the program that the kernel executes for a file: what
// follows "#!", or the loader of a dynamically linked program; empty: none.
func interpreterOf(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	const longest = 256 // BINPRM_BUF_SIZE
	head := make([]byte, longest)
	n, _ := f.ReadAt(head, 0)
	if line, ok := bytes.CutPrefix(head[:n], []byte("#!")); ok {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		if words := strings.Fields(string(line)); len(words) > 0 {
			return words[0]
		}
		return ""
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return ""
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < unix.PathMax {
			name := make([]byte, p.Filesz)
			if _, err := p.ReadAt(name, 0); err == nil {
				return string(bytes.TrimRight(name, "\x00"))
			}
		}
	}
	return ""
}
