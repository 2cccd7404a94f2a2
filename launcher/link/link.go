// Package link is the launcher's end of a sealed link: it numbers, keeps, acknowledges and repairs, so that a child's three streams stay
// whole over attach streams that break at any byte. It knows no processes.
//
// Three parts share one lock: HandleLine is called with what arrives, Pump writes what is due, and the child's readers and writer call
// Write and Input. Only the line's bytes are worked on outside the lock.
package link

import (
	"errors"
	"io"
	"sync"
	"time"

	"forgejo-mcp-operator/launcher/wire"
)

const (
	// ackDelay is how long an acknowledgement waits for a frame to ride on.
	ackDelay = 50 * time.Millisecond
	// nakPause is the least time between two requests for the same frame.
	nakPause = 100 * time.Millisecond
	// probeFirst and probeMost bound the wait until the oldest frame that was not acknowledged is sent again, doubled each time:
	// with nobody attached every probe ends in the node's log.
	probeFirst = 200 * time.Millisecond
	probeMost  = time.Minute
	// batch is how many bytes of lines go into one write: a pipe's capacity.
	batch = 64 * 1024
)

// ErrClosed is returned to the child's readers and writer once the link is over.
var ErrClosed = errors.New("link closed")

// Breach is the peer's breach of the protocol; it says which.
type Breach struct{ what string }

func (b *Breach) Error() string { return b.what }

// Link is one child's sealed link. Make it with New; run Pump in a goroutine of its own.
type Link struct {
	mu    sync.Mutex
	work  *sync.Cond // something is due for Pump
	room  *sync.Cond // the output window has room, or Exit was received
	input *sync.Cond // stdin has something to give

	seal *wire.Codec // Pump's
	open *wire.Codec // HandleLine's

	epoch  uint32
	number uint64 // of the last line sealed; goes on over epochs
	seen   uint64 // of the last line opened in this epoch

	// The child's output: frames up to received were acknowledged, those from cursor on are yet to be sent.
	out          *queue
	received     uint64
	sent         uint64 // the newest that was ever sent
	cursor       uint64
	midLineOut   bool // the byte before out.first was not a newline
	exitSeq      uint64
	neverStarted bool
	linger       time.Duration
	probeDue     bool // the oldest frame is to be sent again
	probed       bool // it was, and nothing has come back yet
	probeWait    time.Duration
	probeTimer   *time.Timer
	probeArmed   bool
	probeMark    uint64 // received when the timer was armed
	lastArrival  time.Time

	// The child's stdin: frames up to got have arrived, those before in.first were consumed.
	in        *queue
	got       uint64
	midLineIn bool
	eof       bool
	owed      int // charge of frames that arrived or were consumed since the last acknowledgement
	ackArmed  bool
	ackTimer  *time.Timer
	nakFor    uint64
	nakAt     time.Time

	ackDue, nakDue, welcomeDue, fencedDue bool
	fault                                 string // the peer's breach, to be told before the end
	closed                                bool
	onSignal                              func(number byte)
}

// New makes the link of a claim. onSignal is called, without any lock, for each signal that the gateway sends.
func New(claim *wire.Claim, onSignal func(number byte)) *Link {
	l := &Link{
		seal:      wire.NewCodec(claim.Key, wire.FromLauncher),
		open:      wire.NewCodec(claim.Key, wire.FromLauncher),
		epoch:     claim.Epoch,
		out:       newQueue(claim.Limits.OutputWindow),
		in:        newQueue(claim.Limits.StdinWindow),
		cursor:    1,
		probeWait: probeFirst,
		linger:    time.Duration(claim.Limits.LingerMs) * time.Millisecond,
		onSignal:  onSignal,
	}
	l.work, l.room, l.input = sync.NewCond(&l.mu), sync.NewCond(&l.mu), sync.NewCond(&l.mu)
	l.probeTimer = time.AfterFunc(time.Hour, l.probe)
	l.probeTimer.Stop()
	l.ackTimer = time.AfterFunc(time.Hour, l.ackNow)
	l.ackTimer.Stop()
	return l
}

// Pump writes what is due until the link is closed, then what was still due. It returns the writer's error, or a Breach.
func (l *Link) Pump(to io.Writer) error {
	var lines []byte
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for !l.due() {
			if l.closed {
				return nil
			}
			l.work.Wait()
		}
		lines = l.appendDue(lines[:0])
		fault := l.fault
		l.mu.Unlock()
		_, err := to.Write(lines)
		l.mu.Lock()
		if fault != "" {
			l.close()
			return &Breach{what: fault}
		}
		if err != nil {
			l.close()
			return err
		}
		l.armProbe()
	}
}

// Close ends the link: readers and writer get ErrClosed, Pump writes its rest and returns.
func (l *Link) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close()
}

func (l *Link) close() {
	l.closed = true
	l.probeTimer.Stop()
	l.ackTimer.Stop()
	l.work.Broadcast()
	l.room.Broadcast()
	l.input.Broadcast()
}

// due says whether Pump has anything to write.
func (l *Link) due() bool {
	return l.welcomeDue || l.fencedDue || l.nakDue || l.ackDue || l.probeDue || l.fault != "" || l.cursor < l.out.next()
}

// appendDue appends the lines that are due, at most a batch of them.
func (l *Link) appendDue(dst []byte) []byte {
	if l.fault != "" {
		return l.line(dst, wire.Error, 0, []byte(l.fault), nil)
	}
	if l.welcomeDue {
		l.welcomeDue = false
		body := wire.WelcomeBody{
			StdinMidLine:  l.midLineIn,
			StdoutMidLine: l.stdoutMidLine(l.cursor),
			NeverStarted:  l.neverStarted,
			First:         l.cursor,
			Queued:        uint32(l.in.charge),
			StdinWindow:   uint32(len(l.in.ring)),
			OutputWindow:  uint32(len(l.out.ring)),
		}
		dst = l.line(dst, wire.Welcome, 0, body.Append(nil), nil)
	}
	if l.fencedDue {
		l.fencedDue = false
		dst = l.line(dst, wire.Fenced, 0, nil, nil)
	}
	if l.nakDue {
		l.nakDue = false
		dst = l.line(dst, wire.Nak, 0, nil, nil)
	}
	if l.probeDue {
		l.probeDue = false
		if seq := l.received + 1; seq < l.cursor {
			l.probed = true
			kind, body, more := l.out.at(seq)
			dst = l.line(dst, kind, seq, body, more)
		}
	}
	for l.cursor < l.out.next() && len(dst) <= batch-wire.MaxLine {
		kind, body, more := l.out.at(l.cursor)
		dst = l.line(dst, kind, l.cursor, body, more)
		l.sent = max(l.sent, l.cursor)
		l.cursor++
	}
	if l.ackDue {
		l.ackDue = false
		dst = l.line(dst, wire.Ack, 0, nil, nil)
	}
	return dst
}

// line seals one frame. Every line carries what an acknowledgement would, so none is owed any more.
func (l *Link) line(dst []byte, kind wire.Type, seq uint64, body, more []byte) []byte {
	l.number++
	l.owed, l.ackDue = 0, false
	return l.seal.AppendLine(dst, &wire.Frame{
		Epoch: l.epoch, Number: l.number, Type: kind, Received: l.got, Released: l.in.first - 1, Seq: seq, Body: body,
	}, more)
}
