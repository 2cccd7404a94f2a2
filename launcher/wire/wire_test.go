package wire

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestALineTornAtAnyByteFailsItsSeal(t *testing.T) {
	writer, reader := NewCodec(testKey, FromLauncher), NewCodec(testKey, ToLauncher)
	first := writer.AppendLine(nil, &Frame{Epoch: 1, Number: 1, Type: Stdout, Seq: 1, Body: []byte("some output\n")}, nil)
	second := writer.AppendLine(nil, &Frame{Epoch: 1, Number: 2, Type: Stdout, Seq: 2, Body: []byte("more output\n")}, nil)
	first, second = first[:len(first)-1], second[:len(second)-1]
	var f Frame
	for i := 1; i < len(first); i++ {
		for name, line := range map[string][]byte{
			"its beginning":              first[:i],
			"its end":                    first[i:],
			"glued to the next":          append(bytes.Clone(first[:i]), second...),
			"one byte changed":           append(append(bytes.Clone(first[:i]), first[i]^1), first[i+1:]...),
			"another line's in the rest": append(bytes.Clone(first[:i]), second[min(i, len(second)):]...),
		} {
			if bytes.Equal(line, first) || bytes.Equal(line, second) {
				continue
			}
			if err := reader.OpenLine(line, &f); err != ErrSeal {
				t.Fatalf("%s at %d: %v", name, i, err)
			}
		}
	}
}

func TestNoLineIsLongerThanTheBound(t *testing.T) {
	line := NewCodec(testKey, ToLauncher).AppendLine(nil, &Frame{Epoch: 1<<32 - 1, Number: max48, Type: Data, Seq: max48, Body: make([]byte, MaxBody)}, nil)
	if len(line) > MaxLine {
		t.Errorf("%d bytes", len(line))
	}
}

func TestABodyInTwoPartsIsOneBody(t *testing.T) {
	f := Frame{Epoch: 1, Number: 1, Type: Data, Seq: 1, Body: []byte("one ")}
	line := NewCodec(testKey, ToLauncher).AppendLine(nil, &f, []byte("two"))
	var got Frame
	if err := NewCodec(testKey, FromLauncher).OpenLine(line[:len(line)-1], &got); err != nil || string(got.Body) != "one two" {
		t.Errorf("%q, %v", got.Body, err)
	}
}

func TestSealingAndOpeningAllocateNothing(t *testing.T) {
	writer, reader := NewCodec(testKey, FromLauncher), NewCodec(testKey, ToLauncher)
	body := make([]byte, MaxBody)
	line := make([]byte, 0, MaxLine)
	var number uint64
	var f Frame
	allocs := testing.AllocsPerRun(100, func() {
		number++
		line = writer.AppendLine(line[:0], &Frame{Epoch: 1, Number: number, Type: Stdout, Seq: number, Body: body}, nil)
		if err := reader.OpenLine(line[:len(line)-1], &f); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 1 {
		t.Errorf("%v allocations for each frame", allocs)
	}
}

// claimLine is a claim's line around any text, its checksum right.
func claimLine(word, text string) string {
	payload := base64.RawStdEncoding.EncodeToString([]byte(text))
	return word + " CLAIM " + payload + " " + checksum([]byte(word), []byte(payload))
}

func TestClaimsThatAreRefused(t *testing.T) {
	with := func(member string, value any) string {
		claim := map[string]any{
			"key": testKey, "epoch": 1, "argv": []string{"x"}, "env": map[string]string{},
			"limits": map[string]any{"stdinWindow": MinWindow, "outputWindow": MinWindow, "podGraceMs": 0, "lingerMs": 0},
		}
		if in, name, nested := strings.Cut(member, "."); nested {
			claim[in].(map[string]any)[name] = value
		} else {
			claim[member] = value
		}
		text, _ := json.Marshal(claim)
		return string(text)
	}
	if _, err := ParseClaim([]byte(claimLine("FMO1", with("epoch", 1)))); err != nil {
		t.Fatal(err)
	}
	for text, reason := range map[string]string{
		"{":                                         "claim: not the JSON object that was expected",
		"[]":                                        "claim: not the JSON object that was expected",
		with("epoch", 1) + "{}":                     "claim: more than one JSON value",
		with("surprise", 1):                         "claim: not the JSON object that was expected",
		with("key", testKey[1:]):                    "claim: key is not 32 bytes",
		with("epoch", 0):                            "claim: epoch is 0",
		with("epoch", -1):                           "claim: not the JSON object that was expected",
		with("epoch", 1<<32):                        "claim: not the JSON object that was expected",
		with("argv", []string{}):                    "claim: argv is empty",
		with("argv", []string{""}):                  "claim: argv is empty",
		with("argv", []string{"a\x00b"}):            "claim: a NUL byte in argv or cwd",
		with("cwd", "relative"):                     "claim: cwd is not absolute",
		with("cwd", "/a\x00"):                       "claim: a NUL byte in argv or cwd",
		with("env", map[string]string{"": "x"}):     "claim: an environment variable's name or value cannot be one",
		with("env", map[string]string{"A=": "x"}):   "claim: an environment variable's name or value cannot be one",
		with("env", map[string]string{"A": "\x00"}): "claim: an environment variable's name or value cannot be one",
		with("files", map[string]string{"a": "x"}):  "claim: a file's path is not absolute",
		with("files", map[string]string{"/a/": ""}): "claim: a file's path is not absolute",
		with("limits.stdinWindow", MinWindow-1):     "claim: limits.stdinWindow is out of range",
		with("limits.outputWindow", MaxWindow+1):    "claim: limits.outputWindow is out of range",
		with("limits.podGraceMs", -1):               "claim: limits.podGraceMs is out of range",
		with("limits.lingerMs", maxMillis+1):        "claim: limits.lingerMs is out of range",
	} {
		if _, err := ParseClaim([]byte(claimLine("FMO1", text))); err != Refusal(reason) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, word := range []string{"FMO2", "FMO", "FMO01", "FMO10"} {
		if _, err := ParseClaim([]byte(claimLine(word, with("epoch", 1)))); err != Refusal("version: this launcher speaks protocol version 1") {
			t.Errorf("%s: %v", word, err)
		}
	}
}

func TestAClaimTornAtAnyByteIsPassedOver(t *testing.T) {
	line := readVectors(t).Claim.Line
	for i := range line {
		for _, torn := range []string{line[:i], line[i:], line[:i] + "x" + line[i:], line[:i] + line} {
			if torn == line {
				continue
			}
			if _, err := ParseClaim([]byte(torn)); err != ErrNotClaim {
				t.Fatalf("at %d: %v", i, err)
			}
		}
	}
}

func TestLinesAreCutAnywhereInTheStream(t *testing.T) {
	text := "one\n\nthree\n" + strings.Repeat("x", 100) + "\nfive\n" + strings.Repeat("y", 5000) + "\nseven\nrest"
	want := []string{"one", "", "three", strings.Repeat("x", 100), "five", "<long>", "seven"}
	for name, reader := range map[string]io.Reader{
		"whole": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)), "half": iotest.HalfReader(strings.NewReader(text)),
	} {
		lines := NewLines(reader, 200)
		for i, one := range want {
			line, whole, err := lines.Next()
			if err != nil {
				t.Fatal(name, err)
			}
			if got := string(line); whole && got != one || !whole && one != "<long>" {
				t.Errorf("%s: line %d is %q", name, i, got)
			}
		}
		if _, _, err := lines.Next(); err != io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLinesKeepWhatFollowsAChangeOfTheBound(t *testing.T) {
	lines := NewLines(strings.NewReader("claim\nframe one\nframe two\n"), MaxClaim)
	lines.Next()
	lines.SetMax(16)
	for _, want := range []string{"frame one", "frame two"} {
		if line, whole, err := lines.Next(); string(line) != want || !whole || err != nil {
			t.Errorf("%q, %v, %v", line, whole, err)
		}
	}
}

func FuzzOpenLine(f *testing.F) {
	v := readVectors(f)
	for _, one := range v.Lines {
		f.Add([]byte(one.Line))
	}
	for _, one := range v.Bad {
		f.Add([]byte(one.Line))
	}
	reader := NewCodec(testKey, FromLauncher)
	known := map[string]bool{}
	for _, one := range v.Lines {
		known[one.Line] = true
	}
	for _, one := range v.Bad {
		known[one.Line] = known[one.Line] || one.Reader == ToLauncher // authentic, for the other reader
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var frame Frame
		if err := reader.OpenLine(line, &frame); err != nil {
			return
		}
		// Nobody without the key makes a line that opens: it is one of the vectors, in one of base64's spellings of the last digit.
		raw, _ := base64.RawStdEncoding.DecodeString(string(line))
		if !known[base64.RawStdEncoding.EncodeToString(raw)] {
			t.Errorf("forged: %q", line)
		}
	})
}

func FuzzParseClaim(f *testing.F) {
	f.Add([]byte(readVectors(f).Claim.Line), "")
	f.Add([]byte("FMO1 CLAIM  "), "{}")
	f.Add([]byte(""), `{"key":"AA","epoch":1e9,"argv":null,"env":{"a":"b"},"limits":{}}`)
	f.Fuzz(func(t *testing.T, line []byte, text string) {
		for _, one := range []string{string(line), claimLine("FMO1", text)} {
			claim, err := ParseClaim([]byte(one))
			if err == nil && (len(claim.Key) != KeyLen || len(claim.Argv) == 0 || claim.Epoch == 0) {
				t.Errorf("accepted %q", one)
			}
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\n\nbc\nd"), 8)
	f.Add([]byte("a longer line\nand a shorter\none\n"), 4)
	f.Fuzz(func(t *testing.T, text []byte, max int) {
		if max < 2 || max > 64 {
			return
		}
		slow, fast := NewLines(iotest.OneByteReader(bytes.NewReader(text)), max), NewLines(bytes.NewReader(text), max)
		for _, want := range bytes.SplitAfter(text, []byte{'\n'}) {
			if !bytes.HasSuffix(want, []byte{'\n'}) {
				break
			}
			for _, lines := range []*Lines{slow, fast} {
				line, whole, err := lines.Next()
				if err != nil || whole != (len(want) <= max) || whole && !bytes.Equal(line, want[:len(want)-1]) {
					t.Fatalf("%q (%d): %q, %v, %v", want, max, line, whole, err)
				}
			}
		}
	})
}

func BenchmarkSealAndOpen(b *testing.B) {
	for name, size := range map[string]int{"100B": 100, "23KiB": MaxBody} {
		b.Run(name, func(b *testing.B) {
			writer, reader := NewCodec(testKey, FromLauncher), NewCodec(testKey, ToLauncher)
			body := make([]byte, size)
			rand.Read(body)
			var line []byte
			var number uint64
			var f Frame
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				number++
				line = writer.AppendLine(line[:0], &Frame{Epoch: 1, Number: number, Type: Stdout, Seq: number, Body: body}, nil)
				if err := reader.OpenLine(line[:len(line)-1], &f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
