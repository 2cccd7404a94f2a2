package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
)

// MaxClaim bounds a claim's line: environment and arguments together.
const MaxClaim = 256 * 1024

const (
	// MinWindow and MaxWindow bound both windows that a claim may ask for.
	MinWindow = 64 * 1024
	MaxWindow = 16 * 1024 * 1024

	maxMillis   = 10 * 60 * 1000
	checksumLen = 16
)

// Limits are the claim's bounds.
type Limits struct {
	// StdinWindow is how many bytes for the child's stdin are held here at most.
	StdinWindow int `json:"stdinWindow"`
	// OutputWindow is how many bytes of the child's output are held here at most.
	OutputWindow int `json:"outputWindow"`
	// PodGraceMs is the time from SIGTERM to SIGKILL when the pod is deleted.
	PodGraceMs int `json:"podGraceMs"`
	// LingerMs is how long the last frames wait to be taken once the child is gone.
	LingerMs int `json:"lingerMs"`
}

// Claim starts a child.
type Claim struct {
	Key   []byte            `json:"key"`
	Epoch uint32            `json:"epoch"`
	Argv  []string          `json:"argv"`
	Env   map[string]string `json:"env"`
	Cwd   string            `json:"cwd,omitempty"`
	// Files are made before the child starts, by path; their contents are no secrets.
	Files  map[string]string `json:"files,omitempty"`
	Limits Limits            `json:"limits"`
}

// ErrNotClaim is a line to pass over: noise, or a claim that was torn on its way and will be sent again.
var ErrNotClaim = errors.New("no claim")

// Refusal is a claim that arrived whole and cannot be served. Its text holds nothing of the claim's contents.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// claimWord is the claim's first word up to the version.
const claimWord = "FMO"

// ParseClaim reads a line without its newline. It fails with ErrNotClaim or a Refusal.
func ParseClaim(line []byte) (*Claim, error) {
	words := bytes.Split(line, []byte{' '})
	if len(words) != 4 || !bytes.HasPrefix(words[0], []byte(claimWord)) || string(words[1]) != "CLAIM" {
		return nil, ErrNotClaim
	}
	if checksum(words[0], words[2]) != string(words[3]) {
		return nil, ErrNotClaim
	}
	if version := string(words[0][len(claimWord):]); version != strconv.Itoa(Version) {
		return nil, Refusal("version: this launcher speaks protocol version " + strconv.Itoa(Version))
	}
	text := make([]byte, base64.RawStdEncoding.DecodedLen(len(words[2])))
	defer clear(text)
	n, err := base64.RawStdEncoding.Decode(text, words[2])
	if err != nil {
		return nil, Refusal("claim: not base64")
	}
	decoder := json.NewDecoder(bytes.NewReader(text[:n]))
	decoder.DisallowUnknownFields()
	claim := new(Claim)
	if decoder.Decode(claim) != nil {
		return nil, Refusal("claim: not the JSON object that was expected")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, Refusal("claim: more than one JSON value")
	}
	if err := claim.check(); err != nil {
		return nil, err
	}
	return claim, nil
}

// check returns a Refusal that names the first member that is wrong.
func (c *Claim) check() error {
	switch {
	case len(c.Key) != KeyLen:
		return Refusal("claim: key is not 32 bytes")
	case c.Epoch == 0:
		return Refusal("claim: epoch is 0")
	case len(c.Argv) == 0 || c.Argv[0] == "":
		return Refusal("claim: argv is empty")
	case c.Cwd != "" && !strings.HasPrefix(c.Cwd, "/"):
		return Refusal("claim: cwd is not absolute")
	case c.Limits.StdinWindow < MinWindow || c.Limits.StdinWindow > MaxWindow:
		return Refusal("claim: limits.stdinWindow is out of range")
	case c.Limits.OutputWindow < MinWindow || c.Limits.OutputWindow > MaxWindow:
		return Refusal("claim: limits.outputWindow is out of range")
	case c.Limits.PodGraceMs < 0 || c.Limits.PodGraceMs > maxMillis:
		return Refusal("claim: limits.podGraceMs is out of range")
	case c.Limits.LingerMs < 0 || c.Limits.LingerMs > maxMillis:
		return Refusal("claim: limits.lingerMs is out of range")
	}
	for _, arg := range append(c.Argv[:len(c.Argv):len(c.Argv)], c.Cwd) {
		if strings.Contains(arg, "\x00") {
			return Refusal("claim: a NUL byte in argv or cwd")
		}
	}
	for path := range c.Files {
		if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "\x00") {
			return Refusal("claim: a file's path is not absolute")
		}
	}
	for name, value := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return Refusal("claim: an environment variable's name or value cannot be one")
		}
	}
	return nil
}

// AppendLine appends the claim's line with its newline.
func (c *Claim) AppendLine(dst []byte) ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	word := []byte(claimWord + strconv.Itoa(Version))
	payload := base64.RawStdEncoding.AppendEncode(nil, text)
	dst = append(dst, word...)
	dst = append(dst, " CLAIM "...)
	dst = append(dst, payload...)
	dst = append(dst, ' ')
	dst = append(dst, checksum(word, payload)...)
	return append(dst, '\n'), nil
}

// checksum tells a whole claim from a torn one; it protects against accidents, not against a forger.
func checksum(word, payload []byte) string {
	sum := sha256.New()
	sum.Write(word)
	sum.Write([]byte{' '})
	sum.Write(payload)
	return hex.EncodeToString(sum.Sum(nil))[:checksumLen]
}
