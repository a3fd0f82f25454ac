//go:build !cgo

package cli

import "errors"

// serve asks the name service for groups, and needs the C library for that.
func serve(string) error {
	return errors.New("cannot serve logins: this command was built without the C library")
}
