package check

import (
	"slices"

	"gotmpns/internal/policy"
)

// Judged is a rule of the configuration as it works out for somebody.
type Judged struct {
	Of      string `json:"of"`             // "exempt", or the table that it is for
	Rule    string `json:"rule,omitempty"` // empty: there is none, so it is for everybody
	Applies bool   `json:"applies"`
	Why     string `json:"why"`
}

// Rules goes through the rules of a policy, in its order. Who is exempt is asked
// first, and for those nothing else counts.
func Rules(p policy.Policy, s policy.Subject) []Judged {
	judged := list("exempt", p.Exempt, s)
	exempt := slices.ContainsFunc(judged, func(j Judged) bool { return j.Applies })
	add := func(of string, rules, except []policy.Rule) {
		switch at := slices.IndexFunc(except, func(r policy.Rule) bool { return r.Matches(s) }); {
		case exempt:
			judged = append(judged, Judged{of, "", false, "the login is exempt"})
		case at >= 0:
			judged = append(judged, Judged{of, "except " + except[at].String(), false, except[at].Explain(s)})
		default:
			judged = append(judged, forList(of, rules, s)...)
		}
	}
	for _, private := range p.Private {
		add("private "+private.Target, private.For, private.Except)
	}
	for _, bind := range p.Bind {
		add("bind "+bind.Target, bind.For, bind.Except)
	}
	return judged
}

func list(of string, rules []policy.Rule, s policy.Subject) []Judged {
	var judged []Judged
	for _, r := range rules {
		judged = append(judged, Judged{of, r.String(), r.Matches(s), r.Explain(s)})
	}
	return judged
}

func forList(of string, rules []policy.Rule, s policy.Subject) []Judged {
	switch {
	case rules == nil:
		return []Judged{{of, "", true, "it is for everybody who is not exempt"}}
	case len(rules) == 0:
		return []Judged{{of, "", false, "its list is empty, so it is for nobody"}}
	}
	return list(of, rules, s)
}
