package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"gotmpns/test/leftover"
)

// The scripts of gotmpns run and gotmpns import, against the command that "make
// build" makes. Those that mount begin with [!disposable] skip.
func TestRun(t *testing.T) {
	for _, pattern := range []string{"run-*.txtar", "import*.txtar"} {
		files, err := filepath.Glob(filepath.Join("testdata/script", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no scripts %s: %v", pattern, err)
		}
		for _, file := range files {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
				runScript(t, file)
			})
		}
	}
}

func runScript(t *testing.T, file string) {
	build := buildDirectory(t)
	if leftover.Disposable() {
		leftover.Snapshot(t, leftover.Ignore("/run/mount")) // mount(8) makes it
	}
	testscript.Run(t, testscript.Params{
		Files:               []string{file},
		RequireExplicitExec: true,
		Condition: func(condition string) (bool, error) {
			return condition == "disposable" && leftover.Disposable(), nil
		},
		Setup: func(env *testscript.Env) error { return setUpRun(env, build) },
	})
}

func buildDirectory(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../build")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(path, "gotmpns-run")); err != nil {
		t.Skip("needs build/gotmpns-run: run make build")
	}
	return path
}

// byUser is a command for the scripts: by USER COMMAND...
const byUser = `#!/bin/sh
user=$1
shift
exec setpriv --reuid "$user" --regid "$user" --init-groups -- env HOME="/home/$user" USER="$user" "$@"
`

// setUpRun puts the command in front of PATH, in a place that users can reach.
func setUpRun(env *testscript.Env, build string) error {
	bin := filepath.Join(env.WorkDir, ".bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"gotmpns-run", "gotmpns-full"} {
		program, err := os.ReadFile(filepath.Join(build, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(bin, name), program, 0o755); err != nil {
			return err
		}
	}
	// The place of these is compiled in.
	front := exec.Command("make", "-s", "-C", filepath.Dir(build), "front", "LIBEXECDIR="+bin, "OUT="+filepath.Join(bin, "gotmpns"))
	if out, err := front.CombinedOutput(); err != nil {
		return fmt.Errorf("make front: %w: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(bin, "by"), []byte(byUser), 0o755); err != nil {
		return err
	}
	env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	env.Setenv("TEST_BINARY", "/proc/"+strconv.Itoa(os.Getpid())+"/exe")
	for dir, mode := range map[string]os.FileMode{
		env.WorkDir: 0o755, filepath.Dir(env.WorkDir): 0o755,
		filepath.Join(env.WorkDir, ".tmp"): 0o777 | os.ModeSticky,
	} {
		if err := os.Chmod(dir, mode); err != nil {
			return err
		}
	}
	return nil
}
