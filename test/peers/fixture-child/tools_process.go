package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// sleeperVariable, when set, makes the program a sleeper instead of a server: "MS" sleeps, "fork:MS" leaves a sleeper behind and exits.
const sleeperVariable = "FIXTURE_SLEEPER"

func init() {
	tools["exit"] = tool{"Exits with that code; answers first if told so.", `"code":{"type":"integer"},"answer":{"type":"boolean"}`, exit}
	tools["crash"] = tool{"Panics (exit code 2 and a stack trace on stderr), or dies of that signal.", `"signal":{"type":"integer"}`, crash}
	tools["oom"] = tool{"Takes that many MiB of memory and holds them, or dies trying.", `"mib":{"type":"integer"}`, oom}
	tools["env"] = tool{"Tells the environment.", ``, func(*call) (json.RawMessage, error) {
		variables := map[string]string{}
		for _, pair := range os.Environ() {
			name, value, _ := strings.Cut(pair, "=")
			variables[name] = value
		}
		return jsonResult(variables), nil
	}}
	tools["pid"] = tool{"Tells pid, parent, process group, user, arguments and working directory.", ``, func(*call) (json.RawMessage, error) {
		directory, _ := os.Getwd()
		return jsonResult(map[string]any{
			"pid": os.Getpid(), "ppid": os.Getppid(), "pgid": syscall.Getpgrp(), "uid": os.Getuid(), "gid": os.Getgid(),
			"argv": os.Args, "cwd": directory,
		}), nil
	}}
	tools["orphan"] = tool{
		"Leaves a process behind that has lost its parent and sleeps; tells its pid. With session it leaves the process group too.",
		`"ms":{"type":"integer"},"session":{"type":"boolean"}`, orphan,
	}
}

func exit(c *call) (json.RawMessage, error) {
	var wanted struct {
		Code   int
		Answer bool
	}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	if !wanted.Answer {
		os.Exit(wanted.Code)
	}
	// The answer leaves by the ordinary way; the exit follows once nothing is in flight.
	go func() {
		c.drain()
		os.Exit(wanted.Code)
	}()
	return textResult(fmt.Sprintf("exiting with %d", wanted.Code)), nil
}

func crash(c *call) (json.RawMessage, error) {
	var wanted struct{ Signal int }
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	if wanted.Signal == 0 {
		panic("fixture-child was told to crash")
	}
	if err := syscall.Kill(os.Getpid(), syscall.Signal(wanted.Signal)); err != nil {
		return nil, err
	}
	return nil, c.sleep(time.Second)
}

// hoard keeps what oom took, so that the collector cannot give it back.
var hoard [][]byte

func oom(c *call) (json.RawMessage, error) {
	wanted := struct{ Mib int }{1 << 20}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	for range wanted.Mib {
		block := make([]byte, 1<<20)
		// Only touched pages count.
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		c.mu.Lock()
		hoard = append(hoard, block)
		c.mu.Unlock()
	}
	return textResult(fmt.Sprintf("holding %d MiB", wanted.Mib)), nil
}

func orphan(c *call) (json.RawMessage, error) {
	wanted := struct {
		Ms      int
		Session bool
	}{Ms: 60_000}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	middle := exec.Command("/proc/self/exe")
	middle.Env = append(os.Environ(), fmt.Sprintf("%s=fork:%d", sleeperVariable, wanted.Ms))
	middle.SysProcAttr = &syscall.SysProcAttr{Setsid: wanted.Session}
	pid, err := middle.Output()
	if err != nil {
		return nil, err
	}
	return textResult(strings.TrimSpace(string(pid))), nil
}

// sleeper is the program in its other part: see sleeperVariable.
func sleeper(mode string) {
	duration, fork := strings.CutPrefix(mode, "fork:")
	if !fork {
		time.Sleep(time.Duration(number(duration)) * time.Millisecond)
		return
	}
	left := exec.Command("/proc/self/exe")
	left.Env = append(os.Environ(), sleeperVariable+"="+duration)
	if err := left.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "fixture-child:", err)
		os.Exit(1)
	}
	fmt.Println(left.Process.Pid)
}
