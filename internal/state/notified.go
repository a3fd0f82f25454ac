package state

// SetNotified records that a user has been told of private directories since the last
// reboot. It returns false where that is recorded already; another user with the same uid
// has not been told. A record that cannot be written is an error.
func (d *Dir) SetNotified(uid uint32, user string) (first bool, err error) {
	if d.read("notified", uidName(uid)).get("USER") == user {
		return false, nil
	}
	return true, d.write("notified", uidName(uid), fields{{"USER", user}})
}
