package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/spf13/cobra"

	"gotmpns/internal/config"
	"gotmpns/internal/session"
	"gotmpns/internal/trial"
	"gotmpns/internal/wire"
)

// modulePath is where the module is installed; the Makefile says it.
var modulePath = "/usr/lib/security/pam_gotmpns.so"

// Namespaces belong to threads, and a session to the thread that its process
// began with: that is what others see of it in /proc/PID. An init function is
// what makes the main goroutine stay there.
func init() { runtime.LockOSThread() }

// trialFlags are the options of the subcommands that open sessions by themselves.
type trialFlags struct{ module, worker, config, service string }

func (t *trialFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&t.module, "module", "", "use the module `FILE` instead of "+modulePath)
	flags.StringVar(&t.worker, "worker", "", "let the module use the worker `FILE`")
	flags.StringVar(&t.config, "config", "", "use the configuration `FILE` instead of "+config.DefaultPath)
	flags.StringVar(&t.service, "service", "", "open it as the PAM service `NAME`, for rules that look at it (default "+trial.Service+")")
	_ = cmd.RegisterFlagCompletionFunc("service", services)
}

// open opens a session; where that fails, the module has said why in the log
// only, so the same question is asked again where the answer can be read.
func (t *trialFlags) open(u *user.User) (*trial.Session, error) {
	stack := trial.Stack{Service: t.service, Module: cmp.Or(t.module, modulePath)}
	for _, path := range []struct {
		from string
		to   *string
	}{{stack.Module, &stack.Module}, {t.worker, &stack.Worker}, {t.config, &stack.Config}} {
		if path.from == "" {
			continue
		}
		absolute, err := filepath.Abs(path.from)
		if err != nil {
			return nil, fmt.Errorf("cannot find %s: %w", path.from, err)
		}
		*path.to = absolute
	}
	s, err := trial.Open(u.Username, stack)
	if err == nil {
		return s, nil
	}
	if refusal := (*trial.Refusal)(nil); !errors.As(err, &refusal) {
		return nil, err
	}
	if e, cause := t.explain(u); cause == nil && e.Err != nil {
		return nil, hinted(fmt.Errorf("cannot open a session of %s: %w", printable(u.Username), e.Err),
			fmt.Sprintf("%q says more", "gotmpns check --user "+u.Username))
	}
	return nil, hinted(err, "the module says why in the log: journalctl -t gotmpns, or /var/log/auth.log")
}

// explain says what the module would do for a login of the user.
func (t *trialFlags) explain(u *user.User) (session.Explanation, error) {
	request, err := requestOf(u, cmp.Or(t.service, trial.Service), cmp.Or(t.config, config.DefaultPath))
	if err != nil {
		return session.Explanation{}, err
	}
	return session.Explain(request)
}

// requestOf is what the module would ask for a login.
func requestOf(u *user.User, service, config string) (wire.Request, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return wire.Request{}, fmt.Errorf("cannot use the uid %q of %s: %w", u.Uid, u.Username, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return wire.Request{}, fmt.Errorf("cannot use the gid %q of %s: %w", u.Gid, u.Username, err)
	}
	config, err = filepath.Abs(config)
	return wire.Request{
		UID: uint32(uid), GID: uint32(gid), User: u.Username, Shell: shellOf(u.Username),
		Service: service, Config: config,
	}, err
}

// whyNothing says why a session of the user has nothing private.
func (t *trialFlags) whyNothing(u *user.User) string {
	if e, err := t.explain(u); err == nil && e.Err == nil {
		return e.Plan.Outcome
	}
	return "the log says why"
}
