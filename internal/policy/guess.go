package policy

import "strings"

// guessRule recognises rules in the syntax of other programs, and common typing
// mistakes. Empty: s is none of these.
func guessRule(s string) string {
	switch {
	case isNumber(s):
		return didYouMean("uid=" + s)
	case s[0] == '#' && isNumber(s[1:]): // sudoers
		return didYouMean("uid=" + s[1:])
	case s[0] == '%' && groupFault(s[1:]) == "": // sudoers
		return didYouMean("@" + s[1:])
	}
	keyword := strings.ToLower(leadingLetters(s))
	rest := s[len(keyword):]
	if rest == "" || !strings.Contains(" :=<>", rest[:1]) {
		return ""
	}
	if keyword == "gid" {
		return `groups are selected by name; write "@" and the name of the group`
	}
	meant, known := rewrite(keyword, rest)
	if !known {
		return ""
	}
	if _, fault := parseWithoutSource(meant); fault == "" {
		return didYouMean(meant)
	}
	return forms
}

// rewrite returns the rule that a keyword, in any case, and the rest of a text
// probably mean, and whether it is a keyword at all.
func rewrite(keyword, rest string) (meant string, known bool) {
	value := strings.TrimLeft(rest, " :=")
	switch keyword {
	case "uid":
		compact := strings.ReplaceAll(rest, " ", "")
		if strings.HasPrefix(compact, "=") || strings.HasPrefix(compact, "<") || strings.HasPrefix(compact, ">") {
			return "uid" + compact, true
		}
		compact = strings.TrimLeft(compact, ":")
		if compact != "" && strings.Contains("<>=", compact[:1]) {
			return "uid" + compact, true
		}
		return "uid=" + compact, true
	case "user", "login", "name":
		return value, true
	case "group":
		return "@" + value, true
	case "service", "shell":
		return keyword + ":" + value, true
	}
	return "", false
}

func leadingLetters(s string) string {
	end := strings.IndexFunc(s, func(r rune) bool { return (r|0x20) < 'a' || (r|0x20) > 'z' })
	if end < 0 {
		return s
	}
	return s[:end]
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
