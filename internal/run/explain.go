package run

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// explainClone says why there are no namespaces.
func explainClone(err error, userNamespace bool) error {
	if !userNamespace || errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot make namespaces (clone; /proc has to be mounted, too): %w", err)
	}
	return forbidden(err, readSetting)
}

const filterHint = "a container's filter of system calls (seccomp) forbids it: start the container with a profile that allows unshare, " +
	"such as --security-opt seccomp=unconfined, or run the command outside of it"

// explainUnshare says why root got no namespaces.
func explainUnshare(err error) error {
	err = os.NewSyscallError("cannot make namespaces: unshare", err)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		return &Error{err, filterHint}
	}
	return err
}

// filtered reports whether a filter of system calls is why the front could not unshare.
// The kernel refuses a user namespace to a process with threads, as every Go program
// is one, with EINVAL; any other refusal comes from a filter.
func filtered() error {
	err := unix.Unshare(unix.CLONE_NEWUSER)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		return &Error{fmt.Errorf("cannot make a user namespace (unshare): %w", err), filterHint}
	}
	return nil
}

// explainMount adds why a mount was refused although there is a user namespace.
func explainMount(err error, userNamespace bool) error {
	refused := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	if !userNamespace || !refused || readSetting(apparmorSetting) != "1" {
		return err
	}
	return &Error{err, "it may be " + apparmorSetting + " = 1: AppArmor allows user namespaces, but no mounts in them; " +
		"give gotmpns a profile that has \"userns\" in it, set it to 0, or ask root"}
}

const apparmorSetting = "kernel.apparmor_restrict_unprivileged_userns"

// forbiddingSetting finds the setting that forbids user namespaces.
func forbiddingSetting(setting func(string) string) (name, value string) {
	for _, s := range []struct{ name, value string }{
		{"kernel.unprivileged_userns_clone", "0"},
		{"user.max_user_namespaces", "0"},
		{"user.max_mnt_namespaces", "0"},
		{apparmorSetting, "1"},
	} {
		if setting(s.name) == s.value {
			return s.name, s.value
		}
	}
	return "", ""
}

// forbidden says why there is no user namespace, by name of the setting if it is one.
func forbidden(err error, setting func(string) string) error {
	fault := fmt.Errorf("cannot make a user namespace: %w", err)
	if name, value := forbiddingSetting(setting); name != "" {
		return &Error{
			fmt.Errorf("%w: this system forbids it by %s = %s", fault, name, value),
			"ask root to change that (sysctl), or to run the command for you",
		}
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return &Error{fault, "there are too many namespaces, or too many in each other; user.max_user_namespaces and the like are the limits"}
	case errors.Is(err, unix.EPERM):
		return &Error{fault, "a chroot forbids user namespaces, and so may a container's filter of system calls; no setting of the kernel does"}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return &Error{fault, "this kernel was built without user namespaces (CONFIG_USER_NS)"}
	}
	return fault
}

// readSetting returns a sysctl's value; empty where there is none.
func readSetting(name string) string {
	text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
