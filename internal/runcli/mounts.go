package runcli

import (
	"errors"
	"fmt"
	"strings"

	"gotmpns/internal/run"
	"gotmpns/internal/size"
)

// mountFlag adds to the mounts; all its kinds share one list, which keeps their order.
type mountFlag struct {
	kind   run.Kind
	form   string
	mounts *[]run.Mount
}

func (f *mountFlag) String() string { return "" }
func (f *mountFlag) Type() string   { return f.form }

func (f *mountFlag) Set(value string) error {
	m := run.Mount{Kind: f.kind}
	var err error
	switch f.kind {
	case run.Private:
		m.Target = value
	case run.Tmpfs:
		err = readTmpfs(&m, value)
	default:
		err = readBind(&m, value)
	}
	if err == nil && m.Target == "" {
		err = errors.New("a directory is missing")
	}
	*f.mounts = append(*f.mounts, m)
	return err
}

func readTmpfs(m *run.Mount, value string) (err error) {
	parts := splitAtColons(value)
	m.Target = parts[0]
	switch len(parts) {
	case 1:
	case 2:
		var fault string
		if m.Size, fault = size.Parse(parts[1]); fault != "" {
			err = fmt.Errorf("%q %s", parts[1], fault)
		}
	default:
		err = errors.New(`more than one colon; write \: for one in a name`)
	}
	return err
}

func readBind(m *run.Mount, value string) error {
	parts := splitAtColons(value)
	switch {
	case len(parts) > 2:
		return errors.New(`more than one colon; write \: for one in a name`)
	case len(parts) < 2 || parts[0] == "" || parts[1] == "":
		return errors.New("write SRC:DST")
	}
	m.Source, m.Target = parts[0], parts[1]
	return nil
}

// splitAtColons cuts at each colon that no backslash stands before, and removes the
// backslashes that stand before a colon or another one.
func splitAtColons(s string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == ':' || s[i+1] == '\\'):
			i++
			part.WriteByte(s[i])
		case s[i] == ':':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(s[i])
		}
	}
	return append(parts, part.String())
}
