package state

import (
	"fmt"
	"strconv"

	"gotmpns/internal/proc"
)

// initialPIDNamespace is the number of the one that sees every process (PROC_PID_INIT_INO
// in the kernel's proc_ns.h, the same since Linux 3.8).
const initialPIDNamespace = 0xEFFFFFFC

// recordProcesses records the PID namespace of the first login since boot, for
// [Dir.SeesProcesses]. Without that record nothing is refused, so an error is no reason to
// refuse the login.
func (d *Dir) recordProcesses() {
	if number, err := proc.PIDNamespace(); err == nil {
		_ = d.writeFirst("processes", "namespace", fields{{"NUMBER", strconv.FormatUint(number, 10)}})
	}
}

// SeesProcesses returns an error where /proc may not show the processes of all sessions:
// in a PID namespace below that of the logins, each session looks as if it had ended, and
// each directory as if nobody used it (pid_namespaces(7)).
func (d *Dir) SeesProcesses() error {
	number, err := proc.PIDNamespace()
	if err != nil {
		return err
	}
	recorded := d.read("processes", "namespace").number("NUMBER")
	if recorded == 0 || recorded == number || number == initialPIDNamespace {
		return nil
	}
	return fmt.Errorf("cannot see the processes of all sessions: this PID namespace is not that of the first login; "+
		"run this where logins run, and if that is here, remove %s/processes before", Path)
}
