// Package child runs the one program of a session's container, in a process group of its own, and does the duties of PID 1.
package child

import (
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"

	"forgejo-mcp-operator/launcher/wire"
)

// defaultPath is where a program without a slash is looked for when the claim's environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Process is a started child. Its three files belong to the caller.
type Process struct {
	Pid    int
	Stdin  *os.File
	Stdout *Output
	Stderr *Output

	mu    sync.Mutex
	ended bool
}

// StartError says why a child never ran. Code is what a shell would exit with: 127 for a program that is not there, 126 for one that
// cannot be run.
type StartError struct {
	Code byte
	Text string
}

func (e *StartError) Error() string { return e.Text }

// Start runs the claim's program with the claim's environment and nothing else. It fails with a StartError.
func Start(claim *wire.Claim) (*Process, error) {
	env := make([]string, 0, len(claim.Env))
	for name, value := range claim.Env {
		env = append(env, name+"="+value)
	}
	path, err := lookUp(claim.Argv[0], claim.Env["PATH"])
	if err != nil {
		return nil, startError(claim, err)
	}
	if err := writeFiles(claim.Files); err != nil {
		return nil, &StartError{Code: 126, Text: err.Error()}
	}
	var ends [6]int // stdin, stdout, stderr: read end, write end
	made := 0
	defer func() {
		for _, fd := range ends[:made] {
			if fd >= 0 {
				syscall.Close(fd)
			}
		}
	}()
	for ; made < len(ends); made += 2 {
		if err := syscall.Pipe2(ends[made:made+2], syscall.O_CLOEXEC); err != nil {
			return nil, startError(claim, err)
		}
	}
	pid, err := syscall.ForkExec(path, claim.Argv, &syscall.ProcAttr{
		Dir:   claim.Cwd,
		Env:   env,
		Files: []uintptr{uintptr(ends[0]), uintptr(ends[3]), uintptr(ends[5])},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return nil, startError(claim, err)
	}
	take := func(i int) int {
		fd := ends[i]
		ends[i] = -1
		syscall.SetNonblock(fd, true)
		return fd
	}
	return &Process{
		Pid:    pid,
		Stdin:  os.NewFile(uintptr(take(1)), "stdin"),
		Stdout: newOutput(take(2), "stdout"),
		Stderr: newOutput(take(4), "stderr"),
	}, nil
}

// lookUp finds the program as execvp(3) does.
func lookUp(program, path string) (string, error) {
	if strings.Contains(program, "/") {
		return program, nil
	}
	if path == "" {
		path = defaultPath
	}
	found := error(syscall.ENOENT)
	for _, dir := range strings.Split(path, ":") {
		if dir == "" {
			dir = "."
		}
		name := dir + "/" + program
		info, err := os.Stat(name)
		if err != nil || info.IsDir() {
			continue
		}
		if info.Mode()&0o111 != 0 {
			return name, nil
		}
		found = syscall.EACCES
	}
	return "", found
}

func startError(claim *wire.Claim, err error) error {
	code := byte(126)
	var errno syscall.Errno
	if errors.As(err, &errno) && errno == syscall.ENOENT {
		code = 127
	}
	what := "cannot start \"" + claim.Argv[0] + "\""
	if claim.Cwd != "" {
		what += " in \"" + claim.Cwd + "\""
	}
	return &StartError{Code: code, Text: what + ": " + err.Error()}
}
