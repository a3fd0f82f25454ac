package instance

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

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
	if uid, found = markedFor(mountfd.Mark(place)); found {
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

// InTable says whose instances a tree has anywhere: [NoUID] for one whose user is not
// known. It goes by the mount table, so that also what something else covers is found.
func InTable(tree mountfd.Tree) ([]uint32, error) {
	table, err := os.Open(tree.Table)
	if err != nil {
		return nil, fmt.Errorf("cannot read a mount table: %w", err)
	}
	defer table.Close()
	var owners []uint32
	_, err = mountinfo.GetMountsFromReader(table, func(m *mountinfo.Info) (skip, stop bool) {
		if uid, ours := ownerOf(tree, m); ours && !slices.Contains(owners, uid) {
			owners = append(owners, uid)
		}
		return true, false
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", tree.Table, err)
	}
	return owners, nil
}

// ownerOf judges a line of a mount table. Only root can make such a mount, or give a tmpfs
// that name, in a namespace of the host's.
func ownerOf(tree mountfd.Tree, m *mountinfo.Info) (uid uint32, ours bool) {
	directory, name := path.Split(strings.TrimSuffix(m.Root, "//deleted"))
	switch {
	case strings.HasPrefix(path.Base(directory), prefix):
		if uid, named := uidOf(name); named {
			return uid, true
		}
		return NoUID, true
	case m.FSType == "tmpfs" && m.Source == TmpfsSource:
		return ownerOfTmpfs(tree, m.Mountpoint), true
	}
	return 0, false
}

func ownerOfTmpfs(tree mountfd.Tree, path string) uint32 {
	place, err := tree.Open(path)
	if err != nil {
		return NoUID // a user's own file system covers it
	}
	defer place.Close()
	if uid, marked := markedFor(mountfd.Mark(place)); marked {
		return uid
	}
	return NoUID
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
