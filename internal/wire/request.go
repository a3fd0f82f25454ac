package wire

// Variable is an environment variable.
type Variable struct{ Name, Value string }

// Request is what only the login process knows.
type Request struct {
	UID, GID   uint32
	Debug      bool
	User       string // as the name service writes it
	Shell      string
	Home       string // as the name service writes it; not looked at
	Service    string
	TTY        string
	RHost      string
	RUser      string
	Config     string     // path of the configuration
	PAMEnv     []Variable // those of TMPDIR, TMP, TEMP, TEMPDIR that PAM will set
	ProcessEnv []Variable // and those that the login process itself has
}

// DecodeRequest reads a request; the error says what is wrong with it.
func DecodeRequest(message []byte) (Request, error) {
	d, _, err := newDecoder(message, kindOpen, RequestMax)
	if err != nil {
		return Request{}, err
	}
	var r Request
	seen := map[uint16]bool{}
	for {
		kind, value, ok, err := d.next()
		if err != nil {
			return Request{}, err
		}
		if !ok {
			break
		}
		if seen[kind] && kind != typePAMEnv && kind != typeProcessEnv {
			return Request{}, malformedError("entry type %d comes twice", kind)
		}
		seen[kind] = true
		if err := r.take(kind, value); err != nil {
			return Request{}, err
		}
	}
	for _, needed := range [...]uint16{typeUID, typeGID, typeUser, typeConfig} {
		if !seen[needed] {
			return Request{}, malformedError("entry type %d is missing", needed)
		}
	}
	return r, nil
}

func (r *Request) take(kind uint16, value []byte) error {
	switch kind {
	case typeUID:
		return takeValues(kind, value, &r.UID)
	case typeGID:
		return takeValues(kind, value, &r.GID)
	case typeDebug:
		r.Debug = true
		return takeValues(kind, value)
	case typePAMEnv:
		return takeVariable(kind, value, &r.PAMEnv)
	case typeProcessEnv:
		return takeVariable(kind, value, &r.ProcessEnv)
	}
	if text := r.text(kind); text != nil {
		return takeValues(kind, value, text)
	}
	return malformedError("entry type %d is unknown", kind)
}

// text is where the string of an entry type goes.
func (r *Request) text(kind uint16) *string {
	switch kind {
	case typeUser:
		return &r.User
	case typeShell:
		return &r.Shell
	case typeService:
		return &r.Service
	case typeTTY:
		return &r.TTY
	case typeRHost:
		return &r.RHost
	case typeRUser:
		return &r.RUser
	case typeConfig:
		return &r.Config
	case typeHome:
		return &r.Home
	}
	return nil
}

func takeVariable(kind uint16, value []byte, to *[]Variable) error {
	var text string
	if err := takeValues(kind, value, &text); err != nil {
		return err
	}
	for i := range len(text) {
		if text[i] == '=' {
			*to = append(*to, Variable{text[:i], text[i+1:]})
			return nil
		}
	}
	return malformedError("entry type %d is no NAME=VALUE", kind)
}

// Encode writes a request, as the shim does; for tests, and for programs that ask
// without a shim.
func (r Request) Encode() ([]byte, error) {
	e := newEncoder()
	e.entry(typeUID, r.UID)
	e.entry(typeGID, r.GID)
	if r.Debug {
		e.entry(typeDebug)
	}
	for _, kind := range [...]uint16{typeUser, typeShell, typeService, typeTTY, typeRHost, typeRUser, typeConfig, typeHome} {
		if text := *r.text(kind); text != "" || kind == typeUser || kind == typeConfig {
			e.entry(kind, text)
		}
	}
	for _, v := range r.PAMEnv {
		e.entry(typePAMEnv, v.Name+"="+v.Value)
	}
	for _, v := range r.ProcessEnv {
		e.entry(typeProcessEnv, v.Name+"="+v.Value)
	}
	return e.finish(kindOpen, Success, RequestMax)
}
