package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"forgejo-mcp-operator/launcher/wire"
)

var testKey = []byte("0123456789abcdefghijklmnopqrstuv")

// binary builds the launcher as it ships, in a folder that every user may read.
func binary(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fmo-launcher-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	if out, err := exec.Command("./build.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "launcher")
}

// peer is a gateway that trusts its pipes: it acknowledges everything at once and never repeats.
type peer struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  *wire.Lines
	codec  *wire.Codec
	number uint64
	seq    uint64
	got    uint64
	freed  uint64 // the launcher has released our frames up to here
	line   []byte
}

// claim starts a child in a launcher that the command runs.
func claim(t testing.TB, command []string, env map[string]string, argv ...string) *peer {
	t.Helper()
	p := &peer{t: t, cmd: exec.Command(command[0], command[1:]...), codec: wire.NewCodec(testKey, wire.ToLauncher)}
	p.stdin, _ = p.cmd.StdinPipe()
	stdout, _ := p.cmd.StdoutPipe()
	p.cmd.Stderr = os.Stderr
	p.lines = wire.NewLines(stdout, wire.MaxLine)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	c := wire.Claim{Key: testKey, Epoch: 1, Argv: argv, Env: env, Limits: wire.Limits{
		StdinWindow: 512 * 1024, OutputWindow: 512 * 1024, PodGraceMs: 1000, LingerMs: 5000,
	}}
	line, err := c.AppendLine([]byte("\n"))
	if err != nil {
		t.Fatal(err)
	}
	p.stdin.Write(line)
	p.say(wire.Hello, nil)
	for p.next().Type != wire.Welcome {
	}
	return p
}

func (p *peer) say(kind wire.Type, body []byte) {
	f := wire.Frame{Epoch: 1, Type: kind, Received: p.got, Released: p.got, Body: body}
	if kind.Numbered() {
		p.seq++
		f.Seq = p.seq
	}
	p.number++
	f.Number = p.number
	p.line = p.codec.AppendLine(p.line[:0], &f, nil)
	p.stdin.Write(p.line)
}

// next returns the next frame; its body is valid until the following call.
func (p *peer) next() wire.Frame {
	for {
		line, _, err := p.lines.Next()
		if err != nil {
			p.t.Fatal("the launcher's output ended: ", err)
		}
		var f wire.Frame
		if err := p.codec.OpenLine(line, &f); err != nil {
			p.t.Fatalf("%v: %q", err, line)
		}
		p.freed = max(p.freed, f.Released)
		if f.Type.Numbered() {
			if f.Seq <= p.got {
				continue
			}
			p.got = f.Seq
		}
		return f
	}
}

// output returns the next bytes of stdout.
func (p *peer) output() []byte {
	for {
		switch f := p.next(); f.Type {
		case wire.Stdout:
			return f.Body
		case wire.Exit:
			p.t.Fatal("the child has ended")
		case wire.Stderr:
			os.Stderr.Write(f.Body)
		}
	}
}

// all returns stdout and the exit's body.
func (p *peer) all() (string, []byte) {
	var out bytes.Buffer
	for {
		switch f := p.next(); f.Type {
		case wire.Stdout:
			out.Write(f.Body)
			p.say(wire.Ack, nil)
		case wire.Stderr:
			os.Stderr.Write(f.Body)
		case wire.Exit:
			p.say(wire.Ack, nil)
			return out.String(), bytes.Clone(f.Body)
		}
	}
}

// status returns a figure in kB from the launcher's /proc/PID/status.
func (p *peer) status(name string) (kilobytes int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	fmt.Sscan(rest, &kilobytes)
	return kilobytes
}

// exitCode waits for the launcher's end.
func (p *peer) exitCode() int {
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		p.t.Fatal("the launcher lives on")
	}
	return p.cmd.ProcessState.ExitCode()
}
