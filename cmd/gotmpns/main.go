// Command gotmpns shows, tries, checks and enters the private /tmp of logins;
// see [gotmpns/internal/cli].
package main

import (
	"os"

	"gotmpns/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
