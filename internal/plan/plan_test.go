package plan

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gotmpns/internal/policy"
)

var update = flag.Bool("update", false, "write the golden files")

func rules(t *testing.T, texts ...string) []policy.Rule {
	t.Helper()
	list := []policy.Rule{}
	for _, text := range texts {
		rule, err := policy.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rule)
	}
	return list
}

var (
	alice = policy.Subject{User: "alice", UID: 1000, Shell: "/bin/bash", Service: "sshd"}
	root  = policy.Subject{User: "root", Shell: "/bin/bash", Service: "cron"}
)

// directory is a target that is a plain directory of the host's.
func directory(change ...func(*Place)) Place {
	place := Place{Directory: true, Carrier: "/"}
	for _, c := range change {
		c(&place)
	}
	return place
}

func mountPoint(p *Place) { p.MountPoint, p.Flags = true, "nosuid,nodev" }
func movable(p *Place)    { p.Movable = true }
func own(p *Place)        { p.Caller = Own }
func others(p *Place)     { p.Caller = Others }

func shares(names ...string) func(*Place) {
	return func(p *Place) {
		p.Shares = map[string]Share{}
		for _, name := range names {
			p.Shares[name] = Share{Exists: true, Directory: true}
		}
	}
}

const labHosts = "/opt/lab/hosts"

func source(path string, s Source) func(*Place) {
	return func(p *Place) { p.Sources = map[string]Source{path: s} }
}

func file(p *Place) { p.Directory = false }

func target(path string, change ...func(*policy.Private)) policy.Private {
	p := policy.Private{Target: path, Kind: policy.Directory, Scope: policy.User}
	for _, c := range change {
		c(&p)
	}
	return p
}

type situation struct {
	policy policy.Policy
	facts  Facts
}

func situations(t *testing.T) map[string]situation {
	tmp := func(place Place) map[string]Place { return map[string]Place{"/tmp": place} }
	with := func(change func(*policy.Policy)) policy.Policy {
		p := policy.Default()
		change(&p)
		return p
	}
	privates := func(list ...policy.Private) policy.Policy {
		return with(func(p *policy.Policy) { p.Private = list })
	}
	propagation := func(mode policy.Propagation) policy.Policy {
		return with(func(p *policy.Policy) { p.Propagation = mode })
	}
	hosts := func(recursive, readOnly bool, whom ...string) policy.Bind {
		b := policy.Bind{Source: labHosts, Target: "/etc/hosts", Recursive: recursive, ReadOnly: readOnly}
		if whom != nil {
			b.For = rules(t, whom...)
		}
		return b
	}
	binds := func(list ...policy.Bind) policy.Policy {
		return with(func(p *policy.Policy) { p.Bind = list })
	}
	group := func(groups ...string) policy.Subject { s := alice; s.Groups = groups; return s }
	environment := func(mode policy.Environment, pam, process []Variable) situation {
		return situation{with(func(p *policy.Policy) { p.Environment = mode }),
			Facts{Subject: alice, Places: tmp(directory()), PAMEnv: pam, ProcessEnv: process}}
	}
	elsewhere := []Variable{{"TMPDIR", "/home/alice/tmp"}, {"TMP", "/tmp"}, {"TEMP", "/tmp/user/1000"}}

	return map[string]situation{
		"first-login":              {policy.Default(), Facts{Subject: alice, Places: tmp(directory())}},
		"tmp-is-a-mount-point":     {policy.Default(), Facts{Subject: alice, Places: tmp(directory(mountPoint))}},
		"slave-is-asked-for":       {propagation(policy.Slave), Facts{Subject: alice, Places: tmp(directory(mountPoint))}},
		"private-is-asked-for":     {propagation(policy.PropagationPrivate), Facts{Subject: alice, Places: tmp(directory())}},
		"shared-is-asked-for":      {propagation(policy.Shared), Facts{Subject: alice, Places: tmp(directory(mountPoint))}},
		"x11-is-shared":            {policy.Default(), Facts{Subject: alice, Places: tmp(directory(shares(".X11-unix", ".ICE-unix")))}},
		"the-same-user-again":      {policy.Default(), Facts{Subject: alice, Places: tmp(directory(own))}},
		"from-another-user":        {policy.Default(), Facts{Subject: alice, Origin: FromOthers, Places: tmp(directory(others)), Cwd: Cwd{Path: "/tmp/hers"}}},
		"from-another-user-shared": {policy.Default(), Facts{Subject: alice, Origin: FromOthers, Places: tmp(directory(others, mountPoint))}},
		"from-a-place-that-only-another-session-has": {policy.Default(), Facts{Subject: alice, Origin: FromOthers, Places: tmp(directory(others)),
			Cwd: Cwd{Path: "/mnt/hers"}}},
		"from-a-place-that-only-an-own-session-has": {policy.Default(), Facts{Subject: alice, Origin: FromOwn, HostShared: true,
			Places: tmp(directory(func(p *Place) { p.Caller = Others })), Cwd: Cwd{Path: "/mnt/own"}}},
		"from-another-user-whose-directory-is-covered": {privates(target("/tmp", func(p *policy.Private) { p.For = rules(t, "bob") })),
			Facts{Subject: alice, Origin: FromOthers, Places: tmp(directory()), Cwd: Cwd{Path: "/", OnHost: true}}},
		"join-none-that-has-changed": {policy.Default(), Facts{Subject: alice, HostShared: true, Places: tmp(directory()), Joinable: []Namespace{
			{Session: "1000/1234-5-6", PID: 1234, Unfit: true, Key: key(t, policy.Default(), tmp(directory()))}}}},
		"from-a-sandbox": {policy.Default(), Facts{Subject: alice, Origin: FromElsewhere, HostShared: true, Places: tmp(directory()), Cwd: Cwd{Path: "/", OnHost: true}}},
		"from-a-users-own-file-system": {policy.Default(), Facts{Subject: alice, Origin: FromOthers, HostShared: true, Places: tmp(directory(others)),
			Cwd: Cwd{Path: "/home/bob/mnt", Refused: "a user's own file system (FUSE) is mounted there"}}},
		"join": {policy.Default(), Facts{Subject: alice, HostShared: true, Places: tmp(directory(shares(".X11-unix"))), Joinable: []Namespace{
			{Session: "1000/9-9-9", PID: 9, Key: "made by another plan"}, {Session: "1000/1234-5-6", PID: 1234, Key: key(t, policy.Default(), tmp(directory(shares(".X11-unix"))))}}}},
		"join-from-another-user-below-a-target": {policy.Default(), Facts{Subject: alice, Origin: FromOthers, HostShared: true, Places: tmp(directory(others)),
			Cwd: Cwd{Path: "/tmp/hers"}, Joinable: []Namespace{{Session: "1000/1234-5-6", PID: 1234, Key: key(t, policy.Default(), tmp(directory()))}}}},
		"x-server-started-since": {policy.Default(), Facts{Subject: alice, HostShared: true, Places: tmp(directory(shares(".X11-unix"))), Joinable: []Namespace{
			{Session: "1000/1234-5-6", PID: 1234, Key: key(t, policy.Default(), tmp(directory()))}}}},
		"the-host-is-private": {policy.Default(), Facts{Subject: alice, Places: tmp(directory()), Joinable: []Namespace{
			{Session: "1000/1234-5-6", PID: 1234, Key: key(t, policy.Default(), tmp(directory()))}}}},
		"root-is-exempt": {policy.Default(), Facts{Subject: root, Places: tmp(directory(others))}},
		"exempt-by-group": {with(func(p *policy.Policy) { p.Exempt = rules(t, "@staff") }),
			Facts{Subject: group("staff"), Unknown: []string{"stuff"}, Places: tmp(directory())}},
		"not-for-this-user": {privates(target("/tmp", func(p *policy.Private) { p.For = rules(t, "bob") })),
			Facts{Subject: alice, Places: tmp(directory())}},
		"not-for-this-user-from-another": {privates(target("/tmp", func(p *policy.Private) { p.For = rules(t, "bob") })),
			Facts{Subject: alice, Origin: FromOthers, Places: tmp(directory(others)), Cwd: Cwd{Path: "/tmp"}}},
		"for-nobody": {privates(target("/tmp", func(p *policy.Private) { p.For = rules(t) })),
			Facts{Subject: alice, Places: tmp(directory())}},
		"a-tmpfs-of-the-session": {privates(target("/tmp", func(p *policy.Private) {
			p.Kind, p.Scope, p.Size, p.Inodes = policy.Tmpfs, policy.Session, 1<<30, 1000
		})), Facts{Subject: alice, Places: tmp(directory())}},
		"a-tmpfs-with-a-mode-and-options": {privates(target("/tmp", func(p *policy.Private) {
			p.Kind, p.Percent, p.Mode, p.Options = policy.Tmpfs, 20, 0o700, policy.Options{NoSUID: true, NoDev: true, NoExec: true}
		})), Facts{Subject: alice, Places: tmp(directory(mountPoint))}},
		"options-of-a-directory": {privates(target("/tmp", func(p *policy.Private) { p.Options.NoExec = true })),
			Facts{Subject: alice, Places: tmp(directory(mountPoint))}},
		"options-of-a-bind": {binds(policy.Bind{Source: labHosts, Target: "/etc/hosts", Recursive: true, Options: policy.Options{NoSUID: true, NoDev: true}}),
			Facts{Subject: alice, Places: map[string]Place{"/tmp": directory(), "/etc/hosts": directory(file, source(labHosts, Source{}))}}},
		"at-a-level": {privates(target("/tmp", func(p *policy.Private) { p.By = policy.ByLevel })),
			Facts{Subject: alice, Places: tmp(directory(func(p *Place) { p.At = "s2:c1" }))}},
		"shared-in-a-context": {privates(target("/tmp", func(p *policy.Private) { p.By, p.Shared = policy.ByContext, true })),
			Facts{Subject: alice, Places: tmp(directory(func(p *Place) { p.At = "user_u:object_r:user_tmp_t:s0" }))}},
		"shared-without-selinux": {privates(target("/tmp", func(p *policy.Private) { p.By, p.Shared = policy.ByContext, true })),
			Facts{Subject: alice, Places: tmp(directory(func(p *Place) { p.Remark = "/tmp is by user: SELinux is off" }))}},
		"a-target-that-is-missing": {privates(target("/made/here", func(p *policy.Private) {
			p.Create = &policy.Create{Mode: 0o1777, Owner: "root", Group: "adm"}
		})), Facts{Subject: alice, Places: map[string]Place{"/made/here": directory(func(p *Place) { p.Missing = true })}}},
		"except-this-user": {privates(target("/tmp", func(p *policy.Private) { p.Except = rules(t, "alice") })),
			Facts{Subject: alice, Places: tmp(directory())}},
		"a-base-of-its-own": {privates(target("/tmp", func(p *policy.Private) { p.Base = "/var/lib/gotmpns" })),
			Facts{Subject: alice, Places: tmp(directory())}},
		"targets-in-mount-order": {privates(target("/tmp/build/deep"), target("/var/tmp"), target("/tmp/build"), target("/tmp")),
			Facts{Subject: alice, Places: map[string]Place{
				"/tmp": directory(mountPoint), "/tmp/build": directory(), "/tmp/build/deep": directory(), "/var/tmp": directory(mountPoint)}}},
		"one-of-two-is-no-mount-point": {privates(target("/tmp"), target("/var/tmp")),
			Facts{Subject: alice, Places: map[string]Place{"/tmp": directory(mountPoint), "/var/tmp": directory()}}},
		"mount-points-are-made": {with(func(p *policy.Policy) {
			p.MountPoints, p.Private = policy.MakeMountPoints, []policy.Private{target("/tmp"), target("/home/alice/a/tmp")}
		}), Facts{Subject: alice, Places: map[string]Place{"/tmp": directory(), "/home/alice/a/tmp": directory(movable)}}},
		"bind-a-file": {binds(hosts(false, true)), Facts{Subject: alice, Places: map[string]Place{
			"/tmp": directory(), "/etc/hosts": directory(file, source(labHosts, Source{}))}}},
		"bind-for-whom": {binds(hosts(true, false, "bob"), hosts(false, true, "@students")), Facts{Subject: group("students"), Places: map[string]Place{
			"/tmp": directory(), "/etc/hosts": directory(file, source(labHosts, Source{}))}}},
		"bind-below-a-target": {binds(policy.Bind{Source: "/srv/x", Target: "/tmp/x"}), Facts{Subject: alice, Places: map[string]Place{
			"/tmp": directory(), "/tmp/x": {Err: errors.New("there is none"), Sources: map[string]Source{"/srv/x": {Directory: true}}}}}},
		"bind-in-place-already": {binds(hosts(false, false)), Facts{Subject: alice, Places: map[string]Place{
			"/tmp": directory(own), "/etc/hosts": directory(file, source(labHosts, Source{InPlace: true}))}}},
		"bind-of-another-is-taken-away": {binds(hosts(false, false, "bob")), Facts{Subject: alice, Origin: FromElsewhere, Places: map[string]Place{
			"/tmp": directory(others), "/etc/hosts": directory(file, source(labHosts, Source{InPlace: true}))}}},
		"cwd-below":               {policy.Default(), Facts{Subject: alice, Places: tmp(directory()), Cwd: Cwd{Path: "/tmp/x/y"}}},
		"cwd-is-the-target":       {policy.Default(), Facts{Subject: alice, Places: tmp(directory()), Cwd: Cwd{Path: "/tmp"}}},
		"cwd-with-the-same-start": {policy.Default(), Facts{Subject: alice, Places: tmp(directory()), Cwd: Cwd{Path: "/tmpfoo", OnHost: true}}},
		"share-of-a-user": {policy.Default(), Facts{Subject: alice, Places: tmp(directory(func(p *Place) {
			p.Shares = map[string]Share{".X11-unix": {Exists: true, Refused: "it belongs to uid 1001"}}
		}))}},
		"environment-unset-pam":     environment(policy.Unset, elsewhere, nil),
		"environment-unset-process": environment(policy.Unset, nil, elsewhere),
		"environment-unset-both":    environment(policy.Unset, elsewhere, elsewhere),
		"environment-set":           environment(policy.Set, elsewhere, nil),
		"environment-keep":          environment(policy.Keep, elsewhere, elsewhere),
	}
}

// key is that of the plan for a first login.
func key(t *testing.T, p policy.Policy, places map[string]Place) string {
	t.Helper()
	plan, err := Make(p, Facts{Subject: alice, HostShared: true, Places: places})
	if err != nil || plan.Key == "" {
		t.Fatalf("no key: %v, %q", err, plan.Own)
	}
	return plan.Key
}

func TestPlans(t *testing.T) {
	for name, s := range situations(t) {
		t.Run(name, func(t *testing.T) {
			plan, err := Make(s.policy, s.facts)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".plan")
			if *update {
				if err := os.WriteFile(golden, []byte(plan.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), plan.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What holds for every plan, whatever the situation.
func TestEveryPlanIsInOrder(t *testing.T) {
	for name, s := range situations(t) {
		t.Run(name, func(t *testing.T) {
			before := reflect.ValueOf(s.policy.Private).Len()
			plan, err := Make(s.policy, s.facts)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := Make(s.policy, s.facts)
			if plan.String() != again.String() || len(s.policy.Private) != before {
				t.Error("the same facts make another plan")
			}
			attached := map[string]bool{}
			propagated := false
			for _, step := range plan.Steps {
				switch step := step.(type) {
				case Propagate:
					propagated = true
				case Detach:
					if !propagated || len(attached) > 0 {
						t.Errorf("%v comes at a wrong time", step)
					}
				case Attach:
					if !propagated || attached[step.Target] {
						t.Errorf("%v comes too early or twice", step)
					}
					if step.Inside != "" && !attached[step.Inside] {
						t.Errorf("%v comes before what it is inside of", step)
					}
					attached[step.Target] = true
				default:
					t.Errorf("this test does not know when %v may come", step)
				}
			}
			_, creates := plan.Way.(Create)
			if creates != (plan.Own != "") {
				t.Errorf("the way is %v and the reason for a namespace of its own %q", plan.Way, plan.Own)
			}
			if len(plan.Steps) > 0 && !creates {
				t.Errorf("the way is %v, and there are steps", plan.Way)
			}
		})
	}
}

// The module refuses a reply with any other variable.
func TestTheVariablesAreThoseOfTheModule(t *testing.T) {
	source, err := os.ReadFile("../../c/reply.c")
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(source), "variables[VARIABLES] = {")
	list, _, _ = strings.Cut(list, "}")
	if want := `"` + strings.Join(temporary[:], `", "`) + `"`; !found || list != want {
		t.Errorf("c/reply.c has %s, not %s", list, want)
	}
}

// Two sessions share a namespace where they would get the same, and nothing that a
// session sees can differ without the key being another.
func TestWhatSessionsShareANamespace(t *testing.T) {
	base := key(t, policy.Default(), map[string]Place{"/tmp": directory(shares(".X11-unix"))})
	for name, s := range situations(t) {
		s.facts.HostShared, s.facts.Subject = true, alice
		plan, err := Make(s.policy, s.facts)
		if err != nil || plan.Key == "" {
			continue
		}
		same := name == "x11-is-shared" || name == "join" || name == "x-server-started-since"
		if name == "x11-is-shared" {
			same = false // it shares one more
		}
		if (plan.Key == base) != same {
			t.Errorf("%s: the key is\n%s", name, plan.Key)
		}
	}
}

func TestWhatCannotBe(t *testing.T) {
	shared := policy.Default()
	shared.Propagation = policy.Shared
	made := shared
	made.MountPoints = policy.MakeMountPoints
	bound := policy.Default()
	bound.Bind = []policy.Bind{{Source: "/srv/x", Target: "/etc/hosts"}}
	bind := func(place Place, s Source) map[string]Place {
		place.Sources = map[string]Source{"/srv/x": s}
		return map[string]Place{"/tmp": directory(), "/etc/hosts": place}
	}
	cases := map[string]struct {
		policy policy.Policy
		places map[string]Place
		want   string
	}{
		"no inner target": {func() policy.Policy {
			p := policy.Default()
			p.Private = []policy.Private{target("/tmp"), target("/tmp/build")}
			return p
		}(), map[string]Place{"/tmp": directory(), "/tmp/build": {Err: errors.New("there is no /tmp/build")}}, "there is no /tmp/build"},
		"no target":                      {policy.Default(), map[string]Place{"/tmp": {Err: errors.New("there is no /tmp")}}, "there is no /tmp"},
		"a target that is a file":        {policy.Default(), map[string]Place{"/tmp": {}}, "not a directory"},
		"shared without a mount":         {shared, map[string]Place{"/tmp": directory()}, "not a mount point of its own"},
		"shared, and others can move it": {made, map[string]Place{"/tmp": directory(movable)}, "not a mount point of its own"},
		"a source that is gone":          {bound, bind(directory(file), Source{Err: errors.New("no such file")}), "its source: no such file"},
		"a directory on a file":          {bound, bind(directory(file), Source{Directory: true}), "it is a file and its source /srv/x is a directory"},
		"a bind without target":          {bound, bind(Place{Err: errors.New("no such target")}, Source{}), "no such target"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Make(c.policy, Facts{Subject: alice, Places: c.places})
			var refused *Error
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot make /") {
				t.Errorf("error is %v", err)
			}
			if plan, err := Make(c.policy, Facts{Subject: root, Places: c.places}); err != nil || plan.Way != nil {
				t.Errorf("root: %v, %v", plan, err)
			}
		})
	}
}

// Nobody is let in on another user's directory, and nobody's open session is moved, also
// not for somebody exempt who has to be on the host.
func TestAProcessThatHoldsAnothersSession(t *testing.T) {
	host, bobs := policy.Default(), policy.Default()
	host.ExemptView = policy.HostView
	bobs.Private = []policy.Private{target("/tmp", func(p *policy.Private) { p.For = rules(t, "bob") })}
	for name, c := range map[string]struct {
		policy  policy.Policy
		subject policy.Subject
		place   Place
		refused bool
	}{
		"a user":                      {policy.Default(), alice, directory(others), true},
		"a user without directories":  {bobs, alice, directory(others), true},
		"one that sees nothing of it": {policy.Default(), alice, directory(), true},
		"root, who may be anywhere":   {policy.Default(), root, directory(others), false},
		"root, who is to be outside":  {host, root, directory(others), true},
	} {
		plan, err := Make(c.policy, Facts{Subject: c.subject, Origin: FromOthers, Holds: "bob", Places: map[string]Place{"/tmp": c.place}})
		var held *HeldError
		if errors.As(err, &held) != c.refused || plan.Way != nil {
			t.Errorf("%s: %v, %v", name, plan, err)
		}
		if c.refused && !(strings.Contains(err.Error(), "a session of bob open") && strings.Contains(err.Error(), "add its service to exempt")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
