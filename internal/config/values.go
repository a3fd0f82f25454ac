package config

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gotmpns/internal/policy"
)

// chooseWord takes one of a few words; a missing one is the default.
func chooseWord[T ~string](r *reader, key string, s setting[string], missing T, known ...T) T {
	if !s.isSet() {
		return missing
	}
	if slices.Contains(known, T(s.value)) {
		return T(s.value)
	}
	words := make([]string, 0, len(known))
	for _, word := range known {
		words = append(words, string(word))
	}
	r.errorf(s.line, "%s = %q is not valid; valid values are %s%s", key, s.value,
		strings.Join(words, ", "), didYouMean(s.value, words))
	return missing
}

func (r *reader) rules(texts []value) []policy.Rule {
	rules := make([]policy.Rule, 0, len(texts))
	for _, text := range texts {
		rule, err := policy.ParseRule(text.text)
		if err != nil {
			r.errorf(text.line, "%v", err)
		}
		rules = append(rules, rule)
	}
	return rules
}

func (r *reader) rulesOrNil(s setting[[]value]) []policy.Rule {
	if !s.isSet() {
		return nil
	}
	return r.rules(s.value)
}

func (r *reader) options(words setting[[]value]) policy.Options {
	var options policy.Options
	known := map[string]*bool{"nosuid": &options.NoSUID, "nodev": &options.NoDev, "noexec": &options.NoExec}
	for _, word := range words.value {
		option, ok := known[word.text]
		if !ok {
			valid := []string{"nosuid", "nodev", "noexec"}
			r.errorf(word.line, "options has %q, which is not valid; valid options are %s%s", word.text,
				strings.Join(valid, ", "), didYouMean(word.text, valid))
			continue
		}
		*option = true
	}
	return options
}

func (r *reader) create(s setting[createTable], p *policy.Private) {
	if !s.isSet() {
		return
	}
	t := s.value
	p.Create = &policy.Create{Mode: 0o755, Owner: "root", Group: t.Group.value}
	if t.Mode.isSet() {
		p.Create.Mode = r.mode(t.Mode)
	}
	if t.Owner.isSet() {
		p.Create.Owner = t.Owner.value
		r.account("owner", t.Owner, t.Owner.value == "$USER")
	}
	if t.Group.isSet() {
		r.account("group", t.Group, false)
	}
}

// account checks a name of the passwd or group database as far as its text goes.
func (r *reader) account(key string, s setting[string], ok bool) {
	name := s.value
	if !ok && (name == "" || strings.Trim(name, "0123456789") == "" || strings.ContainsAny(name, "$@%:/,") || strings.ContainsFunc(name, unicode.IsControl)) {
		r.errorf(s.line, "%s = %q is not valid; write a name, as in %s = \"root\"", key, name, key)
	}
}

// mode reads permissions in octal; 0 is an error.
func (r *reader) mode(s setting[string]) uint32 {
	n, err := strconv.ParseUint(s.value, 8, 32)
	if err != nil || n == 0 || n > 0o7777 || strings.Trim(s.value, "01234567") != "" {
		r.errorf(s.line, "mode = %q is not valid; write it in octal, as in mode = \"1777\"", s.value)
	}
	return uint32(n)
}

// mostInodes is the largest nr_inodes that tmpfs takes: it counts 1 KiB for each.
const mostInodes = uint64(math.MaxUint) / 1024

func (r *reader) limits(t privateTable, p *policy.Private) {
	if t.Size.isSet() {
		var why string
		if p.Size, p.Percent, why = parseSize(t.Size.value); why != "" {
			r.errorf(t.Size.line, "size = %s %s", t.Size.value.source(), why)
		}
	}
	if t.Inodes.isSet() {
		r.inodes(t.Inodes, p)
	}
	if t.Mode.isSet() {
		p.Mode = r.mode(t.Mode)
	}
}

func (r *reader) inodes(s setting[int64], p *policy.Private) {
	least := int64(2 + len(p.Share)) // the directory itself, what is shared, and one file
	switch {
	case s.value < 0:
		r.errorf(s.line, "inodes = %d is not a positive number", s.value)
	case s.value == 0:
		r.errorf(s.line, "inodes must not be zero")
	case s.value < least:
		r.errorf(s.line, "inodes = %d is too small; it must be at least %d", s.value, least)
	case uint64(s.value) > mostInodes:
		r.errorf(s.line, "inodes = %d is too large; it must be at most %d", s.value, mostInodes)
	}
	p.Inodes = uint64(s.value)
}
