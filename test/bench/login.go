package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Where things are in the disposable root.
const (
	stacks        = "/run/bench/pam.d"
	floorInstance = "/run/bench/alice"
	floorSocket   = "/run/bench/floor.sock"
	mountSource   = "/run/bench/source"
	mountPoints   = "/run/bench/mounts"
	// The parent of pam_namespace's instances: mode 0, as namespace.conf(5) wants it.
	namespaceParent = "/tmp-inst"
	namespaceConf   = "/etc/security/namespace.conf"
)

type variant struct {
	service   string // the name of its PAM stack
	title     string
	namespace string // its namespace.conf; one file serves all stacks, so it is changed in between
	private   bool   // /tmp has to be another directory afterwards
}

const (
	permit  = "permit"
	floor   = "floor"
	asking  = "asking"
	shipped = "namespace"
	noinit  = "noinit"
	worker  = "worker"
	broker  = "broker"
	tmpfs   = "tmpfs"
	single  = "single"
	logout  = "logout"
)

// configurations are the broker's variants with a file of their own.
var configurations = map[string]string{
	tmpfs:  "kind = \"tmpfs\"",
	single: "scope = \"session\"",
	logout: "cleanup = \"logout\"",
}

const configDirectory = "/etc/security"

var variants = []variant{
	{service: permit, title: "pam_permit"},
	{service: floor, title: "floor", private: true},
	{service: asking, title: "floor, asked of a server", private: true},
	{service: shipped, title: "pam_namespace as shipped", private: true,
		namespace: "/tmp " + namespaceParent + "/ user root\n"},
	{service: noinit, title: "pam_namespace `noinit`", private: true,
		namespace: "/tmp " + namespaceParent + "/ user:noinit root\n"},
	{service: worker, title: "pam_gotmpns (worker)", private: true},
	{service: broker, title: "pam_gotmpns (broker)", private: true},
}

// host is the disposable root, made ready.
type host struct {
	program string
	broker  *exec.Cmd
	log     atomic.Value // string: the last line that a module logged
}

func newHost() (*host, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	build := filepath.Dir(self)
	h := &host{program: filepath.Join(build, "bench-host")}
	for _, dir := range []string{stacks, floorInstance, mountSource, mountPoints, namespaceParent} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(floorInstance, 0o1777|os.ModeSticky); err != nil {
		return nil, err
	}
	if err := os.Chmod(namespaceParent, 0); err != nil {
		return nil, err
	}
	modules := map[string]string{
		permit:  "pam_permit.so",
		floor:   filepath.Join(build, "pam_floor.so") + " " + floorInstance,
		asking:  filepath.Join(build, "pam_asking.so") + " " + floorSocket,
		shipped: "pam_namespace.so",
		noinit:  "pam_namespace.so",
		worker: filepath.Join(build, "pam_gotmpns.so") + " socket=none worker=" +
			filepath.Join(build, "gotmpns-worker"),
		// No worker to fall back on: it is the broker that is measured.
		broker: filepath.Join(build, "pam_gotmpns.so") + " worker=/nowhere",
	}
	for service, key := range configurations {
		path := filepath.Join(configDirectory, "bench-"+service+".toml")
		text := "[[private]]\ntarget = \"/tmp\"\n" + key + "\n"
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
		modules[service] = modules[broker] + " config=" + path
	}
	for service, module := range modules {
		line := "session required " + module + "\n"
		if err := os.WriteFile(filepath.Join(stacks, service), []byte(line), 0o644); err != nil {
			return nil, err
		}
	}
	return h, errors.Join(makeUsers(), mountCgroups(), h.listen(),
		startServer(floorSocket, filepath.Join(build, "floor-server"), floorSocket, floorInstance),
		h.startBroker(filepath.Join(build, "gotmpns-full")))
}

// listen is the system's log: who logs has to pay for it here as elsewhere.
func (h *host) listen() error {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
	if err != nil {
		return err
	}
	h.log.Store("")
	go func() {
		line := make([]byte, 8192)
		for {
			n, err := socket.Read(line)
			if err != nil {
				return
			}
			h.log.Store(string(line[:n]))
		}
	}()
	return nil
}

// addMounts brings the host to a number of mounts, and returns how many it has.
func (h *host) addMounts(wanted int) (int, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return 0, err
	}
	have := bytes.Count(table, []byte("\n"))
	for ; have < wanted; have++ {
		point := filepath.Join(mountPoints, fmt.Sprint(have))
		if err := os.Mkdir(point, 0o755); err != nil {
			return 0, err
		}
		if err := syscall.Mount(mountSource, point, "", syscall.MS_BIND, ""); err != nil {
			return 0, fmt.Errorf("mount %d of %d: %w", have+1, wanted, err)
		}
	}
	return have, nil
}

// login returns the microseconds of one open_session, by itself.
func (h *host) login(v variant, user string) (float64, error) {
	if err := v.configure(); err != nil {
		return 0, err
	}
	// What the kernel puts off when a namespace ends (RCU) is not the next sample's.
	time.Sleep(2 * time.Millisecond)
	return h.loginOf(v, user)
}

// configure makes the one file of pam_namespace this variant's.
func (v variant) configure() error {
	if v.namespace == "" {
		return nil
	}
	return os.WriteFile(namespaceConf, []byte(v.namespace), 0o644)
}

// loginOf is a login of any user, with options of c/host.c.
func (h *host) loginOf(v variant, user string, options ...string) (float64, error) {
	out, err := h.run(v, user, options...)
	if err != nil {
		return 0, err
	}
	var took float64
	var private int
	if _, err := fmt.Sscan(out, &took, &private); err != nil {
		return 0, fmt.Errorf("%s said %q: %w", v.service, out, err)
	}
	if (private == 1) != v.private {
		return 0, fmt.Errorf("%s: session opened, /tmp private: %t, expected: %t (last in the log: %s)",
			v.service, private == 1, v.private, h.log.Load())
	}
	return took, nil
}

// leftover is what one open_session leaves in the login process.
type leftover struct{ threads, descriptors, children, memory int }

func (h *host) leftover(v variant) (l leftover, err error) {
	if err := v.configure(); err != nil {
		return l, err
	}
	out, err := h.run(v, "alice", "-l")
	if err != nil {
		return l, err
	}
	if _, err := fmt.Sscan(out, &l.threads, &l.descriptors, &l.children, &l.memory); err != nil {
		return l, fmt.Errorf("%s said %q: %w", v.service, out, err)
	}
	return l, nil
}

func (h *host) run(v variant, user string, options ...string) (string, error) {
	var complaint strings.Builder
	command := exec.Command(h.program, append(options, stacks, v.service, user)...)
	command.Stderr = &complaint
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s (last in the log: %s)",
			v.service, err, strings.TrimSpace(complaint.String()), h.log.Load())
	}
	return string(out), nil
}
