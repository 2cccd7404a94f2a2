package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew; only for a new version of the protocol")

const vectorsFile = "../testdata/vectors.json"

// vectors is testdata/vectors.json: what both implementations must make and take, byte by byte.
type vectors struct {
	Key   string       `json:"key"`
	Lines []lineVector `json:"lines"`
	Bad   []badVector  `json:"bad"`
	Claim claimVector  `json:"claim"`
}

type lineVector struct {
	Name     string    `json:"name"`
	Own      Direction `json:"direction"`
	Epoch    uint32    `json:"epoch"`
	Number   uint64    `json:"number"`
	Type     Type      `json:"type"`
	Received uint64    `json:"received"`
	Released uint64    `json:"released"`
	Seq      uint64    `json:"seq"`
	Body     string    `json:"body"`
	Line     string    `json:"line"`
}

type badVector struct {
	Name   string    `json:"name"`
	Reader Direction `json:"reader"`
	Result string    `json:"result"`
	Line   string    `json:"line"`
}

type claimVector struct {
	Claim Claim  `json:"claim"`
	Line  string `json:"line"`
}

var testKey = []byte("0123456789abcdefghijklmnopqrstuv")

func seal(own Direction, f Frame) string {
	return strings.TrimSuffix(string(NewCodec(testKey, own).AppendLine(nil, &f, nil)), "\n")
}

func makeVectors(t *testing.T) vectors {
	v := vectors{Key: hex.EncodeToString(testKey)}
	add := func(name string, own Direction, f Frame) {
		v.Lines = append(v.Lines, lineVector{
			Name: name, Own: own, Epoch: f.Epoch, Number: f.Number, Type: f.Type, Received: f.Received, Released: f.Released, Seq: f.Seq,
			Body: hex.EncodeToString(f.Body), Line: seal(own, f),
		})
	}
	const big = 1<<48 - 1
	add("hello", ToLauncher, Frame{Epoch: 1, Number: 1, Type: Hello})
	add("data", ToLauncher, Frame{Epoch: 1, Number: 2, Type: Data, Seq: 1, Body: []byte("{\"jsonrpc\":\"2.0\"}\n")})
	add("end of input", ToLauncher, Frame{Epoch: 7, Number: 300, Type: EOF, Received: 5, Released: 3, Seq: 260})
	add("signal", ToLauncher, Frame{Epoch: 7, Number: 301, Type: Signal, Received: 5, Released: 5, Seq: 261, Body: []byte{15}})
	add("acknowledgement", ToLauncher, Frame{Epoch: 7, Number: 302, Type: Ack, Received: 70000, Released: 69999})
	add("request to send again", FromLauncher, Frame{Epoch: 7, Number: 9, Type: Nak, Received: 1})
	add("welcome", FromLauncher, Frame{Epoch: 7, Number: 10, Type: Welcome, Received: 12, Released: 11,
		Body: WelcomeBody{StdinMidLine: true, First: 34, Queued: 1088, StdinWindow: 65536, OutputWindow: 131072}.Append(nil)})
	add("stdout with every byte", FromLauncher, Frame{Epoch: 7, Number: 11, Type: Stdout, Received: 12, Released: 12, Seq: 34, Body: everyByte()})
	add("stderr", FromLauncher, Frame{Epoch: 7, Number: 12, Type: Stderr, Seq: 35, Body: []byte("caf\xc3\xa9\n")})
	add("exit by code", FromLauncher, Frame{Epoch: 7, Number: 13, Type: Exit, Seq: 36, Body: ExitBody(Exited, 42, "")})
	add("exit by signal", FromLauncher, Frame{Epoch: 7, Number: 13, Type: Exit, Seq: 36, Body: ExitBody(Signaled, 9, "")})
	add("never started", FromLauncher, Frame{Epoch: 7, Number: 14, Type: Exit, Seq: 1, Body: ExitBody(StartFailed, 127, "cannot start \"x\": no such file or directory")})
	add("fenced", FromLauncher, Frame{Epoch: 8, Number: 15, Type: Fenced})
	add("error", FromLauncher, Frame{Epoch: 8, Number: 16, Type: Error, Body: []byte("a frame that is malformed")})
	add("the largest numbers", ToLauncher, Frame{Epoch: 1<<32 - 1, Number: big, Type: Data, Received: big, Released: big, Seq: big, Body: []byte{0}})
	add("an unknown type without a number", FromLauncher, Frame{Epoch: 1, Number: 1, Type: 0x7f, Body: []byte("later")})

	bad := func(name string, reader Direction, result, line string) {
		v.Bad = append(v.Bad, badVector{name, reader, result, line})
	}
	good := seal(ToLauncher, Frame{Epoch: 3, Number: 4, Type: Data, Seq: 1, Body: []byte("x\n")})
	bad("empty", FromLauncher, "bad", "")
	bad("noise", FromLauncher, "bad", "npm warn deprecated something")
	bad("the reader's own direction", ToLauncher, "bad", good)
	bad("first half", FromLauncher, "bad", good[:len(good)/2])
	bad("second half", FromLauncher, "bad", good[len(good)/2:])
	bad("two writers in one line", FromLauncher, "bad", good[:20]+good)
	bad("one digit changed", FromLauncher, "bad", good[:40]+flip(good[40])+good[41:])
	bad("another epoch in the envelope", FromLauncher, "bad", good[:8]+flip(good[8])+good[9:])
	bad("another version", FromLauncher, "bad", "Ag"+good[2:])
	bad("a numbered frame numbered 0", FromLauncher, "malformed", seal(ToLauncher, Frame{Epoch: 3, Number: 5, Type: Data, Body: []byte("x")}))
	bad("more released than received", FromLauncher, "malformed", seal(ToLauncher, Frame{Epoch: 3, Number: 6, Type: Ack, Received: 1, Released: 2}))
	bad("a body over the bound", FromLauncher, "malformed", seal(ToLauncher, Frame{Epoch: 3, Number: 7, Type: Data, Seq: 1, Body: make([]byte, MaxBody+1)}))

	v.Claim.Claim = Claim{
		Key: testKey, Epoch: 5, Argv: []string{"forgejo-mcp", "--transport", "stdio"},
		Env:    map[string]string{"FORGEJO_URL": "http://10.0.0.1:3000", "NAME": "Zoë ☃"},
		Cwd:    "/data",
		Files:  map[string]string{"/dev/shm/forgejo-mcp-operator/ca.crt": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"},
		Limits: Limits{StdinWindow: 524288, OutputWindow: 524288, PodGraceMs: 3000, LingerMs: 60000},
	}
	line, err := v.Claim.Claim.AppendLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	v.Claim.Line = strings.TrimSuffix(string(line), "\n")
	return v
}

func everyByte() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func readVectors(t testing.TB) vectors {
	text, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVectorsAreWhatThisImplementationMakes(t *testing.T) {
	made := makeVectors(t)
	if *update {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(made); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsFile, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := readVectors(t); !reflect.DeepEqual(got, made) {
		t.Error("testdata/vectors.json differs: bytes on the wire have changed")
	}
}

func TestVectorsOpen(t *testing.T) {
	v := readVectors(t)
	for _, one := range v.Lines {
		var f Frame
		reader := ToLauncher
		if one.Own == ToLauncher {
			reader = FromLauncher
		}
		if err := NewCodec(testKey, reader).OpenLine([]byte(one.Line), &f); err != nil {
			t.Errorf("%s: %v", one.Name, err)
			continue
		}
		got := lineVector{one.Name, one.Own, f.Epoch, f.Number, f.Type, f.Received, f.Released, f.Seq, hex.EncodeToString(f.Body), one.Line}
		if got != one {
			t.Errorf("%s: got %+v", one.Name, got)
		}
	}
	results := map[string]error{"bad": ErrSeal, "malformed": ErrMalformed}
	for _, one := range v.Bad {
		var f Frame
		if err := NewCodec(testKey, one.Reader).OpenLine([]byte(one.Line), &f); err != results[one.Result] {
			t.Errorf("%s: got %v", one.Name, err)
		}
	}
	claim, err := ParseClaim([]byte(v.Claim.Line))
	if err != nil || !reflect.DeepEqual(*claim, v.Claim.Claim) {
		t.Errorf("claim: %+v, %v", claim, err)
	}
}
