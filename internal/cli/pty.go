package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runApart runs the command of another user and waits for it. The command gets
// neither root's terminal, into which it could type (TIOCSTI), nor root's
// descriptors: it has a session of its own, and where one of the first three
// descriptors is a terminal, a pseudo terminal of its own in that place.
func runApart(cmd *exec.Cmd, uid uint32) error {
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("cannot keep descriptors from the command (close_range): %w", err)
	}
	cmd.SysProcAttr.Setsid = true
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	terminal := -1 // one of ours
	for fd := range 3 {
		if isTerminal(fd) {
			terminal = fd
			break
		}
	}
	if terminal < 0 {
		return wait(cmd)
	}
	p, err := newPty(terminal, uid)
	if err != nil {
		return err
	}
	defer p.master.Close()
	p.giveTo(cmd)
	restore, err := p.begin()
	if err != nil {
		return err
	}
	defer restore()
	return p.wait(cmd)
}

// pty is a pseudo terminal that stands for one of ours.
type pty struct {
	master, slave *os.File
	ours          int // a descriptor of our terminal
}

func newPty(ours int, uid uint32) (*pty, error) {
	fail := func(what string, err error) (*pty, error) {
		return nil, fmt.Errorf("cannot make a terminal for the command (%s): %w", what, err)
	}
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fail("/dev/ptmx", err)
	}
	p := &pty{master: os.NewFile(uintptr(fd), "/dev/ptmx"), ours: ours}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		p.master.Close()
		return fail("TIOCSPTLCK", err)
	}
	// By the master, since a path in /dev/pts is the user's to arrange in the session.
	slave, err := peer(fd)
	if err != nil {
		p.master.Close()
		return fail("TIOCGPTPEER", err)
	}
	p.slave = os.NewFile(uintptr(slave), "pts")
	if err := unix.Fchown(slave, int(uid), -1); err != nil {
		p.slave.Close()
		p.master.Close()
		return fail("fchown", err)
	}
	return p, nil
}

// peer opens the slave of a master (ioctl_tty(2)).
func peer(master int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// giveTo puts the slave instead of each of our descriptors that is a terminal,
// and makes it the controlling terminal of the command.
func (p *pty) giveTo(cmd *exec.Cmd) {
	if isTerminal(0) {
		cmd.Stdin = p.slave
	}
	if isTerminal(1) {
		cmd.Stdout = p.slave
	}
	if isTerminal(2) {
		cmd.Stderr = p.slave
	}
	cmd.SysProcAttr.Setctty, cmd.SysProcAttr.Ctty = true, p.ours
}

// begin makes the pseudo terminal look like ours, and ours pass on every byte; the
// returned function undoes that.
func (p *pty) begin() (restore func(), err error) {
	before, err := unix.IoctlGetTermios(p.ours, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("cannot read the settings of the terminal: %w", err)
	}
	_ = unix.IoctlSetTermios(int(p.slave.Fd()), unix.TCSETS, before)
	p.resize()
	if !isTerminal(0) {
		return func() {}, nil
	}
	raw := *before
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Oflag &^= unix.OPOST
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(p.ours, unix.TCSETSW, &raw); err != nil {
		return nil, fmt.Errorf("cannot change the settings of the terminal: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(p.ours, unix.TCSETSW, before) }, nil
}

func (p *pty) resize() {
	control, err := p.master.SyscallConn()
	size, sizeErr := unix.IoctlGetWinsize(p.ours, unix.TIOCGWINSZ)
	if err == nil && sizeErr == nil {
		_ = control.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
	}
}

// wait runs the command and passes bytes between the two terminals until it ends.
func (p *pty) wait(cmd *exec.Cmd) error {
	sizes := make(chan os.Signal, 1)
	signal.Notify(sizes, syscall.SIGWINCH)
	defer signal.Stop(sizes)
	go func() {
		for range sizes {
			p.resize()
		}
	}()
	var output io.Writer = os.Stdout
	if !isTerminal(1) {
		output = os.Stderr // the command's error output is a terminal, or nothing comes
	}
	if isTerminal(0) {
		go func() { _, _ = io.Copy(p.master, os.Stdin) }()
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		p.copyTo(output)
	}()
	err := waitStarted(cmd, func() { p.slave.Close() })
	// What the command has written arrives at once; a process that it left behind
	// may hold the terminal for longer.
	const grace = 200 * time.Millisecond
	_ = p.master.SetReadDeadline(time.Now().Add(grace))
	<-drained
	return err
}

// copyTo copies what the command writes, until its side is closed (EIO).
func (p *pty) copyTo(output io.Writer) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := p.master.Read(buffer)
		if n > 0 {
			if _, err := output.Write(buffer[:n]); err != nil && !errors.Is(err, syscall.EINTR) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
