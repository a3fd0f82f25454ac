package policy

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"sync"
	"unicode"
)

// variable is $USER, but not the beginning of a longer name.
var variable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\$USER\b`) })

// IsVariable says whether a target or base is another path for each user.
func IsVariable(p string) bool { return isInHome(p) || hasVariable(p) }

// hasVariable looks for the sign first: few configurations need the expression.
func hasVariable(p string) bool { return strings.Contains(p, "$") && variable().MatchString(p) }

func isInHome(p string) bool { return p == "~" || strings.HasPrefix(p, "~/") }

// Expand returns a target or base as it is for one user: a ~ at its beginning
// becomes the home directory, every $USER the login name. What it returns is
// absolute and clean, but nothing is looked up. Names and homes with which the
// path would lead to another place than the configuration shows are errors.
func Expand(p, home, user string) (string, error) {
	if !IsVariable(p) {
		return p, nil
	}
	if why := unfitName(user); hasVariable(p) && why != "" {
		return "", fmt.Errorf("cannot use the login name %s in %s: %s", quoteShort(user), p, why)
	}
	// Before the home directory is put in, which may have a $USER of its own in it.
	expanded := variable().ReplaceAllLiteralString(p, user)
	if isInHome(p) {
		if why := unfitHome(home); why != "" {
			return "", fmt.Errorf("cannot use the home directory %s of %s for %s: %s", quoteShort(home), quoteShort(user), p, why)
		}
		expanded = path.Clean(home) + strings.TrimPrefix(expanded, "~")
	}
	return expanded, nil
}

// unfitName says why a login name cannot be part of a path.
func unfitName(user string) string {
	switch {
	case user == "":
		return "it is empty"
	case strings.Contains(user, "/"):
		return "it contains a slash"
	case strings.HasPrefix(user, "."):
		return "it begins with a dot"
	case strings.ContainsFunc(user, unicode.IsControl):
		return "it contains a control character"
	case len(user) > 255:
		return "it is longer than any file name"
	}
	return ""
}

// unfitHome allows a slash at the end, which some directories have.
func unfitHome(home string) string {
	switch {
	case home == "":
		return "it is empty"
	case home[0] != '/':
		return "it is not an absolute path"
	case strings.ContainsFunc(home, unicode.IsControl):
		return "it contains a control character"
	case path.Clean(home) == "/":
		return "it is the root directory"
	case path.Clean(home) != strings.TrimSuffix(home, "/"):
		return "it is not a clean path"
	}
	return ""
}
