package instance

import (
	"os"
	"path"
	"strconv"
	"strings"

	"gotmpns/internal/mountfd"
)

// OwnerOf says whose instance the root of a mount is: place is what some process has
// at a target, and tree tells where that is. It looks at that one directory, not at
// those of all users.
func (s *Store) OwnerOf(tree mountfd.Tree, place *os.File, target Target, configured string) (uid uint32, found bool) {
	// A user's own file system must not be asked, and has nothing to say.
	if tree.Trust(place) != nil {
		return 0, false
	}
	if uid, found = MarkedFor(mountfd.Mark(place)); found {
		return uid, true
	}
	return s.unmarkedOwner(tree, place, target, configured)
}

// unmarkedOwner is for file systems without room for a mark, and for instances that
// version 0.1 made: the mount's root is named like the instance, and is the same
// directory as the one in the base, where that can be seen.
func (s *Store) unmarkedOwner(tree mountfd.Tree, place *os.File, target Target, configured string) (uid uint32, found bool) {
	root, err := tree.RootOf(place)
	if err != nil {
		return 0, false
	}
	directory, name := path.Split(strings.TrimSuffix(root, "//deleted"))
	uid, ok := uidOf(name)
	if !ok {
		return 0, false
	}
	b, err := s.existingBase(target, configured)
	if err != nil || b.dir == nil {
		// In a container, the instance itself may hide the base. Its name is random.
		recorded := s.state.Base(target.Path)
		return uid, recorded != "" && path.Base(directory) == recorded
	}
	defer b.dir.Close()
	info, err := mountfd.Peek(place)
	return uid, err == nil && isFile(b.dir, name, info.ID)
}

// uidOf takes the uid from an instance's name, of a session's or set aside
// among them, but not from the link beside it.
func uidOf(name string) (uint32, bool) {
	if strings.HasSuffix(name, ".user") {
		return 0, false
	}
	number, _, _ := strings.Cut(name, ".")
	uid, err := strconv.ParseUint(number, 10, 32)
	return uint32(uid), err == nil
}

// isFile compares while both are open.
func isFile(dir *os.File, name string, id mountfd.ID) bool {
	f, err := mountfd.Open(dir, name)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := mountfd.Stat(f)
	return err == nil && info.ID == id
}
