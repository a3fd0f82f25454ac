// Package account asks the name service about users and groups, through the C
// library (cgo os/user), so that LDAP and SSSD users count like those in
// /etc/passwd. Every question may be slow; none is asked that no rule needs.
package account

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
)

// Groups returns those of the named groups that the user is in, and the names
// that the name service does not know. It asks nothing where names is empty.
func Groups(login string, gid uint32, names []string) (member, unknown []string, err error) {
	if len(names) == 0 {
		return nil, nil, nil
	}
	u := &user.User{Username: login, Gid: strconv.FormatUint(uint64(gid), 10)}
	gids, err := u.GroupIds()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot find the groups of %q: %w", login, err)
	}
	for _, name := range names {
		group, err := user.LookupGroup(name)
		var missing user.UnknownGroupError
		switch {
		case errors.As(err, &missing):
			unknown = append(unknown, name)
		case err != nil:
			return nil, nil, fmt.Errorf("cannot look up the group %q: %w", name, err)
		case slices.Contains(gids, group.Gid):
			member = append(member, name)
		}
	}
	return member, unknown, nil
}

// IsNameOf says whether uid still goes by that name. It keeps the files of a
// user who is gone from the next one who is given the uid.
func IsNameOf(uid uint32, name string) (bool, error) {
	u, err := user.Lookup(name)
	var missing user.UnknownUserError
	switch {
	case errors.As(err, &missing):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("cannot look up the user %q: %w", name, err)
	}
	return u.Uid == strconv.FormatUint(uint64(uid), 10), nil
}

// IDs returns the uid and the primary group of a user.
func IDs(name string) (uid, gid uint32, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot look up the user %q: %w", name, err)
	}
	if uid, err = number(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = number(u.Gid)
	return uid, gid, err
}

// GroupID returns the gid of a group.
func GroupID(name string) (uint32, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("cannot look up the group %q: %w", name, err)
	}
	return number(g.Gid)
}

func number(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}
