package wire

// Entry is one element of a reply: something to report, or what the login process
// has to do for itself.
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

// Env is for pam_putenv(3): NAME=VALUE sets, NAME alone unsets.
type Env struct{ Text string }

// Tell is a line for the user, once the session is open.
type Tell struct{ Text string }

// Join moves the login process into a mount namespace. The numbers are indexes
// of the reply's descriptors, or [None].
type Join struct {
	Namespace uint32 // /proc/PID/ns/mnt of the namespace
	Root      uint32 // the root directory in it; None: the namespace's own
	Cwd       uint32 // the working directory in it; None: the root directory
}

func (l Log) encode(e *encoder)     { e.entry(typeLog, uint32(l.Priority), line(l.Text)) }
func (s Summary) encode(e *encoder) { e.entry(typeSummary, line(s.Text)) }
func (r Record) encode(e *encoder)  { e.entry(typeRecord, r.Name) }
func (v Env) encode(e *encoder)     { e.entry(typeEnv, v.Text) }
func (t Tell) encode(e *encoder)    { e.entry(typeTell, line(t.Text)) }
func (j Join) encode(e *encoder)    { e.entry(typeJoin, j.Namespace, j.Root, j.Cwd) }

// line makes a log line of any text: printable, and no longer than the wire takes.
func line(text string) string {
	const most = StringMax - 1
	if len(text) > most {
		text = text[:most]
	}
	// A character cut in two is not printable; a question mark is no longer.
	return oneLine(text)
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
	if kind == typeJoin {
		var j Join
		err := takeValues(kind, value, &j.Namespace, &j.Root, &j.Cwd)
		return j, err
	}
	var text string
	if kind == typeLog {
		var priority uint32
		err := takeValues(kind, value, &priority, &text)
		return Log{Priority(priority), text}, err
	}
	err := takeValues(kind, value, &text)
	switch kind {
	case typeSummary:
		return Summary{text}, err
	case typeRecord:
		return Record{text}, err
	case typeEnv:
		return Env{text}, err
	case typeTell:
		return Tell{text}, err
	}
	return nil, malformedError("entry type %d is unknown", kind)
}
