// Package wire is the launcher's protocol as bytes: sealed lines, the frames in them, and the claim. It keeps no state of a conversation.
// docs/launcher-protocol.md is its description; testdata/vectors.json holds it against the gateway's own implementation.
package wire

import (
	"encoding/binary"
	"errors"
)

// Version is the protocol's version: the first byte of every sealed line, and the digit in the claim's first word.
const Version = 1

// Direction tells the two senders apart inside the nonce, so that they can never share one.
type Direction byte

const (
	ToLauncher   Direction = 1
	FromLauncher Direction = 2
)

// Type is a frame's first byte.
type Type byte

const (
	// Numbered frames: kept by the sender until released, delivered once and in order.
	Data   Type = 0x01 // bytes for the child's stdin
	EOF    Type = 0x02 // close the child's stdin
	Signal Type = 0x03 // one byte: the signal's number, for the child's process group
	Stdout Type = 0x11 // bytes of the child's stdout
	Stderr Type = 0x12 // bytes of the child's stderr
	Exit   Type = 0x13 // how the child ended; the last numbered frame

	// Frames without a number: each says all that it says, so a lost one is made good by a later one.
	Ack     Type = 0x20
	Nak     Type = 0x21 // an acknowledgement that asks for everything after it again
	Hello   Type = 0x22 // the gateway's first frame on a stream
	Welcome Type = 0x23 // its answer
	Fenced  Type = 0x24 // to the sender of a lower epoch
	Error   Type = 0x25 // the launcher ends because the peer broke the protocol
)

// Numbered says whether frames of this type carry a sequence number.
func (t Type) Numbered() bool { return t < 0x20 }

const (
	// MaxBody is the most bytes of data in one frame. A whole line then stays under 32 KiB, the size of one frame of the attach stream.
	MaxBody = 23 * 1024
	// MaxLine bounds a sealed line, its newline included.
	MaxLine = 32 * 1024
	// Overhead is what each numbered frame is charged beside its body, so that a window bounds memory for one-byte frames too.
	Overhead = 64

	headLen = 1 + 6 + 6
	seqLen  = 6
	max48   = 1<<48 - 1
)

// Frame is one message. Received and Released are the sender's own view of the other direction and go with every frame:
// it has every numbered frame up to Received, and the peer may forget those up to Released.
type Frame struct {
	Epoch    uint32
	Number   uint64 // of the sealed line: never used twice by one sender in one epoch
	Type     Type
	Received uint64
	Released uint64
	Seq      uint64 // numbered types only
	Body     []byte
}

// ErrMalformed is an authentic frame that makes no sense: the peer's defect, never the network's.
var ErrMalformed = errors.New("malformed frame")

// appendPlain appends the frame's plaintext, with the body in up to two parts.
func appendPlain(dst []byte, f *Frame, more []byte) []byte {
	dst = append(dst, byte(f.Type))
	dst = append48(dst, f.Received)
	dst = append48(dst, f.Released)
	if f.Type.Numbered() {
		dst = append48(dst, f.Seq)
	}
	dst = append(dst, f.Body...)
	return append(dst, more...)
}

// parsePlain reads a plaintext; the body aliases it.
func parsePlain(plain []byte, f *Frame) error {
	if len(plain) < headLen {
		return ErrMalformed
	}
	f.Type = Type(plain[0])
	f.Received = get48(plain[1:])
	f.Released = get48(plain[7:])
	rest := plain[headLen:]
	f.Seq = 0
	if f.Type.Numbered() {
		if len(rest) < seqLen {
			return ErrMalformed
		}
		f.Seq = get48(rest)
		rest = rest[seqLen:]
		if f.Seq == 0 {
			return ErrMalformed
		}
	}
	if f.Released > f.Received || len(rest) > MaxBody {
		return ErrMalformed
	}
	f.Body = rest
	return nil
}

func append48(dst []byte, v uint64) []byte {
	return append(dst, byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func get48(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

// ExitKind says how a child ended.
type ExitKind byte

const (
	Exited      ExitKind = 0 // the value is its exit code
	Signaled    ExitKind = 1 // the value is the signal's number
	StartFailed ExitKind = 2 // it never ran; the value is the code that a shell would give (126 or 127), the text says why
)

// ExitBody is the body of an Exit frame.
func ExitBody(kind ExitKind, value byte, text string) []byte {
	return append([]byte{byte(kind), value}, text...)
}

// WelcomeBody is the body of a Welcome frame.
//
// First is the sequence number of the next numbered frame that the launcher sends on this stream. Queued is the charge (bytes and Overhead)
// of what lies in its stdin window; the windows are the claim's. The flags say whether stdin's last byte so far, and the byte of stdout before First,
// was not a newline, and whether the program could not be started.
type WelcomeBody struct {
	StdinMidLine  bool
	StdoutMidLine bool
	NeverStarted  bool
	First         uint64
	Queued        uint32
	StdinWindow   uint32
	OutputWindow  uint32
}

// Append appends the encoded body.
func (w WelcomeBody) Append(dst []byte) []byte {
	var flags byte
	if w.StdinMidLine {
		flags |= 1
	}
	if w.StdoutMidLine {
		flags |= 2
	}
	if w.NeverStarted {
		flags |= 4
	}
	dst = append(dst, flags)
	dst = append48(dst, w.First)
	dst = binary.BigEndian.AppendUint32(dst, w.Queued)
	dst = binary.BigEndian.AppendUint32(dst, w.StdinWindow)
	return binary.BigEndian.AppendUint32(dst, w.OutputWindow)
}
