package wire

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
)

const (
	// KeyLen is the length of a key: AES-256 (FIPS 197) in Galois/Counter Mode (NIST SP 800-38D).
	KeyLen = 32

	nonceLen    = 12
	envelopeLen = 1 + nonceLen
	tagLen      = 16
)

// ErrSeal is a line that is no sealed frame for this reader: torn, foreign, noise, of another key, another version or the wrong direction.
var ErrSeal = errors.New("line fails its seal")

// Codec seals the frames of one direction and opens those of the other. It is not safe for use by several goroutines at once: the two
// directions have scratch space of their own, so one may seal while another opens.
type Codec struct {
	aead     cipher.AEAD
	own      Direction
	sealing  []byte
	opening  []byte
	envelope [envelopeLen]byte
}

// NewCodec makes the codec of the side that sends in direction own. It panics unless the key has KeyLen bytes.
func NewCodec(key []byte, own Direction) *Codec {
	if len(key) != KeyLen {
		panic("wire: key length")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("wire: cipher")
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("wire: mode")
	}
	return &Codec{aead: aead, own: own}
}

// AppendLine appends the frame as one sealed line with its newline; more continues the frame's body.
//
// The nonce is direction, epoch and number: the caller never gives a number twice in an epoch, not even for the same frame sent again.
func (c *Codec) AppendLine(dst []byte, f *Frame, more []byte) []byte {
	if f.Number > max48 {
		panic("wire: number exhausted")
	}
	e := c.sealing[:0]
	e = append(e, Version, byte(c.own), 0)
	e = binary.BigEndian.AppendUint32(e, f.Epoch)
	e = append48(e, f.Number)
	copy(c.envelope[:], e)
	e = appendPlain(e, f, more)
	e = c.aead.Seal(e[:envelopeLen], c.envelope[1:], e[envelopeLen:], c.envelope[:])
	c.sealing = e
	dst = base64.RawStdEncoding.AppendEncode(dst, e)
	return append(dst, '\n')
}

// OpenLine opens a line without its newline. The frame's body is valid until the next call. ErrSeal: ignore the line; ErrMalformed: the
// peer is broken.
func (c *Codec) OpenLine(line []byte, f *Frame) error {
	if len(line) >= MaxLine {
		return ErrSeal
	}
	need := base64.RawStdEncoding.DecodedLen(len(line))
	if need < envelopeLen+tagLen {
		return ErrSeal
	}
	if cap(c.opening) < need {
		c.opening = make([]byte, need, base64.RawStdEncoding.DecodedLen(MaxLine))
	}
	raw := c.opening[:need]
	n, err := base64.RawStdEncoding.Decode(raw, line)
	if err != nil || n < envelopeLen+tagLen {
		return ErrSeal
	}
	raw = raw[:n]
	if raw[0] != Version || Direction(raw[1]) == c.own || raw[2] != 0 {
		return ErrSeal
	}
	sealed := raw[envelopeLen:]
	plain, err := c.aead.Open(sealed[:0], raw[1:envelopeLen], sealed, raw[:envelopeLen])
	if err != nil {
		return ErrSeal
	}
	f.Epoch = binary.BigEndian.Uint32(raw[3:])
	f.Number = get48(raw[7:])
	return parsePlain(plain, f)
}
