//go:build !cgo

package cli

import "errors"

// serve is the full command's: the broker asks the name service, and what it needs
// besides would make every start of this one longer.
func serve(string) error {
	return hinted(errors.New("cannot serve logins: gotmpns-full is missing"), "install the package again, as a whole")
}
