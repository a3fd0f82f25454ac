// Command gotmpns-run is "gotmpns run", see [gotmpns/internal/runcli]. The program in PATH
// (c/front.c) executes it.
package main

import (
	"os"

	"gotmpns/internal/runcli"
)

func main() { os.Exit(runcli.Main(os.Args, os.Stderr)) }
