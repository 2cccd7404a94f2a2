package child

import (
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Output is the reading end of one of the child's output pipes.
//
// A process that the child left behind may hold the pipe open for ever, so its end cannot be waited for once the child is gone; but all
// that the child itself wrote is in the pipe by then.
type Output struct {
	file *os.File
	fd   int
	last atomic.Bool
}

func newOutput(fd int, name string) *Output {
	return &Output{file: os.NewFile(uintptr(fd), name), fd: fd}
}

// Read reads as a file does; after Finish it returns what is in the pipe and then io.EOF, without waiting.
func (o *Output) Read(p []byte) (int, error) {
	if !o.last.Load() {
		n, err := o.file.Read(p)
		if n > 0 || !o.last.Load() {
			return n, err
		}
	}
	for {
		n, err := syscall.Read(o.fd, p)
		if err == syscall.EINTR {
			continue
		}
		if n > 0 {
			return n, nil
		}
		return 0, io.EOF
	}
}

// Finish makes reads end once the pipe is empty.
func (o *Output) Finish() {
	o.last.Store(true)
	o.file.SetReadDeadline(time.Unix(1, 0))
}

// Close closes the pipe; no Read may be under way.
func (o *Output) Close() error { return o.file.Close() }
