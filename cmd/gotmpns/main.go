// Command gotmpns shows, tries, checks and enters the private /tmp of logins;
// see [gotmpns/internal/cli].
package main

import (
	"os"

	"gotmpns/internal/cli"
)

func main() {
	if status, was := cli.Stage(os.Args, os.Stderr); was {
		os.Exit(status)
	}
	cli.HandOver(os.Args)
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
