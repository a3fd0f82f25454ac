package policy

import "regexp"

// Feature is a key of the configuration, or some values of it.
type Feature struct {
	Table string // "private", "bind", or nothing for the top of the file
	Key   string
	Value *regexp.Regexp // nil: every value
}

// Unsupported is what a configuration can say and no login does yet. It is refused
// with an error: to ignore it would be to do something else than what is written.
// The change that makes logins do it removes its line here.
var Unsupported []Feature

// IsUnsupported says whether a key with a value, as it is written, is on the list.
func IsUnsupported(table, key, value string) bool {
	for _, f := range Unsupported {
		if f.Table == table && f.Key == key && (f.Value == nil || f.Value.MatchString(value)) {
			return true
		}
	}
	return false
}
