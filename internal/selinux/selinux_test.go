package selinux

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// fake is a selinuxfs whose policy has one rule: users' temporary files are user_tmp_t,
// at the low level of the user, as the kernel computes it.
func fake(t *testing.T, members map[string]string) FS {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/class/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/class/dir/index", []byte("7"), 0o644); err != nil {
		t.Fatal(err)
	}
	return FS{dir, func(path, question string) (string, error) {
		member, ok := members[filepath.Base(path)+" "+question]
		if !ok {
			return "", unix.EINVAL
		}
		return member + "\x00", nil
	}}
}

const target = "system_u:object_r:tmp_t:s0-s15:c0.c1023"

func TestInstances(t *testing.T) {
	f := fake(t, map[string]string{
		"member user_u:user_r:user_t:s0-s3:c1 " + target + " 7":    "user_u:object_r:user_tmp_t:s0",
		"member user_u:user_r:user_t:s2:c1,c3 " + target + " 7":    "user_u:object_r:user_tmp_t:s2:c1,c3",
		"member staff_u:staff_r:staff_t:s2:c1,c3 " + target + " 7": "staff_u:object_r:user_tmp_t:s2:c1,c3",
		"member user_u:user_r:user_t user_u:object_r:tmp_t 7":      "user_u:object_r:user_tmp_t",

		"create user_u:user_r:user_t:s2 system_u:object_r:tmp_t:s0 7": "user_u:object_r:user_tmp_t:s2",
	})
	for name, c := range map[string]struct {
		ask           func(login, target string) (Instance, error)
		login, target string
		want          Instance
	}{
		"context":                        {f.ByContext, "user_u:user_r:user_t:s0-s3:c1", target, Instance{"user_u:object_r:user_tmp_t:s0", "user_u:object_r:user_tmp_t:s0"}},
		"another context":                {f.ByContext, "staff_u:staff_r:staff_t:s2:c1,c3", target, Instance{"staff_u:object_r:user_tmp_t:s2:c1,c3", "staff_u:object_r:user_tmp_t:s2:c1,c3"}},
		"level":                          {f.ByLevel, "user_u:user_r:user_t:s0-s3:c1", target, Instance{"s0", "system_u:object_r:tmp_t:s0"}},
		"another level, with categories": {f.ByLevel, "user_u:user_r:user_t:s2:c1,c3", target, Instance{"s2:c1,c3", "system_u:object_r:tmp_t:s2:c1,c3"}},
		"the same level in another role": {f.ByLevel, "staff_u:staff_r:staff_t:s2:c1,c3", target, Instance{"s2:c1,c3", "system_u:object_r:tmp_t:s2:c1,c3"}},
		"context without levels":         {f.ByContext, "user_u:user_r:user_t", "user_u:object_r:tmp_t", Instance{"user_u:object_r:user_tmp_t", "user_u:object_r:user_tmp_t"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := c.ask(c.login, c.target); got != c.want || err != nil {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
	if got, err := f.Created("user_u:user_r:user_t:s2", "system_u:object_r:tmp_t:s0"); got != "user_u:object_r:user_tmp_t:s2" || err != nil {
		t.Errorf("what a user creates: %q, %v", got, err)
	}
	if got, err := f.ByLevel("user_u:user_r:user_t", "user_u:object_r:tmp_t"); err == nil {
		t.Errorf("a level without levels: %+v", got)
	}
	if _, err := f.ByContext("no context", target); !errors.Is(err, unix.EINVAL) {
		t.Errorf("what the kernel refuses: %v", err)
	}
}

// Without a label, nothing is asked of the kernel; where SELinux is off, it refuses one.
func TestCreateAs(t *testing.T) {
	ran := false
	do := func() error { ran = true; return nil }
	if err := CreateAs("", do); err != nil || !ran {
		t.Errorf("without a label: %v, it ran: %v", err, ran)
	}
	if Host().IsOn() {
		t.Skip("SELinux is on")
	}
	ran = false
	if err := CreateAs(target, do); err == nil || ran {
		t.Errorf("with a label that cannot be set: %v, it ran: %v", err, ran)
	}
}

func TestItIsOffWithoutAPolicy(t *testing.T) {
	if !fake(t, nil).IsOn() {
		t.Error("it is off with a policy")
	}
	if (FS{t.TempDir(), transact}).IsOn() {
		t.Error("it is on without a policy")
	}
}
