package plan

import (
	"slices"

	"gotmpns/internal/policy"
)

// temporary are the variables that say where programs put
// temporary files; TMPDIR alone is POSIX's.
var temporary = [...]string{"TMPDIR", "TMP", "TEMP", "TEMPDIR"}

// fallback is what programs use without them; where that is not private, there
// is nothing to lead them back to.
const fallback = "/tmp"

// environmentSettings corrects variables that lead away from the private directory, or,
// as libpam-tmpdir's do, to a directory that does not exist inside it.
func environmentSettings(mode policy.Environment, f Facts, private []policy.Private) []Setting {
	isTarget := func(path string) bool {
		return slices.ContainsFunc(private, func(p policy.Private) bool { return p.Target == path })
	}
	if mode == policy.Keep || !isTarget(fallback) {
		return nil
	}
	var settings []Setting
	for _, name := range temporary {
		pam, inPAM := value(f.PAMEnv, name)
		process, inProcess := value(f.ProcessEnv, name)
		astray := inPAM && !isTarget(pam)
		inherited := !inPAM && inProcess && !isTarget(process)
		switch {
		case mode == policy.Set && (name == "TMPDIR" && !inPAM || astray || inherited):
			settings = append(settings, Setting{Name: name, Value: fallback})
		case astray && !inProcess:
			settings = append(settings, Setting{Name: name, Unset: true})
		case astray, inherited:
			// PAM cannot unset what the login process has in its own
			// environment and passes on, as su without "-" does.
			settings = append(settings, Setting{Name: name, Value: fallback})
		}
	}
	return settings
}

func value(variables []Variable, name string) (string, bool) {
	i := slices.IndexFunc(variables, func(v Variable) bool { return v.Name == name })
	if i < 0 {
		return "", false
	}
	return variables[i].Value, true
}
