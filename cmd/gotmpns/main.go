// Command gotmpns shows, tries, checks and enters the private /tmp of logins;
// see [gotmpns/internal/cli]. It is installed as gotmpns-full, which the program in PATH
// (c/front.c) executes for all subcommands but "run".
package main

import (
	"os"

	"gotmpns/internal/cli"
)

func main() {
	if status, was := cli.Stage(os.Args, os.Stderr); was {
		os.Exit(status)
	}
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
