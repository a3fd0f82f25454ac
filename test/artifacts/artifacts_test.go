// Package artifacts looks at the files that are built: what they export, what
// they need, and how they are hardened.
package artifacts

import (
	"bytes"
	"debug/elf"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, name string) *elf.File {
	t.Helper()
	f, err := elf.Open(filepath.Join("../../build", name))
	if os.IsNotExist(err) {
		t.Skip(`nothing is built yet: run "make"`)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// exported are the functions that others can call by name.
func exported(t *testing.T, f *elf.File) []string {
	t.Helper()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range symbols {
		if s.Section != elf.SHN_UNDEF && elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names
}

func TestTheShimExportsTwoFunctionsAndNeedsLibpam(t *testing.T) {
	f := open(t, "pam_gotmpns.so")
	if diff := cmp.Diff([]string{"pam_sm_close_session", "pam_sm_open_session"}, exported(t, f)); diff != "" {
		t.Error(diff)
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	// On some architectures (arm64, armhf, riscv64), symbols of the stack protector
	// come from the dynamic loader itself.
	libraries = slices.DeleteFunc(libraries, func(name string) bool {
		return strings.HasPrefix(name, "ld-linux") || strings.HasPrefix(name, "ld64.so")
	})
	if diff := cmp.Diff([]string{"libpam.so.0", "libc.so.6"}, libraries); diff != "" {
		t.Error(diff)
	}
}

func TestTheSessionLibraryExportsOneFunctionOfOurs(t *testing.T) {
	ours := slices.DeleteFunc(exported(t, open(t, "gotmpns-session.so")), func(name string) bool {
		return !strings.HasPrefix(name, "gotmpns")
	})
	if diff := cmp.Diff([]string{"gotmpns_session_serve"}, ours); diff != "" {
		t.Error(diff)
	}
}

func TestAllAreHardened(t *testing.T) {
	for _, name := range []string{"pam_gotmpns.so", "gotmpns-worker", "gotmpns-session.so", "gotmpns"} {
		t.Run(name, func(t *testing.T) {
			f := open(t, name)
			var relro, stack bool
			for _, p := range f.Progs {
				relro = relro || p.Type == elf.PT_GNU_RELRO
				stack = stack || p.Type == elf.PT_GNU_STACK && p.Flags&elf.PF_X == 0
			}
			if !relro || !stack || !bindsNow(t, f) {
				t.Errorf("RELRO %v, stack without code %v, bound at start %v", relro, stack, bindsNow(t, f))
			}
		})
	}
}

func bindsNow(t *testing.T, f *elf.File) bool {
	t.Helper()
	flags, err := f.DynValue(elf.DT_FLAGS)
	if err != nil {
		t.Fatal(err)
	}
	flags1, err := f.DynValue(elf.DT_FLAGS_1)
	if err != nil {
		t.Fatal(err)
	}
	return len(flags) > 0 && elf.DynFlag(flags[0])&elf.DF_BIND_NOW != 0 ||
		len(flags1) > 0 && elf.DynFlag1(flags1[0])&elf.DF_1_NOW != 0
}

func TestTheStackOfTheCPartsIsProtected(t *testing.T) {
	for _, name := range []string{"pam_gotmpns.so", "gotmpns-worker"} {
		symbols, err := open(t, name).ImportedSymbols()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(symbols, func(s elf.ImportedSymbol) bool { return s.Name == "__stack_chk_fail" }) {
			t.Errorf("%s has no stack protector", name)
		}
	}
}

// installed are the names of what has to be installed, by what the source tree has.
func installed(t *testing.T) []string {
	t.Helper()
	names := []string{
		"gotmpns", "gotmpns-full", "gotmpns-run", "gotmpns-session.so", "gotmpns-worker", "pam_gotmpns.so",
		"gotmpns.toml", "gotmpns.conf", "_gotmpns", "gotmpns.fish", // completions; that of bash is named like the command
	}
	for _, pattern := range []string{"docs/*.[158]", "debian/gotmpns*.socket", "debian/gotmpns*.timer", "debian/gotmpns*.service.in"} {
		files, err := filepath.Glob("../../" + pattern)
		if err != nil || files == nil {
			t.Fatalf("%s: no files, %v", pattern, err)
		}
		for _, file := range files {
			names = append(names, strings.TrimSuffix(filepath.Base(file), ".in"))
		}
	}
	return names
}

// The command in PATH starts without a loader, and has nothing that one would have to fill in.
func TestTheFrontOfTheCommandNeedsNoLibrary(t *testing.T) {
	f := open(t, "gotmpns")
	if f.Machine != elf.EM_X86_64 && f.Machine != elf.EM_AARCH64 {
		t.Skip("on this architecture it is linked with the C library")
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_TLS {
			t.Errorf("it has a segment of type %v", p.Type)
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("it needs %v, %v", libraries, err)
	}
	for _, section := range f.Sections {
		if strings.HasPrefix(section.Name, ".rel") && section.Size > 0 {
			t.Errorf("it has relocations, in %s", section.Name)
		}
	}
}

// How long a Go program takes to start depends on what is linked into it.
func TestTheProgramOfRunIsSmall(t *testing.T) {
	f := open(t, "gotmpns-run")
	info, err := os.Stat("../../build/gotmpns-run")
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 4<<20 || f.Section(".interp") != nil {
		t.Errorf("it has %d bytes; is it static: %v", info.Size(), f.Section(".interp") == nil)
	}
}

// make install and make uninstall are each other's opposite, and what is
// installed is small.
func TestInstallAndUninstall(t *testing.T) {
	open(t, "gotmpns-session.so")
	root := t.TempDir()
	run := func(target string) {
		t.Helper()
		cmd := exec.Command("make", "-s", "-C", "../..", target, "DESTDIR="+root)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make %s: %v: %s", target, err, out)
		}
	}
	run("install")
	names := map[string]bool{}
	_ = filepath.WalkDir(root, func(path string, d os.DirEntry, _ error) error {
		if !d.IsDir() {
			names[d.Name()] = true
			info, err := d.Info()
			if err != nil {
				return err
			}
			if d.Name() == "pam_gotmpns.so" && info.Size() > 128<<10 { // half of it is alignment, where pages may have 64 KiB
				t.Errorf("the shim has %d bytes", info.Size())
			}
		}
		return nil
	})
	for _, name := range installed(t) {
		if !names[name] {
			t.Errorf("make install does not install %s", name)
		}
		delete(names, name)
	}
	if len(names) > 0 {
		t.Errorf("make install installs %v as well", slices.Sorted(maps.Keys(names)))
	}
	run("uninstall")
	left, err := exec.Command("find", root, "-type", "f").Output()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(left)), "/etc/security/gotmpns.toml") {
		t.Errorf("left is %q, %v", left, err)
	}
}

// The Go parts are compared by test/package/same, because they take a minute.
func TestTheCPartsAreTheSameBytesInTwoDirectories(t *testing.T) {
	open(t, "pam_gotmpns.so")
	var built [2][]byte
	for i, name := range []string{"here", "a/longer/place"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"Makefile", "c", "test/setup", "internal/cli/version.go"} {
			if out, err := exec.Command("sh", "-c", `cd ../.. && cp -R --parents "$0" "$1"`, part, dir).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		// The debug information has the directory in it, if anything has.
		make := exec.Command("make", "-s", "-C", dir, "CFLAGS=-O2 -g", "build/pam_gotmpns.so", "build/gotmpns-worker", "build/gotmpns")
		if out, err := make.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, file := range []string{"pam_gotmpns.so", "gotmpns-worker", "gotmpns"} {
			content, err := os.ReadFile(filepath.Join(dir, "build", file))
			if err != nil {
				t.Fatal(err)
			}
			built[i] = append(built[i], content...)
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Error("built in another directory, the module, the worker or the command is another file")
	}
}
