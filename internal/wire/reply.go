package wire

// Entry is one element of a reply: something to tell, or a step of the commit.
// The shim takes the steps in order.
type Entry interface{ encode(*encoder) }

// Log is a line for the log.
type Log struct {
	Priority Priority
	Text     string
}

// Summary is the one line that a login leaves: the outcome, or why it is
// refused. The shim adds who, and how long it took.
type Summary struct{ Text string }

// Record names the session's file in the state directory, for close_session.
type Record struct{ Name string }

// Env is for pam_putenv(3): NAME=VALUE sets, NAME alone takes away.
type Env struct{ Text string }

// Unshare gives the login process a mount namespace of its own. It comes
// before every other step, and every other step needs it.
type Unshare struct{}

// Propagate changes the propagation of the mount at Path.
type Propagate struct {
	Path        string
	Propagation Propagation
	Recursive   bool
}

// Detach takes away the topmost mount at Path, whose root directory is the one given.
type Detach struct {
	Path          string
	Device, Inode uint64
}

// Attach puts a mount, the descriptor of that index, over Path. Device and
// inode say what is there before; both 0 where a Detach has yet to uncover it.
type Attach struct {
	Path          string
	Device, Inode uint64
	Descriptor    uint32
	Directory     bool
}

// Chdir moves the login process, whose directory an Attach has hidden.
type Chdir struct{ Path string }

func (l Log) encode(e *encoder)     { e.entry(typeLog, uint32(l.Priority), line(l.Text)) }
func (s Summary) encode(e *encoder) { e.entry(typeSummary, line(s.Text)) }
func (r Record) encode(e *encoder)  { e.entry(typeRecord, r.Name) }
func (v Env) encode(e *encoder)     { e.entry(typeEnv, v.Text) }
func (Unshare) encode(e *encoder)   { e.entry(typeUnshare) }
func (c Chdir) encode(e *encoder)   { e.entry(typeChdir, c.Path) }
func (d Detach) encode(e *encoder)  { e.entry(typeDetach, d.Device, d.Inode, d.Path) }

func (p Propagate) encode(e *encoder) {
	e.entry(typePropagate, uint32(p.Propagation), number(p.Recursive), p.Path)
}

func (a Attach) encode(e *encoder) {
	e.entry(typeAttach, a.Device, a.Inode, a.Descriptor, number(a.Directory), a.Path)
}

// line makes a log line of any text: printable, and no longer than the wire takes.
func line(text string) string {
	const most = StringMax - 1
	if len(text) > most {
		text = text[:most]
	}
	// A character cut in two is not printable; a question mark is no longer.
	return Printable(text)
}

func number(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// Reply answers a request. A status other than Success has no entries but logs.
type Reply struct {
	Status  Status
	Entries []Entry
}

// Encode writes a reply.
func (r Reply) Encode() ([]byte, error) {
	e := newEncoder()
	for _, entry := range r.Entries {
		switch entry.(type) {
		case Log, Summary:
		default:
			if r.Status != Success {
				e.fail("a refusal that acts")
			}
		}
		entry.encode(e)
	}
	return e.finish(kindReply, r.Status, ReplyMax)
}

// DecodeReply reads a reply, as the shim does; for tests.
func DecodeReply(message []byte) (Reply, error) {
	d, status, err := newDecoder(message, kindReply, ReplyMax)
	if err != nil {
		return Reply{}, err
	}
	r := Reply{Status: status}
	for {
		kind, value, ok, err := d.next()
		if err != nil {
			return Reply{}, err
		}
		if !ok {
			return r, nil
		}
		entry, err := decodeEntry(kind, value)
		if err != nil {
			return Reply{}, err
		}
		r.Entries = append(r.Entries, entry)
	}
}

func decodeEntry(kind uint16, value []byte) (Entry, error) {
	var text string
	var one, other uint32
	var device, inode uint64
	switch kind {
	case typeLog:
		err := take(kind, value, &one, &text)
		return Log{Priority(one), text}, err
	case typeSummary:
		err := take(kind, value, &text)
		return Summary{text}, err
	case typeRecord:
		err := take(kind, value, &text)
		return Record{text}, err
	case typeEnv:
		err := take(kind, value, &text)
		return Env{text}, err
	case typeUnshare:
		return Unshare{}, take(kind, value)
	case typePropagate:
		err := take(kind, value, &one, &other, &text)
		return Propagate{text, Propagation(one), other != 0}, err
	case typeDetach:
		err := take(kind, value, &device, &inode, &text)
		return Detach{text, device, inode}, err
	case typeAttach:
		err := take(kind, value, &device, &inode, &one, &other, &text)
		return Attach{text, device, inode, one, other != 0}, err
	case typeChdir:
		err := take(kind, value, &text)
		return Chdir{text}, err
	}
	return nil, malformed("entry type %d is unknown", kind)
}
