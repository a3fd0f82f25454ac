package cleanup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// sock_diag(7): the numbers are those of linux/unix_diag.h.
const (
	unixDiagName = 0
	unixDiagUID  = 7
	showName     = 0x01
	showUID      = 0x40 // Linux 5.3
)

// anyUID is for root's sockets, and those of which the kernel does not say whose
// they are.
const anyUID = 0

// boundPaths returns the paths that sockets of each user have bound, as the programs
// that bound them named them. Those of [anyUID] may be in anybody's instance.
func boundPaths() (map[uint32][]string, error) {
	if paths, err := diagnosedPaths(); err == nil {
		return paths, nil
	}
	// The kernel has no sock_diag(7) for them, where it is a module that must not be
	// loaded.
	f, err := os.Open("/proc/1/net/unix")
	if err != nil {
		return nil, fmt.Errorf("cannot find out which sockets are in use: %w", err)
	}
	defer f.Close()
	return map[uint32][]string{anyUID: listedPaths(f)}, nil
}

// listedPaths reads the paths in /proc/net/unix (proc(5)): the eighth column, if
// there is one that does not begin with @ (an abstract socket, without a file). It does not say whose
// they are.
func listedPaths(table io.Reader) []string {
	const before = 7
	var paths []string
	for lines := bufio.NewScanner(table); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > before && strings.HasPrefix(fields[before], "/") {
			_, path, _ := strings.Cut(lines.Text(), " /") // a path may have blanks in it
			paths = append(paths, "/"+path)
		}
	}
	return paths
}

func diagnosedPaths() (map[uint32][]string, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("cannot find out which sockets are in use: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, dumpRequest(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("cannot ask which sockets are in use: %w", err)
	}
	paths := map[uint32][]string{}
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read which sockets are in use: %w", err)
		}
		done, err := addPaths(buffer[:n], paths)
		if done || err != nil {
			return paths, err
		}
	}
}

// dumpRequest asks for all sockets of the Unix domain, in whatever state.
func dumpRequest() []byte {
	const body = 24 // struct unix_diag_req
	b := make([]byte, unix.NLMSG_HDRLEN+body)
	native := binary.NativeEndian
	native.PutUint32(b[0:], uint32(len(b)))
	native.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	native.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request := b[unix.NLMSG_HDRLEN:]
	request[0] = unix.AF_UNIX
	native.PutUint32(request[4:], ^uint32(0)) // states
	native.PutUint32(request[12:], showName|showUID)
	return b
}

// addPaths takes the answers out of what was received in one go; done says that
// there are no more.
func addPaths(b []byte, paths map[uint32][]string) (done bool, err error) {
	native := binary.NativeEndian
	for len(b) >= unix.NLMSG_HDRLEN {
		length, kind := int(native.Uint32(b)), native.Uint16(b[4:])
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return false, errors.New("cannot read which sockets are in use: a malformed answer")
		}
		switch kind {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			return false, errors.New("cannot ask which sockets are in use: the kernel refuses")
		case unix.SOCK_DIAG_BY_FAMILY:
			if uid, path := socketOf(b[unix.NLMSG_HDRLEN:length]); path != "" {
				paths[uid] = append(paths[uid], path)
			}
		}
		b = b[min(align(length), len(b)):]
	}
	return false, nil
}

// socketOf reads one answer: a struct unix_diag_msg and attributes. The path is empty
// where the socket has none.
func socketOf(b []byte) (uid uint32, path string) {
	const body, header = 16, 4
	uid = anyUID
	native := binary.NativeEndian
	for b = b[min(body, len(b)):]; len(b) >= header; {
		length, kind := int(native.Uint16(b)), native.Uint16(b[2:])
		if length < header || length > len(b) {
			return uid, path
		}
		switch value := b[header:length]; {
		case kind == unixDiagName && len(value) > 0 && value[0] == '/':
			path = unix.ByteSliceToString(value)
		case kind == unixDiagUID && len(value) == 4:
			uid = native.Uint32(value)
		}
		b = b[min(align(length), len(b)):]
	}
	return uid, path
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
