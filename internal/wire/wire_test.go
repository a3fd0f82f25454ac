package wire

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// numbers are the constants of this package by the names that c/wire.h has for them.
var numbers = map[string]uint64{
	"MAGIC": Magic, "VERSION": Version, "REQUEST_MAX": RequestMax, "REPLY_MAX": ReplyMax, "STRING_MAX": StringMax,
	"DESCRIPTORS_MAX": DescriptorsMax, "NONE": None, "ENTRIES_MAX": EntriesMax, "OPEN": kindOpen, "REPLY": kindReply,
	"UID": typeUID, "GID": typeGID, "DEBUG": typeDebug, "USER": typeUser, "SHELL": typeShell, "SERVICE": typeService,
	"TTY": typeTTY, "RHOST": typeRHost, "RUSER": typeRUser, "CONFIG": typeConfig, "PAM_ENV": typePAMEnv, "PROCESS_ENV": typeProcessEnv, "HOME": typeHome,
	"LOG": typeLog, "SUMMARY": typeSummary, "RECORD": typeRecord, "ENV": typeEnv, "TELL": typeTell, "JOIN": typeJoin,
}

func TestTheNumbersAreThoseOfC(t *testing.T) {
	header, err := os.ReadFile("../../c/wire.h")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, m := range regexp.MustCompile(`(?m)^#define GOTMPNS_(\w+) (0x[0-9a-f]+|\d+)u?`).FindAllStringSubmatch(string(header), -1) {
		n, err := strconv.ParseUint(m[2], 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		got[m[1]] = n
	}
	if diff := cmp.Diff(numbers, got); diff != "" {
		t.Errorf("this package and c/wire.h differ (-Go +C):\n%s", diff)
	}
}

var fullRequest = Request{
	UID: 1000, GID: 1001, Debug: true, User: "alice", Shell: "/bin/bash", Home: "/home/alice", Service: "sshd", TTY: "pts/1", RHost: "host", RUser: "bob",
	Config: "/etc/security/gotmpns.toml", PAMEnv: []Variable{{"TMPDIR", "a=b"}, {"TMP", ""}}, ProcessEnv: []Variable{{"TEMP", "\xff"}},
}

var fullReply = Reply{Entries: []Entry{
	Log{Notice, "line"}, Summary{"private /tmp"}, Record{"1000/1-2-3"}, Env{"TMPDIR"}, Tell{"see gotmpns(1)"}, Join{0, None, 1},
}}

func encode(t testing.TB, message interface{ Encode() ([]byte, error) }) []byte {
	t.Helper()
	text, err := message.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	request, err := DecodeRequest(encode(t, fullRequest))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullRequest, request); diff != "" {
		t.Error(diff)
	}
	reply, err := DecodeReply(encode(t, fullReply))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullReply, reply); diff != "" {
		t.Error(diff)
	}
}

func TestMalformedRequests(t *testing.T) {
	good := encode(t, fullRequest)
	change := func(f func(m []byte) []byte) []byte { return f(bytes.Clone(good)) }
	length := func(m []byte) []byte { order.PutUint32(m[8:], uint32(len(m))); return m }
	for name, message := range map[string][]byte{
		"nothing":         {},
		"half a header":   good[:10],
		"a byte short":    good[:len(good)-1],
		"a byte long":     append(bytes.Clone(good), 0),
		"wrong magic":     change(func(m []byte) []byte { m[0]++; return m }),
		"another version": change(func(m []byte) []byte { m[4]++; return m }),
		"a reply":         encode(t, fullReply),
		"an unknown type": change(func(m []byte) []byte { m[16] = 99; return m }),
		"twice the uid":   change(func(m []byte) []byte { return length(append(m, m[16:24]...)) }),
		"no user":         change(func(m []byte) []byte { return length(m[:32]) }),
		"a long entry":    change(func(m []byte) []byte { order.PutUint16(m[18:], 60000); return m }),
		"a uid of 3":      change(func(m []byte) []byte { order.PutUint16(m[18:], 3); return m }),
		"too large":       make([]byte, RequestMax+1),
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := DecodeRequest(message); !errors.Is(err, errMalformed) {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

func TestWhatTheOtherEndWouldRefuseIsNotEncoded(t *testing.T) {
	for name, reply := range map[string]Reply{
		"a refusal that acts": {Status: SystemErr, Entries: []Entry{Join{}}},
		"a NUL":               {Entries: []Entry{Env{"/a\x00b"}}},
		"a long path":         {Entries: []Entry{Env{strings.Repeat("x", StringMax)}}},
		"too many entries":    {Entries: make([]Entry, EntriesMax+1)},
		"too many bytes":      {Entries: repeat(Env{strings.Repeat("x", 4000)}, 20)},
	} {
		t.Run(name, func(t *testing.T) {
			for i, e := range reply.Entries {
				if e == nil {
					reply.Entries[i] = Join{}
				}
			}
			if _, err := reply.Encode(); err == nil {
				t.Error("no error")
			}
		})
	}
}

func repeat(e Entry, n int) []Entry {
	var list []Entry
	for range n {
		list = append(list, e)
	}
	return list
}

func TestAnyTextMakesALogLine(t *testing.T) {
	long := encode(t, Reply{Status: SystemErr, Entries: []Entry{Summary{strings.Repeat("ü", StringMax)}, Log{Err, "a\nb\x00\x1b\x9b\u009b\u2028\xff"}}})
	reply, err := DecodeReply(long)
	if err != nil {
		t.Fatal(err)
	}
	if got := reply.Entries[1].(Log).Text; got != "a?b???????" && got != "a?b??????" {
		t.Errorf("got %q", got)
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add(encode(f, fullRequest))
	f.Fuzz(func(t *testing.T, message []byte) {
		request, err := DecodeRequest(message)
		if err != nil {
			return
		}
		again, err := DecodeRequest(encode(t, request))
		if diff := cmp.Diff(request, again); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	f.Add(encode(f, fullReply))
	f.Fuzz(func(t *testing.T, message []byte) {
		reply, err := DecodeReply(message)
		if err != nil {
			return
		}
		if text, err := reply.Encode(); err == nil {
			if _, err := DecodeReply(text); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\nb\xff\u009b")
	f.Fuzz(func(t *testing.T, text string) {
		got := oneLine(text)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) || len(got) > len(text) {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}
