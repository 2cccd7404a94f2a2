package wire

import (
	"bytes"
	"io"
)

// Lines cuts a stream into lines of bounded length. A longer line is passed over and reported as an empty, bad one.
type Lines struct {
	from       io.Reader
	buf        []byte
	start, end int
	max        int
	skipping   bool
}

// NewLines reads lines of at most max bytes, newline included.
func NewLines(from io.Reader, max int) *Lines {
	return &Lines{from: from, buf: make([]byte, 4096), max: max}
}

// SetMax changes the bound and forgets the bytes of lines that were handed out before.
func (l *Lines) SetMax(max int) {
	fresh := make([]byte, 2*max+l.end-l.start)
	n := copy(fresh, l.buf[l.start:l.end])
	clear(l.buf)
	l.buf, l.start, l.end, l.max = fresh, 0, n, max
}

// Next returns the next line without its newline, valid until the following call; whole is false for a line over the bound.
// The error is the reader's, a rest without a newline is dropped.
func (l *Lines) Next() (line []byte, whole bool, err error) {
	scanned := l.start
	for {
		if i := bytes.IndexByte(l.buf[scanned:l.end], '\n'); i >= 0 {
			line = l.buf[l.start : scanned+i]
			whole = !l.skipping && len(line) < l.max
			l.start, l.skipping = scanned+i+1, false
			if !whole {
				line = nil
			}
			return line, whole, nil
		}
		if l.end-l.start >= l.max {
			l.skipping = true
		}
		if l.skipping {
			l.start, l.end = 0, 0
		}
		l.makeRoom()
		scanned = l.end
		n, err := l.from.Read(l.buf[l.end:])
		l.end += n
		if n == 0 && err != nil {
			return nil, false, err
		}
	}
}

// makeRoom moves what is left to the front, and doubles a full buffer: the bound keeps that finite.
func (l *Lines) makeRoom() {
	if l.start > 0 {
		l.end = copy(l.buf, l.buf[l.start:l.end])
		l.start = 0
	}
	if l.end == len(l.buf) {
		fresh := make([]byte, 2*len(l.buf))
		copy(fresh, l.buf)
		clear(l.buf)
		l.buf = fresh
	}
}
