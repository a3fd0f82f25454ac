// Package paths compares paths by their names alone. They are absolute and clean.
package paths

import "strings"

// IsWithin says that a path is a directory or below it.
func IsWithin(path, directory string) bool {
	return path == directory || directory == "/" || strings.HasPrefix(path, directory+"/")
}

// IsBelow says that a path is below a directory, and not the directory itself.
func IsBelow(path, directory string) bool {
	return path != directory && IsWithin(path, directory)
}
