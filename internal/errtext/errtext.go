// Package errtext prints errors of the command.
package errtext

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Print prints an error, and a hint unless it is empty. An error without text has been
// reported by another program.
func Print(out io.Writer, err error, hint string) {
	if text := err.Error(); text != "" {
		fmt.Fprintln(out, "gotmpns: error: "+Harmless(text))
	}
	if hint != "" {
		fmt.Fprintln(out, "gotmpns: hint: "+Harmless(hint))
	}
}

// Harmless is a text without what a terminal takes for a command: names in messages may be
// a user's.
func Harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
