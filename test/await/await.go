// Package await waits in tests for what other processes do.
package await

import "time"

// Deadline is for what never happens. No test that passes waits for it, so it is longer than
// a slow machine needs.
const Deadline = time.Minute

// Until calls check again and again until that returns nil. After [Deadline] it returns the
// last error.
func Until(check func() error) error {
	for end := time.Now().Add(Deadline); ; time.Sleep(5 * time.Millisecond) {
		err := check()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
