// Package wire is the Go side of c/wire.h: one request, one reply.
//
// A message is a header and then entries, each a type, a length and a value
// padded to four bytes. Decoding checks everything before anything is used:
// the other end is our own, but it may be of another build, half installed, or
// not ours at all. Encoding refuses what the other end would refuse.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// The numbers of c/wire.h; a test holds the two together.
const (
	Magic   = 0x676f746d
	Version = 2

	RequestMax     = 32768
	ReplyMax       = 65536
	StringMax      = 4096 // with its NUL
	DescriptorsMax = 3
	EntriesMax     = 512

	kindOpen  = 1
	kindReply = 2

	headerSize = 16
	entrySize  = 4
)

// Entry types of c/wire.h.
const (
	typeUID        = 1
	typeGID        = 2
	typeDebug      = 3
	typeUser       = 4
	typeShell      = 5
	typeService    = 6
	typeTTY        = 7
	typeRHost      = 8
	typeRUser      = 9
	typeConfig     = 10
	typePAMEnv     = 11
	typeProcessEnv = 12
	typeHome       = 13

	typeLog     = 32
	typeSummary = 33
	typeRecord  = 34
	typeEnv     = 35
	typeTell    = 36
	typeJoin    = 64
)

// Status is a PAM return value; these four are all that a reply may have
// (security/_pam_types.h, the same on every Linux).
type Status uint32

// The statuses of a reply. A refusal is never PAM_SESSION_ERR: sudo takes that
// for success.
const (
	Success     Status = 0
	SystemErr   Status = 4
	BufErr      Status = 5
	UserUnknown Status = 10
)

// Priority of a log line, as in syslog(3).
type Priority uint32

// The priorities that are used.
const (
	Err     Priority = 3
	Warning Priority = 4
	Notice  Priority = 5
	Info    Priority = 6
	Debug   Priority = 7
)

// None stands for a descriptor that a [Join] does not have.
const None = 0xffffffff

var order = binary.NativeEndian

// errMalformed is what every decoding error is, whatever it says.
var errMalformed = errors.New("malformed message")

func malformedError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
}

// encoder appends entries and remembers the first thing that did not fit.
type encoder struct {
	bytes   []byte
	entries int
	err     error
}

func newEncoder() *encoder { return &encoder{bytes: make([]byte, headerSize, 1024)} }

// entry appends numbers (uint32) and strings as one value.
func (e *encoder) entry(kind uint16, parts ...any) {
	var value []byte
	for _, part := range parts {
		switch part := part.(type) {
		case uint32:
			value = order.AppendUint32(value, part)
		case string:
			if strings.IndexByte(part, 0) >= 0 || len(part)+1 > StringMax {
				e.fail("a string of %d bytes, or with a NUL, in entry type %d", len(part), kind)
				return
			}
			value = append(append(value, part...), 0)
		}
	}
	if e.entries++; e.entries > EntriesMax {
		e.fail("more than %d entries", EntriesMax)
		return
	}
	e.bytes = order.AppendUint16(e.bytes, kind)
	e.bytes = order.AppendUint16(e.bytes, uint16(len(value)))
	e.bytes = append(e.bytes, value...)
	for len(e.bytes)%4 != 0 {
		e.bytes = append(e.bytes, 0)
	}
}

func (e *encoder) fail(format string, args ...any) {
	if e.err == nil {
		e.err = malformedError(format, args...)
	}
}

func (e *encoder) finish(kind uint16, status Status, limit int) ([]byte, error) {
	if e.err == nil && len(e.bytes) > limit {
		e.fail("%d bytes are more than the %d allowed", len(e.bytes), limit)
	}
	if e.err != nil {
		return nil, e.err
	}
	order.PutUint32(e.bytes[0:], Magic)
	order.PutUint16(e.bytes[4:], Version)
	order.PutUint16(e.bytes[6:], kind)
	order.PutUint32(e.bytes[8:], uint32(len(e.bytes)))
	order.PutUint32(e.bytes[12:], uint32(status))
	return e.bytes, nil
}

// decoder walks over the entries of one message.
type decoder struct {
	rest    []byte
	entries int
}

func newDecoder(message []byte, kind uint16, limit int) (*decoder, Status, error) {
	switch {
	case len(message) < headerSize || len(message) > limit:
		return nil, 0, malformedError("%d bytes", len(message))
	case order.Uint32(message) != Magic:
		return nil, 0, malformedError("it does not begin as one of ours")
	case order.Uint16(message[4:]) != Version:
		return nil, 0, malformedError("version %d, not %d: install all parts from the same build", order.Uint16(message[4:]), Version)
	case order.Uint16(message[6:]) != kind:
		return nil, 0, malformedError("kind %d, not %d", order.Uint16(message[6:]), kind)
	case int(order.Uint32(message[8:])) != len(message):
		return nil, 0, malformedError("%d bytes that say they are %d", len(message), order.Uint32(message[8:]))
	}
	return &decoder{rest: message[headerSize:]}, Status(order.Uint32(message[12:])), nil
}

// next returns the type and value of the next entry; ok is false at the end.
func (d *decoder) next() (kind uint16, value []byte, ok bool, err error) {
	if len(d.rest) == 0 {
		return 0, nil, false, nil
	}
	if d.entries++; d.entries > EntriesMax {
		return 0, nil, false, malformedError("more than %d entries", EntriesMax)
	}
	if len(d.rest) < entrySize {
		return 0, nil, false, malformedError("half an entry at the end")
	}
	kind = order.Uint16(d.rest)
	length := int(order.Uint16(d.rest[2:]))
	padded := (length + 3) &^ 3
	if len(d.rest) < entrySize+padded {
		return 0, nil, false, malformedError("entry type %d of %d bytes is longer than the message", kind, length)
	}
	value = d.rest[entrySize : entrySize+length]
	d.rest = d.rest[entrySize+padded:]
	return kind, value, true, nil
}

// takeValues reads numbers and strings off a value; nothing may be left over.
func takeValues(kind uint16, value []byte, parts ...any) error {
	for _, part := range parts {
		switch part := part.(type) {
		case *uint32:
			if len(value) < 4 {
				return malformedError("entry type %d is too short", kind)
			}
			*part, value = order.Uint32(value), value[4:]
		case *string:
			end := slices.Index(value, 0)
			if end < 0 || end != len(value)-1 || len(value) > StringMax {
				return malformedError("entry type %d has no proper string", kind)
			}
			*part, value = string(value[:end]), nil
		}
	}
	if len(value) != 0 {
		return malformedError("entry type %d is too long", kind)
	}
	return nil
}

// oneLine makes one line of what came from outside: control characters, also
// those of Unicode's second block, and what is not UTF-8 become question marks.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, text)
}
