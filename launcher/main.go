// launcher is PID 1 in a session's container. It waits for a claim on stdin, runs the child that the claim names, and carries the child's
// three streams in sealed, numbered, acknowledged frames. See docs/launcher-protocol.md.
//
//	launcher              waits for a claim
//	launcher install DEST copies this program to DEST (a file, or a folder), for an init container
//	launcher version      prints the protocol's version
package main

import (
	"os"
	"strconv"

	"forgejo-mcp-operator/launcher/wire"
)

// Exit codes of its own, from sysexits.h; any other is the child's.
const (
	exitUsage    = 64 // EX_USAGE
	exitRefused  = 65 // EX_DATAERR: a claim that cannot be served
	exitInternal = 70 // EX_SOFTWARE: the container is not as it must be, or stdout is gone
	exitIO       = 74 // EX_IOERR: install failed
	exitProtocol = 76 // EX_PROTOCOL: the gateway broke the protocol
	exitUnused   = 0  // ended before any claim
)

const usage = "usage: launcher | launcher install DEST | launcher version\n"

func main() {
	os.Exit(command(os.Args[1:]))
}

func command(args []string) int {
	switch {
	case len(args) == 0:
		return run()
	case len(args) == 2 && args[0] == "install":
		if err := install(args[1]); err != nil {
			os.Stderr.WriteString("launcher: " + err.Error() + "\n")
			return exitIO
		}
		return 0
	case len(args) == 1 && args[0] == "version":
		os.Stdout.WriteString("launcher protocol " + strconv.Itoa(wire.Version) + "\n")
		return 0
	}
	os.Stderr.WriteString(usage)
	return exitUsage
}
