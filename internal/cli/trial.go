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
	flags.StringVar(&t.config, "config", "", "use the configuration `FILE` instead of the one in place")
	flags.StringVar(&t.service, "service", "", "open it as the PAM service `NAME`, for rules that look at it (default "+trial.Service+")")
	_ = cmd.RegisterFlagCompletionFunc("service", services)
}

// open opens a session; an error has the module's own reason.
func (t *trialFlags) open(u *user.User) (*trial.Session, error) {
	stack := trial.Stack{Service: t.service, Module: cmp.Or(t.module, modulePath)}
	for _, path := range []struct {
		from string
		to   *string
	}{{stack.Module, &stack.Module}, {t.worker, &stack.Worker}} {
		if path.from == "" {
			continue
		}
		absolute, err := filepath.Abs(path.from)
		if err != nil {
			return nil, fmt.Errorf("cannot find %s: %w", path.from, err)
		}
		*path.to = absolute
	}
	var err error
	if stack.Config, err = configFile(t.config); err != nil {
		return nil, err
	}
	if inPlace := configOfService(cmp.Or(t.service, usualService)); t.config == "" && inPlace != config.DefaultPath {
		stack.Config = inPlace
	}
	s, err := trial.Open(u.Username, stack)
	if err == nil {
		return s, nil
	}
	if refusal := (*trial.Refusal)(nil); !errors.As(err, &refusal) {
		return nil, err
	}
	return nil, hinted(err, fmt.Sprintf("\"%s\" shows every rule and what a login would do", t.checkCommand(u)))
}

// checkCommand is what explains the same login.
func (t *trialFlags) checkCommand(u *user.User) string {
	command := "gotmpns check --user " + u.Username
	if t.service != "" {
		command += " --service " + t.service
	}
	if t.config != "" {
		command += " --config " + quoted(t.config)
	}
	return command
}

// requestOf is what the module would ask for a login.
func requestOf(u *user.User, service, config string) (wire.Request, error) {
	return requestWith(u, shellOf(u.Username), service, config)
}

func requestWith(u *user.User, shell, service, config string) (wire.Request, error) {
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
		UID: uint32(uid), GID: uint32(gid), User: u.Username, Shell: shell, Home: u.HomeDir,
		Service: service, Config: config,
	}, err
}

// whyNothing says why a session has nothing private.
func whyNothing(s *trial.Session) string { return cmp.Or(s.Logged, "the log says why") }
