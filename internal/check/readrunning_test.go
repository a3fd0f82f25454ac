package check

import "testing"

// Processes of services see the host's directories and are none that were left outside of
// a session; a job of cron is one.
func TestIsService(t *testing.T) {
	for cgroups, want := range map[string]bool{
		"0::/user.slice/user-1000.slice/session-3.scope\n":                                              false,
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/some.service\n":                     false,
		"0::/system.slice/web.service\n":                                                                true,
		"0::/system.slice/system-web.slice/web@1.service/worker\n":                                      true,
		"0::/system.slice/cron.service\n":                                                               false,
		"0::/system.slice/docker-0123.scope\n":                                                          false,
		"12:pids:/user.slice\n1:name=systemd:/system.slice/web.service\n0::/system.slice/web.service\n": true,
		"0::/\n": false,
		"":       false,
	} {
		if got := isService(cgroups); got != want {
			t.Errorf("%q: %v, want %v", cgroups, got, want)
		}
	}
}
