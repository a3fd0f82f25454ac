package instance

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	"gotmpns/internal/state"
)

// The names of what root keeps for users. A base on the file system of a target is
// gotmpns-RANDOM. In a base are
//
//	1000                 the instance of uid 1000
//	1000.at-LEVEL        at an SELinux level or in a context; shared.at-CONTEXT: of all users
//	1000.PID-START-RAND  of one session
//	1000….user           a symbolic link: the login name that the instance was made for
//	1000….old-RANDOM     set aside: the files of a user who had the uid before
//	.new-RANDOM          one that a login has not finished
//	.gone-RANDOM.1000…   retired: one that no login gets any more
//
// debian/gotmpns.tmpfiles, docs/gotmpns.cil and debian/libpam-gotmpns.postrm have
// patterns for these names.
const (
	prefix     = "gotmpns-"
	linkSuffix = ".user"
	asideMark  = ".old-"
	unfinished = ".new-"
	retired    = ".gone-"
	atPrefix   = "at-"
	// sharedUser stands for the owner's name and uid in what is made for all users.
	sharedUser = "shared"
)

// IsBaseName knows the names that bases get: another directory of root's may begin
// in the same way.
func IsBaseName(name string) bool {
	random, ok := strings.CutPrefix(name, prefix)
	return ok && len(random) == len("1a2b3c4d") && strings.Trim(random, "0123456789abcdef") == ""
}

// name is the name of the owner's instance.
func (o Owner) name() string {
	name := strconv.FormatUint(uint64(o.UID), 10)
	if o.Shared {
		name = sharedUser
	}
	if o.At != "" {
		name += "." + atPrefix + fileName(o.At)
	}
	if o.Session != "" {
		_, file, _ := strings.Cut(o.Session, "/") // the record is UID/FILE
		name += "." + file
	}
	return name
}

// link is the name of the link beside the owner's instance.
func (o Owner) link() string { return o.name() + linkSuffix }

// fileName is a level or context as a part of a file name.
func fileName(at string) string {
	const longest = 150
	if len(at) <= longest && !strings.Contains(at, "/") {
		return at
	}
	sum := sha256.Sum256([]byte(at))
	return hex.EncodeToString(sum[:])
}

// retiredName is a new name for an instance that is retired.
func retiredName(name string) string { return retired + state.Random() + "." + name }

// before is the name that a retired entry had; empty: it had none of an instance.
func (e Entry) before() string {
	_, before, _ := strings.Cut(strings.TrimPrefix(e.name, retired), ".")
	return before
}

// NoUID is the owner of a directory in a base whose name does not say whose it is.
const NoUID = math.MaxUint32

// Kind says what a directory in a base is.
type Kind int

const (
	InUse      Kind = iota // an instance that the next login of its owner gets
	Aside                  // the files of a user who had the uid before
	Unfinished             // an instance that some login is making, or has left half made
	Retired                // an instance that nobody gets any more
)

// Entry is a directory in a base, as its name tells.
type Entry struct {
	Owner
	Kind Kind
	Path string // on the host
	name string
}

// entry reads a name in a base; false where it is not that of an instance.
func (b base) entry(name string) (Entry, bool) {
	e := Entry{Path: b.dir.Name() + "/" + name, name: name, Owner: Owner{UID: NoUID}}
	switch {
	case strings.HasPrefix(name, unfinished):
		e.Kind = Unfinished
		return e, true
	case strings.HasPrefix(name, retired):
		e.Kind = Retired
		if uid, ok := uidOf(e.before()); ok {
			e.UID = uid
		}
		return e, true
	}
	uid, ok := uidOf(name)
	e.UID = uid
	if i := strings.LastIndex(name, asideMark); i >= 0 {
		name, e.Kind = name[:i], Aside
	}
	_, e.Session, _ = strings.Cut(name, ".")
	if at, found := strings.CutPrefix(e.Session, atPrefix); found {
		e.At, e.Session = at, ""
	}
	return e, ok
}

// uidOf takes the uid from the name of an instance of any kind, but not from that of the
// link beside it.
func uidOf(name string) (uint32, bool) {
	if strings.HasSuffix(name, linkSuffix) {
		return 0, false
	}
	number, _, _ := strings.Cut(name, ".")
	uid, err := strconv.ParseUint(number, 10, 32)
	return uint32(uid), err == nil
}
