//go:build cgo

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"gotmpns/internal/broker"
)

// gcPercent keeps the heap small: what stays from one login to the next is little,
// and a login that meets a collection waits for a fraction of a millisecond.
const gcPercent = 30

func serve(path string) error {
	if os.Geteuid() != 0 {
		return hinted(errors.New("cannot serve logins: only root can"), "run it as root")
	}
	debug.SetGCPercent(gcPercent)
	syscall.Umask(0o022) // as a worker has it: what logins get is the same
	listener, remove, err := listen(path)
	if err != nil {
		return err
	}
	defer remove()
	b, err := broker.New(listener)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go watchdog(ctx, b)
	err = b.Serve(ctx, func() {
		fmt.Fprintf(os.Stderr, "gotmpns: listening at %s\n", listener.Name())
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	})
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	return err
}

// listen takes the socket that the service manager hands over (sd_listen_fds(3)),
// or makes one.
func listen(path string) (*os.File, func(), error) {
	switch files := handedOver(); len(files) {
	case 0:
		return bind(path)
	case 1:
		return files[0], func() {}, nil
	default:
		return nil, nil, fmt.Errorf("cannot use %d sockets: one is needed", len(files))
	}
}

// handedOver returns the descriptors of sd_listen_fds(3), and takes its variables out of the
// environment. Package activation does so as well, and brings TLS with it: two megabytes
// that the broker would keep in memory.
func handedOver() []*os.File {
	const first = 3
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, name := range [...]string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	n, err := strconv.Atoi(count)
	if err != nil || pid != strconv.Itoa(os.Getpid()) {
		return nil
	}
	var files []*os.File
	for i := range n {
		unix.CloseOnExec(first + i)
		name := "a socket of the service manager"
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		files = append(files, os.NewFile(uintptr(first+i), name))
	}
	return files
}

// bind makes a socket of our own. Its directory is the state directory, which
// logins trust as it is made here or not at all.
func bind(path string) (*os.File, func(), error) {
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, nil, fmt.Errorf("cannot make the directory of the socket: %w", err)
	}
	address := &net.UnixAddr{Name: path, Net: "unixpacket"}
	if conn, err := net.DialUnix("unixpacket", nil, address); err == nil {
		conn.Close()
		return nil, nil, hinted(fmt.Errorf("cannot listen at %s: another broker does", path), `"ss -xlp" shows which`)
	}
	// Left by one that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("cannot remove the old socket: %w", err)
	}
	before := syscall.Umask(0o077)
	l, err := net.ListenUnix("unixpacket", address)
	syscall.Umask(before)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot listen: %w", err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close() // the copy is what is used
	file, err := l.File()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot listen at %s: %w", path, err)
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0) // under a name that people know
	if err != nil {
		return nil, nil, fmt.Errorf("cannot listen at %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), func() { _ = os.Remove(path) }, nil
}

// watchdog tells the service manager that somebody is free to answer
// (WatchdogSec=, systemd.service(5)); when nobody is for long, it restarts the broker.
func watchdog(ctx context.Context, b *broker.Broker) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval / 2):
			if b.Healthy() {
				_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
			}
		}
	}
}
