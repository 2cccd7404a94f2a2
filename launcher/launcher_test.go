package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"forgejo-mcp-operator/launcher/wire"
)

const (
	sizeLimit = 3_000_000
	// The stated bound is 5 MiB and the buffers; both windows here are 512 KiB.
	residentLimit = 5*1024 + 2*512
)

func TestMain(m *testing.M) {
	if os.Getenv("FMO_TEST_CHILD") != "" {
		attack()
		return
	}
	os.Exit(m.Run())
}

func TestTheBinaryIsSmallAndStatic(t *testing.T) {
	path := binary(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() >= sizeLimit {
		t.Errorf("%d bytes, the limit is %d", info.Size(), sizeLimit)
	}
	content, _ := os.ReadFile(path)
	if bytes.Contains(content, []byte("ld-linux")) {
		t.Error("it is not static")
	}
	again, _ := os.ReadFile(binary(t))
	if !bytes.Equal(content, again) {
		t.Error("the same source gave other bytes")
	}
}

func TestResidentMemoryAfterTraffic(t *testing.T) {
	p := claim(t, []string{binary(t)}, nil, "/bin/cat")
	idle := p.status("VmRSS")
	chunk := append(bytes.Repeat([]byte("x"), 16*1024-1), '\n')
	const total = 4096 // 64 MiB each way
	returned := 0
	for sent := 0; sent < total; sent++ {
		p.say(wire.Data, chunk)
		for returned < (sent-8)*len(chunk) {
			returned += len(p.output())
		}
	}
	for returned < total*len(chunk) {
		returned += len(p.output())
	}
	used, most := p.status("VmRSS"), p.status("VmHWM")
	t.Logf("resident: %d kB idle, %d kB after 64 MiB each way, %d kB at most", idle, used, most)
	if most > residentLimit {
		t.Errorf("%d kB resident, the limit is %d", most, residentLimit)
	}
}

func TestInstallCopiesTheProgramIntoAFolderOrToAName(t *testing.T) {
	path := binary(t)
	want, _ := os.ReadFile(path)
	dir := t.TempDir()
	for _, dest := range []string{dir, filepath.Join(dir, "other")} {
		if out, err := exec.Command(path, "install", dest).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for _, name := range []string{"launcher", "other"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
		if info, _ := os.Stat(filepath.Join(dir, name)); info.Mode().Perm() != 0o555 {
			t.Errorf("%s: %v", name, info.Mode())
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("%v", entries)
	}
	out, err := exec.Command(path, "install", "/no/such/folder/launcher").CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != exitIO || !strings.Contains(string(out), "/no/such/folder") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestVersionAndUsage(t *testing.T) {
	path := binary(t)
	if out, err := exec.Command(path, "version").Output(); err != nil || string(out) != "launcher protocol 1\n" {
		t.Errorf("%q, %v", out, err)
	}
	for _, args := range [][]string{{"help"}, {"install"}, {"install", "a", "b"}, {"version", "x"}} {
		out, err := exec.Command(path, args...).CombinedOutput()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != exitUsage || string(out) != usage {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
}

func BenchmarkEcho(b *testing.B) {
	message := []byte("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n")
	b.Run("bare", func(b *testing.B) {
		cmd := exec.Command("/bin/cat")
		stdin, _ := cmd.StdinPipe()
		stdout, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		defer cmd.Wait()
		defer stdin.Close()
		buf := make([]byte, 4096)
		for b.Loop() {
			stdin.Write(message)
			stdout.Read(buf)
		}
	})
	b.Run("launcher", func(b *testing.B) {
		p := claim(b, []string{binary(b)}, nil, "/bin/cat")
		for b.Loop() {
			p.say(wire.Data, message)
			p.output()
		}
	})
}
