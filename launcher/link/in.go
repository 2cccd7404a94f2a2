package link

import (
	"time"

	"forgejo-mcp-operator/launcher/wire"
)

// HandleLine takes one line from the gateway; whole is false where its bytes were lost. What is no frame of this link is passed over.
func (l *Link) HandleLine(line []byte, whole bool) {
	if whole && len(line) == 0 {
		return // every stream begins with a newline, to end what the one before it left half-written
	}
	var f wire.Frame
	err := wire.ErrSeal
	if whole {
		err = l.open.OpenLine(line, &f)
	}
	signal, signaled := byte(0), false
	l.mu.Lock()
	switch err {
	case nil:
		signal, signaled = l.frame(&f)
	case wire.ErrSeal:
		// Perhaps a torn frame. If none is missing after all, the gateway sees that by the number that it is told.
		l.askAgain()
	default:
		l.breach("a frame that is malformed")
	}
	l.mu.Unlock()
	if signaled {
		l.onSignal(signal)
	}
}

// frame takes an authentic frame.
func (l *Link) frame(f *wire.Frame) (signal byte, signaled bool) {
	switch {
	case f.Epoch < l.epoch:
		l.fencedDue = true
		l.work.Signal()
		return
	case f.Epoch > l.epoch:
		if f.Type != wire.Hello {
			return // its Hello was torn and will come again
		}
		l.epoch, l.seen = f.Epoch, 0
		l.received = l.out.first - 1 // what the former holder had is gone with it, except what it released
	}
	if f.Number <= l.seen {
		return // left over from a stream that is gone, or played again by somebody
	}
	l.seen = f.Number
	l.lastArrival = time.Now()
	if !l.acknowledged(f.Received, f.Released) {
		l.breach("an acknowledgement of what was never sent")
		return
	}
	switch f.Type {
	case wire.Hello:
		l.rewind()
		l.probeWait, l.probeDue = probeFirst, false
		l.welcomeDue = true
	case wire.Nak:
		l.rewind()
	case wire.Ack:
	case wire.Data, wire.EOF, wire.Signal:
		return l.numbered(f)
	default:
		l.breach("a frame of a type that is not the gateway's")
		return
	}
	l.work.Signal()
	return
}

// numbered takes a frame that is delivered once and in order.
func (l *Link) numbered(f *wire.Frame) (signal byte, signaled bool) {
	if f.Seq <= l.got {
		l.ackDue = true // it was sent again: its acknowledgement was lost
		l.work.Signal()
		return
	}
	if f.Seq > l.got+1 {
		l.askAgain()
		return
	}
	switch f.Type {
	case wire.Data:
		if l.eof || len(f.Body) == 0 || !l.in.fits(len(f.Body)) {
			l.breach("data that the window has no room for")
			return
		}
		l.in.push(wire.Data, f.Body)
		l.midLineIn = f.Body[len(f.Body)-1] != '\n'
	case wire.EOF:
		l.in.pushExtra(wire.EOF, nil)
		l.eof = true
	case wire.Signal:
		if len(f.Body) != 1 {
			l.breach("a signal without its number")
			return
		}
		// It acts now, ahead of data that the child may never read; its place in the queue only keeps the numbers whole.
		l.in.pushExtra(wire.Signal, nil)
		signal, signaled = f.Body[0], true
	}
	l.got++
	l.owe(len(f.Body) + wire.Overhead)
	l.input.Signal()
	return
}

// owe counts towards the next acknowledgement: at once for a quarter of the window, else after ackDelay, unless a frame carries it before.
func (l *Link) owe(n int) {
	l.owed += n
	if l.owed >= len(l.in.ring)/4 {
		l.ackDue = true
		l.work.Signal()
		return
	}
	if !l.ackArmed && !l.closed {
		l.ackArmed = true
		l.ackTimer.Reset(ackDelay)
	}
}

// ackNow is called by its timer.
func (l *Link) ackNow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ackArmed = false
	if l.owed > 0 {
		l.ackDue = true
		l.work.Signal()
	}
}

// askAgain asks for everything after the last frame that arrived; once for each such place, or after nakPause again.
func (l *Link) askAgain() {
	now := time.Now()
	if l.nakFor == l.got+1 && now.Sub(l.nakAt) < nakPause {
		return
	}
	l.nakFor, l.nakAt = l.got+1, now
	l.nakDue = true
	l.work.Signal()
}

// breach ends the link: a peer that seals well and speaks nonsense cannot be repaired by sending again.
func (l *Link) breach(what string) {
	if l.fault == "" {
		l.fault = what
	}
	l.work.Signal()
}

// Input returns the next bytes for the child's stdin, in up to two parts that stay valid until Consumed; both are empty at the end of
// input. ErrClosed: the link is over.
func (l *Link) Input() (body, more []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for !l.closed && l.in.count() == 0 {
			l.input.Wait()
		}
		if l.closed {
			return nil, nil, ErrClosed
		}
		switch kind, body, more := l.in.at(l.in.first); kind {
		case wire.Data:
			return body, more, nil
		case wire.EOF:
			return nil, nil, nil
		}
		l.consumed()
	}
}

// Consumed releases what Input returned.
func (l *Link) Consumed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.consumed()
}

func (l *Link) consumed() {
	_, body, more := l.in.at(l.in.first)
	n := len(body) + len(more)
	l.in.drop()
	l.owe(n + wire.Overhead)
}
