package account

import (
	"path"
	"strconv"
	"strings"
)

// Local is a line of passwd(5).
type Local struct {
	Name, Home, Shell string
	UID, GID          uint32
}

// Locals returns the users in the text of a passwd(5), without those lines that have an error.
func Locals(passwd string) []Local {
	var all []Local
	for line := range strings.Lines(passwd) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 7 {
			continue
		}
		uid, err1 := strconv.ParseUint(fields[2], 10, 32)
		gid, err2 := strconv.ParseUint(fields[3], 10, 32)
		if err1 == nil && err2 == nil {
			all = append(all, Local{fields[0], path.Clean(fields[5]), fields[6], uint32(uid), uint32(gid)})
		}
	}
	return all
}
