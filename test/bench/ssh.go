package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A hundred people at sshd's door of a whole system (test/host/boot): what PAM's
// session costs there beside all else that a login does.
const (
	people    = 100
	sshRounds = 3
)

// sshVariants are lines of common-session, both files.
var sshVariants = []struct{ title, line, namespace string }{
	{title: "no module", line: ""},
	{title: "pam_namespace as shipped", line: "session required pam_namespace.so", namespace: "/tmp " + namespaceParent + "/ user root\n"},
	{title: "pam_namespace `noinit`", line: "session required pam_namespace.so", namespace: "/tmp " + namespaceParent + "/ user:noinit root\n"},
	{title: "pam_gotmpns", line: "session required pam_gotmpns.so"},
}

// benchSSH returns its part of the report.
func benchSSH() (string, error) {
	if err := makePeople(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(namespaceParent, 0); err != nil {
		return "", err
	}
	seconds := make([][]float64, len(sshVariants))
	for round := -1; round < sshRounds; round++ { // the first makes the directories
		for _, i := range rand.Perm(len(sshVariants)) {
			v := sshVariants[i]
			if err := os.WriteFile(namespaceConf, []byte(v.namespace), 0o644); err != nil {
				return "", err
			}
			if err := setStacks(v.line); err != nil {
				return "", err
			}
			took, err := everybodyIn()
			if err != nil {
				return "", fmt.Errorf("%s: %w", v.title, err)
			}
			if round >= 0 {
				seconds[i] = append(seconds[i], took)
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %d people log in by ssh at once\n\n"+
		"A whole system (%s) with systemd as pid 1: until all are in, each with a shell; the median of %d rounds.\n"+
		"sshd's own work and a user manager for each take most of it.\n\n"+
		"| | seconds | logins per second |\n|---|---:|---:|\n", people, os.Getenv("GOTMPNS_SUITE"), sshRounds)
	for i, v := range sshVariants {
		took := quantile(seconds[i], 0.5)
		fmt.Fprintf(&b, "| %s | %.1f | %.1f |\n", v.title, took, people/took)
	}
	return b.String(), nil
}

func makePeople() error {
	key, err := os.ReadFile("/root/.ssh/id_test.pub")
	if err != nil {
		return err
	}
	files := map[string]string{"passwd": "%[1]s:x:%[2]d:%[2]d::/home/%[1]s:/bin/sh\n", "shadow": "%[1]s:*:19000:0:99999:7:::\n", "group": "%[1]s:x:%[2]d:\n"}
	for name, format := range files {
		f, err := os.OpenFile("/etc/"+name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		for i := range people {
			if name == "shadow" {
				fmt.Fprintf(f, format, person(i))
			} else {
				fmt.Fprintf(f, format, person(i), 5000+i)
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	for i := range people {
		dir := "/home/" + person(i) + "/.ssh"
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(dir+"/authorized_keys", key, 0o644); err != nil {
			return err
		}
		if err := os.Chown("/home/"+person(i), 5000+i, 5000+i); err != nil {
			return err
		}
	}
	return nil
}

func person(i int) string { return fmt.Sprintf("person%d", i) }

func setStacks(line string) error {
	for _, name := range []string{"common-session", "common-session-noninteractive"} {
		path := filepath.Join("/etc/pam.d", name)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var kept strings.Builder
		for old := range strings.Lines(string(text)) {
			if !strings.Contains(old, "pam_gotmpns.so") && !strings.Contains(old, "pam_namespace.so") {
				kept.WriteString(old)
			}
		}
		if err := os.WriteFile(path, []byte(kept.String()+line+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// everybodyIn returns the seconds until everybody is in, and sees them out.
func everybodyIn() (float64, error) {
	var inputs []io.Closer
	var outputs []io.Reader
	var commands []*exec.Cmd
	began := time.Now()
	for i := range people {
		cmd := exec.Command("ssh", "-q", "-i", "/root/.ssh/id_test", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			"-o", "BatchMode=yes", person(i)+"@127.0.0.1", "echo in; cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			return 0, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return 0, err
		}
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		inputs, outputs, commands = append(inputs, in), append(outputs, out), append(commands, cmd)
	}
	for i, out := range outputs {
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			return 0, fmt.Errorf("%s did not get in: %q: %w", person(i), line, err)
		}
	}
	took := time.Since(began).Seconds()
	for i := range inputs {
		inputs[i].Close()
		if err := commands[i].Wait(); err != nil {
			return 0, err
		}
	}
	// The next round begins as this one did: without user managers.
	return took, exec.Command("systemctl", "stop", "user-*.slice").Run()
}
