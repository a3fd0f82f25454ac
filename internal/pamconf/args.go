package pamconf

import (
	"path"
	"strconv"
	"strings"
)

// Arguments is what a line says to pam_gotmpns.so; the fields of a line without
// arguments are zero. c/args.c reads the same words: testdata/arguments.txt is a
// table of cases that both have to agree on.
type Arguments struct {
	Debug    bool
	Config   string
	Worker   string
	Socket   string
	NoSocket bool // socket=none: every login starts a worker
	Timeout  int  // in seconds
	Ignored  []Ignored
}

// Ignored is an argument that the module logs and ignores.
type Ignored struct{ Argument, Reason string }

// Limits of c/args.c.
const (
	longestPath    = 4095 // PATH_MAX without the byte that ends it
	longestSocket  = 107  // unix(7), without the byte that ends it
	longestTimeout = 600
)

// ParseArguments reads the arguments of a line; of several with one name the last
// one counts.
func ParseArguments(words []string) Arguments {
	var a Arguments
	for _, word := range words {
		if reason := a.parse(word); reason != "" {
			a.Ignored = append(a.Ignored, Ignored{word, reason})
		}
	}
	return a
}

// parse reads one argument, and returns why it is ignored.
func (a *Arguments) parse(word string) string {
	name, value, hasValue := strings.Cut(word, "=")
	switch {
	case word == "debug":
		a.Debug = true
	case word == "socket=none":
		a.Socket, a.NoSocket = "", true
	case name == "config" && hasValue:
		return setPath(&a.Config, value, longestPath)
	case name == "worker" && hasValue:
		return setPath(&a.Worker, value, longestPath)
	case name == "socket" && hasValue:
		reason := setPath(&a.Socket, value, longestSocket)
		a.NoSocket = a.NoSocket && reason != ""
		return reason
	case name == "timeout" && hasValue:
		return a.setTimeout(value)
	default:
		return "is unknown and ignored"
	}
	return ""
}

func setPath(field *string, value string, longest int) string {
	switch {
	case !path.IsAbs(value):
		return "is ignored: it needs an absolute path"
	case len(value) > longest:
		return "is ignored: the path is longer than " + strconv.Itoa(longest) + " bytes"
	}
	*field = value
	return ""
}

func (a *Arguments) setTimeout(value string) string {
	isDigit := func(r rune) bool { return '0' <= r && r <= '9' }
	seconds, err := strconv.Atoi(value)
	if strings.TrimLeftFunc(value, isDigit) != "" || err != nil || seconds < 1 || seconds > longestTimeout {
		return "is ignored: it is not a number from 1 to " + strconv.Itoa(longestTimeout)
	}
	a.Timeout = seconds
	return ""
}
