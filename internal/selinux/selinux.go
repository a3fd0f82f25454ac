// Package selinux asks SELinux which label a directory has that is one of many behind
// the same path, each for users in another context ("polyinstantiation"). The kernel
// computes it, by the type_member rules of the policy; it is asked by its file system,
// without a library.
package selinux

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FS is a mounted selinuxfs.
type FS struct {
	dir string
	// transact writes a question to a file and reads the answer.
	transact func(path, question string) (string, error)
}

// Host is the file system where every distribution mounts it, as the calling thread
// sees it.
func Host() FS { return FS{"/sys/fs/selinux", transact} }

// IsOn says whether SELinux is on and has a policy, enforced or not.
func (f FS) IsOn() bool {
	_, err := f.classOfDirectories()
	return err == nil
}

// classOfDirectories is the number that the policy has for the class "dir".
func (f FS) classOfDirectories() (uint16, error) {
	text, err := os.ReadFile(f.dir + "/class/dir/index")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 16)
	return uint16(n), err
}

// Member returns the label of the directory that a process in the context login sees
// instead of a directory with the label target.
func (f FS) Member(login, target string) (string, error) {
	label, err := f.compute("member", login, target)
	if err != nil {
		return "", fmt.Errorf("cannot compute the SELinux label of a directory for %s instead of %s: %w", login, target, err)
	}
	return label, nil
}

// Created returns the label of a directory that a process in the context login creates in
// a directory with the label parent.
func (f FS) Created(login, parent string) (string, error) {
	label, err := f.compute("create", login, parent)
	if err != nil {
		return "", fmt.Errorf("cannot compute the SELinux label of a directory that %s creates in %s: %w", login, parent, err)
	}
	return label, nil
}

// compute asks the kernel about directories: "member" and "create" are files of selinuxfs.
func (f FS) compute(file, login, target string) (string, error) {
	class, err := f.classOfDirectories()
	if err != nil {
		return "", err
	}
	answer, err := f.transact(f.dir+"/"+file, fmt.Sprintf("%s %s %d", login, target, class))
	return strings.TrimRight(answer, "\x00\n"), err
}

// CreateAs runs do on a thread of its own, whose new files get the label; with an empty
// label, the policy decides.
func CreateAs(label string, do func() error) error {
	if label == "" {
		return do()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := LabelCreated(label)
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// LabelCreated gives a label to the files that the calling thread creates from now on; an
// empty one changes nothing.
func LabelCreated(label string) error {
	if label == "" {
		return nil
	}
	fd, err := unix.Open("/proc/thread-self/attr/fscreate", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(label))
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("cannot create files with the SELinux label %s: %w", label, err)
	}
	return nil
}

// transact: one write, one read, of the same open file (selinuxfs has no other way).
func transact(path, question string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(question)); err != nil {
		return "", err
	}
	answer := make([]byte, os.Getpagesize())
	n, err := unix.Pread(fd, answer, 0)
	if err != nil {
		return "", err
	}
	return string(answer[:n]), nil
}

// Instance is what tells the instances of a target apart, and the label of one.
type Instance struct {
	Key   string // a level or a context
	Label string
}

// ByContext is for instances that only logins in the same context share.
func (f FS) ByContext(login, target string) (Instance, error) {
	member, err := f.Member(login, target)
	return Instance{Key: member, Label: member}, err
}

// ByLevel is for instances that only logins at the same level share. Their label is
// that of the target at this level.
func (f FS) ByLevel(login, target string) (Instance, error) {
	member, err := f.Member(login, target)
	if err != nil {
		return Instance{}, err
	}
	level := levelOf(member)
	if level == "" {
		return Instance{}, errors.New("the SELinux policy has no levels; use by = \"context\"")
	}
	fields := strings.SplitN(target, ":", fieldsOfContext)
	if len(fields) < fieldsOfContext-1 {
		return Instance{}, fmt.Errorf("cannot read the SELinux label %q", target)
	}
	label := strings.Join(append(fields[:fieldsOfContext-1], level), ":")
	return Instance{Key: level, Label: label}, nil
}

const fieldsOfContext = 4 // user:role:type:level, and the level may have colons in it

func levelOf(context string) string {
	fields := strings.SplitN(context, ":", fieldsOfContext)
	if len(fields) < fieldsOfContext {
		return ""
	}
	return fields[fieldsOfContext-1]
}
