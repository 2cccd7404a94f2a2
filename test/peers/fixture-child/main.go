// fixture-child is an MCP server over stdio for tests: it does on demand what real children do seldom or by accident.
//
// It speaks the revisions 2024-11-05 to 2025-11-25, answers calls side by side, and keeps every string byte for byte. Its tools are in
// the tools_*.go files; `tools/list` describes them.
//
// FIXTURE_START, a comma-separated list, gives faults of the process itself:
//
//	crash         write to stderr and exit 1 before a word is read
//	exit:CODE     the same, silently, with that code
//	hang          never read stdin, never answer, stay alive
//	slow:MS       wait that many milliseconds before the first read
//	noise         print lines that are not JSON-RPC to stdout, and colours to stderr, before the first read
//	ignore-eof    stay alive after the end of stdin
//	ignore-term   stay alive after SIGTERM
//	annotate      no fault: say of each tool whether it only reads; all do but `writefile`
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startFaults are the faults named by FIXTURE_START.
type startFaults struct {
	ignoreEOF  bool
	ignoreTerm bool
}

func main() {
	if mode := os.Getenv(sleeperVariable); mode != "" {
		sleeper(mode)
		return
	}
	faults := applyStartFaults(os.Getenv("FIXTURE_START"))

	ctx, stop := context.WithCancel(context.Background())
	server := newServer(os.Stdout)
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	if faults.ignoreTerm {
		signal.Ignore(syscall.SIGTERM)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.read(ctx, bufio.NewReaderSize(os.Stdin, 64<<10)) }()

	select {
	case <-terminated:
	case err := <-ended:
		if err != nil && !errors.Is(err, io.EOF) {
			fmt.Fprintln(os.Stderr, "fixture-child: stdin:", err)
		}
		if faults.ignoreEOF {
			<-terminated
		}
	}
	// As forgejo-mcp does: what is in flight is answered first; what waits for somebody else is given up.
	stop()
	server.drain()
}

// applyStartFaults obeys the comma-separated list, and returns the faults that show only later.
func applyStartFaults(list string) startFaults {
	var faults startFaults
	for _, fault := range strings.Split(list, ",") {
		name, argument, _ := strings.Cut(fault, ":")
		switch name {
		case "":
		case "crash":
			fmt.Fprintln(os.Stderr, "\x1b[31mFATA\x1b[0m fixture-child was told to crash at its start")
			os.Exit(1)
		case "exit":
			os.Exit(number(argument))
		case "hang":
			// A sleeping goroutine besides keeps the runtime from calling this a deadlock.
			go func() { time.Sleep(1 << 62) }()
			select {}
		case "slow":
			time.Sleep(time.Duration(number(argument)) * time.Millisecond)
		case "noise":
			fmt.Println("fixture-child is starting\n{\"not\": \"a message\"}\n[]\n\n{broken")
			fmt.Fprintln(os.Stderr, "\x1b[32mINFO\x1b[0m fixture-child is starting")
		case "ignore-eof":
			faults.ignoreEOF = true
		case "ignore-term":
			faults.ignoreTerm = true
		case "annotate":
			annotated = true
		default:
			fmt.Fprintln(os.Stderr, "fixture-child: no such start fault:", name)
			os.Exit(64)
		}
	}
	return faults
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fixture-child: not a number:", text)
		os.Exit(64)
	}
	return value
}
