package state

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gotmpns/test/process"
)

// holders hold the lock of alice, each in another way, until they have to release it.
var holders = map[string]func(t *testing.T, path string) (release func()){
	"another login": func(t *testing.T, path string) func() {
		unlock, err := another(t, path).LockUser(alice, 0)
		if err != nil {
			t.Fatal(err)
		}
		return unlock
	},
	"another process": func(t *testing.T, path string) func() {
		return process.Stay(t, "exec 9<>"+path+"/locks/1000; flock 9").End
	},
	"a process that was stopped": func(t *testing.T, path string) func() {
		p := process.Stay(t, "exec 9<>"+path+"/locks/1000; flock 9")
		if err := unix.Kill(p.PID, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		return p.End
	},
}

func TestNobodyWaitsForALockWithoutADeadline(t *testing.T) {
	for name, hold := range holders {
		t.Run(name, func(t *testing.T) {
			d, path := open(t)
			lock(t, d, alice)() // makes the file
			release := hold(t, path)
			const wait = 50 * time.Millisecond
			began := time.Now()
			if _, err := d.LockUser(alice, wait); !errors.Is(err, ErrBusy) {
				t.Errorf("error is %v", err)
			}
			if time.Since(began) < wait {
				t.Errorf("it gave up after %s", time.Since(began))
			}
			if _, err := d.LockUser(alice, 0); !errors.Is(err, ErrBusy) {
				t.Errorf("error without waiting is %v", err)
			}
			lock(t, d, bob)() // waits for nobody
			release()
			lock(t, d, alice)()
		})
	}
}

// lock takes a lock that has to be free.
func lock(t *testing.T, d *Dir, uid uint32) (unlock func()) {
	t.Helper()
	unlock, err := d.LockUser(uid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return unlock
}

func TestWhoWaitsGetsTheLock(t *testing.T) {
	d, path := open(t)
	unlock := lock(t, d, alice)
	got := make(chan error)
	go func() {
		_, err := another(t, path).LockUser(alice, time.Hour)
		got <- err
	}()
	select {
	case err := <-got:
		t.Errorf("two have the lock: %v", err)
	case <-time.After(20 * time.Millisecond): // it can only be missed, never wrong
	}
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestALockIsNotInherited(t *testing.T) {
	d, _ := open(t)
	unlock := lock(t, d, alice)
	process.Stay(t, "")
	unlock()
	lock(t, d, alice)()
}

func TestTheLockIsNoPlaceForAnythingElse(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a link":      func(p string) error { return os.Symlink("/etc/passwd", p) },
		"a directory": func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		d, path := open(t)
		lock(t, d, bob)()
		if err := put(path + "/locks/1000"); err != nil {
			t.Fatal(err)
		}
		if _, err := d.LockUser(alice, 0); err == nil || errors.Is(err, ErrBusy) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestTheLockOfAKilledProcessIsFree(t *testing.T) {
	d, path := open(t)
	lock(t, d, alice)()
	p := process.Stay(t, "exec 9<>"+path+"/locks/1000; flock 9")
	if err := exec.Command("flock", "-n", path+"/locks/1000", "true").Run(); err == nil {
		t.Fatal("the process does not hold it")
	}
	p.Kill()
	lock(t, d, alice)()
}
