package exchange

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gotmpns/internal/policy"
	"gotmpns/internal/session"
	"gotmpns/internal/view"
	"gotmpns/internal/wire"
)

func pair(t *testing.T) (ours, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

// receive takes a reply as the login process does, with its descriptors.
func receive(t *testing.T, socket int) (wire.Reply, []int) {
	t.Helper()
	message, rights := make([]byte, wire.ReplyMax), make([]byte, 1024)
	n, oob, flags, _, err := unix.Recvmsg(socket, message, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		t.Fatalf("flags are %#x: %v", flags, err)
	}
	reply, err := wire.DecodeReply(message[:n])
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	messages, err := unix.ParseSocketControlMessage(rights[:oob])
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		got, err := unix.ParseUnixRights(&m)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, got...)
	}
	return reply, fds
}

func TestAnAnswerArrivesWithItsDescriptors(t *testing.T) {
	ours, theirs := pair(t)
	var files []*os.File
	for _, path := range []string{"/", "/proc", "/dev"} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	want := wire.Reply{Entries: []wire.Entry{wire.Summary{Text: "ok"}, wire.Join{Namespace: 0, Root: 1, Cwd: 2}}}
	if err := send(ours, &session.Answer{Reply: want, Descriptors: files}); err != nil {
		t.Fatal(err)
	}
	got, fds := receive(t, theirs)
	if diff := cmp.Diff(want, got); diff != "" || len(fds) != len(files) {
		t.Fatalf("%s; %d descriptors", diff, len(fds))
	}
	for i, fd := range fds {
		var one, other unix.Stat_t
		if unix.Fstat(fd, &one) != nil || unix.Fstat(int(files[i].Fd()), &other) != nil || one.Ino != other.Ino || one.Dev != other.Dev {
			t.Errorf("descriptor %d is not %s", i, files[i].Name())
		}
		unix.Close(fd)
	}
}

// What cannot be put into words is a refusal, and gives nothing away.
func TestAnAnswerThatCannotBeSentIsARefusal(t *testing.T) {
	file, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, reply := range map[string]wire.Reply{
		"a text that is too long":   {Entries: []wire.Entry{wire.Env{Text: strings.Repeat("x", wire.StringMax)}}},
		"too many entries":          {Entries: make([]wire.Entry, wire.EntriesMax+1)},
		"a refusal that acts":       {Status: wire.SystemErr, Entries: []wire.Entry{wire.Join{}}},
		"a text that cannot be one": {Entries: []wire.Entry{wire.Env{Text: "a\x00b"}}},
	} {
		for i := range reply.Entries {
			if reply.Entries[i] == nil {
				reply.Entries[i] = wire.Summary{Text: "x"}
			}
		}
		ours, theirs := pair(t)
		// The sender has to know: the session that was answered for is not one.
		if err := send(ours, &session.Answer{Reply: reply, Descriptors: []*os.File{file}}); err == nil {
			t.Errorf("%s: no error", name)
		}
		got, fds := receive(t, theirs)
		if got.Status != wire.SystemErr || len(fds) != 0 || len(got.Entries) != 1 {
			t.Errorf("%s: %+v, %d descriptors", name, got, len(fds))
		}
	}
}

// A login process that has gone is an error.
func TestNobodyIsThereToGetTheAnswer(t *testing.T) {
	ours, theirs := pair(t)
	if err := unix.Shutdown(theirs, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	if err := send(ours, Refuse(errors.New("x"))); !errors.Is(err, unix.EPIPE) {
		t.Errorf("error is %v", err)
	}
}

func TestAMistakeOfOursIsARefusal(t *testing.T) {
	for name, host := range map[string]session.Host{
		"a panic":  {View: func(int) (*view.View, error) { panic("oh") }},
		"a nil":    {View: func(int) (*view.View, error) { return &view.View{}, nil }, Config: func(string) (policy.Policy, error) { var p *policy.Policy; return *p, nil }},
		"no host":  {},
		"an error": {View: func(int) (*view.View, error) { return nil, fmt.Errorf("%w: oh", ErrInternal) }},
	} {
		answer := Answer(host, wire.Request{}, os.Getpid())
		if !errors.Is(answer.Err, ErrInternal) || answer.Reply.Status != wire.SystemErr || answer.Descriptors != nil {
			t.Errorf("%s: %+v", name, answer)
		}
	}
}

func TestARequestIsReceivedWhole(t *testing.T) {
	ours, theirs := pair(t)
	buffer := make([]byte, BufferSize)
	for _, size := range []int{1, wire.RequestMax, wire.RequestMax + 1, wire.RequestMax + 100} {
		if err := unix.Send(theirs, make([]byte, size), 0); err != nil {
			t.Fatal(err)
		}
		message, err := Receive(ours, buffer)
		if err != nil || len(message) != min(size, BufferSize) {
			t.Errorf("%d of %d: %v", len(message), size, err)
		}
	}
	if err := unix.Shutdown(theirs, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	if message, err := Receive(ours, buffer); len(message) != 0 || err != nil {
		t.Errorf("after a hang-up: %q, %v", message, err)
	}
}

func TestNobodyWaitsLongForALoginProcess(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(theirs int) error
		waits bool
	}{
		"it hangs up":                 {func(theirs int) error { return unix.Shutdown(theirs, unix.SHUT_RDWR) }, false},
		"it is stopped":               {func(int) error { return nil }, true},
		"it sends what it should not": {func(theirs int) error { return unix.Send(theirs, []byte("x"), 0) }, false},
	} {
		waited := c.waits
		for range 5 { // a busy machine may make it look as if it had waited, but not each time
			ours, theirs := pair(t)
			if err := c.do(theirs); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			AwaitHangUp(ours)
			if waited = time.Since(began) >= holdAtMost; waited == c.waits {
				break
			}
		}
		if waited != c.waits {
			t.Errorf("%s: waited is %v", name, waited)
		}
	}
}

func TestTheOtherEndIsAProcess(t *testing.T) {
	ours, _ := pair(t)
	peer, err := Peer(ours)
	if err != nil || int(peer.Pid) != os.Getpid() || int(peer.Uid) != os.Getuid() {
		t.Errorf("%+v, %v", peer, err)
	}
	file, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if peer, err := Peer(int(file.Fd())); err == nil {
		t.Errorf("of no socket: %+v", peer)
	}
}

func TestTheKernelIsAskedToReportAHangUp(t *testing.T) {
	ours, _ := pair(t)
	async := func() bool {
		flags, err := unix.FcntlInt(uintptr(ours), unix.F_GETFL, 0)
		if err != nil {
			t.Fatal(err)
		}
		return flags&unix.O_ASYNC != 0
	}
	if err := EndOnHangUp(ours); err != nil || !async() {
		t.Errorf("asked: %v, %v", async(), err)
	}
	if owner, err := unix.FcntlInt(uintptr(ours), unix.F_GETOWN, 0); err != nil || owner != os.Getpid() {
		t.Errorf("it reports to %d, %v", owner, err)
	}
	if err := StayOnHangUp(ours); err != nil || async() {
		t.Errorf("still asked: %v, %v", async(), err)
	}
}
