package link

import (
	"bytes"
	"time"

	"forgejo-mcp-operator/launcher/wire"
)

// Write takes bytes of the child's stdout or stderr. It returns once all of them lie in the window, which holds its caller, and so the
// child, up while the gateway takes nothing. ErrClosed: the link is over.
//
// Frames of stdout end at the last newline where there is one: a holder that takes over then finds whole lines more often.
func (l *Link) Write(kind wire.Type, p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(p) > 0 {
		n := min(len(p), wire.MaxBody)
		if kind == wire.Stdout {
			if i := bytes.LastIndexByte(p[:n], '\n'); i >= 0 {
				n = i + 1
			}
		}
		for !l.closed && !l.out.fits(n) {
			l.room.Wait()
		}
		if l.closed {
			return ErrClosed
		}
		if l.mayExtend(kind, p[:n]) {
			l.out.extend(p[:n])
		} else {
			l.out.push(kind, p[:n])
		}
		p = p[n:]
		l.work.Signal()
	}
	return nil
}

// mayExtend says whether bytes can join the newest frame: it was never sent, is of the same stream, has room, and loses no newline at its end.
func (l *Link) mayExtend(kind wire.Type, p []byte) bool {
	last := l.out.last()
	if last == nil || last.kind != kind || last.extra != nil || l.sent >= l.out.next()-1 || last.n+len(p) > wire.MaxBody {
		return false
	}
	if kind != wire.Stdout || p[len(p)-1] == '\n' {
		return true
	}
	b, _ := l.out.lastByte(l.out.next() - 1)
	return b != '\n'
}

// Exit adds the child's end as the last numbered frame. It needs no room.
func (l *Link) Exit(kind wire.ExitKind, value byte, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.pushExtra(wire.Exit, wire.ExitBody(kind, value, text))
	l.exitSeq = l.out.next() - 1
	l.neverStarted = kind == wire.StartFailed
	l.work.Signal()
}

// Linger waits until the gateway has Exit, or until nothing has arrived from it for the time that SetLinger gave. It says whether Exit
// was received. It may be called before Exit, while the child's last output still waits for room.
func (l *Link) Linger() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	begun := time.Now()
	for !l.closed && !l.exitReceived() {
		since := begun
		if l.lastArrival.After(since) {
			since = l.lastArrival
		}
		left := l.linger - time.Since(since)
		if left <= 0 {
			return false
		}
		wake := time.AfterFunc(left, l.wakeAll)
		l.room.Wait()
		wake.Stop()
	}
	return l.exitReceived()
}

// SetLinger changes the time that Linger waits, also while it does.
func (l *Link) SetLinger(quiet time.Duration) {
	l.mu.Lock()
	l.linger = quiet
	l.mu.Unlock()
	l.wakeAll()
}

func (l *Link) wakeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room.Broadcast()
}

func (l *Link) exitReceived() bool { return l.exitSeq > 0 && l.received >= l.exitSeq }

// acknowledged takes the peer's view of the output. It says whether that view is possible at all.
func (l *Link) acknowledged(received, released uint64) bool {
	if received > l.sent {
		return false
	}
	if received > l.received {
		l.received = received
		if l.cursor <= received {
			l.cursor = received + 1
		}
		if l.probed {
			// Streams keep their order: what was sent before the probe and is not there by now was lost.
			l.probed = false
			l.cursor = received + 1
		}
		l.probeWait = probeFirst
		if l.exitReceived() {
			l.room.Broadcast()
		}
	}
	if released < l.out.first {
		return true
	}
	for l.out.first <= released {
		if kind, _, _ := l.out.at(l.out.first); kind == wire.Stdout {
			b, _ := l.out.lastByte(l.out.first)
			l.midLineOut = b != '\n'
		}
		l.out.drop()
	}
	l.room.Broadcast()
	return true
}

// stdoutMidLine says whether the byte of stdout before frame seq was not a newline.
func (l *Link) stdoutMidLine(seq uint64) bool {
	for seq--; seq >= l.out.first; seq-- {
		if kind, _, _ := l.out.at(seq); kind == wire.Stdout {
			b, _ := l.out.lastByte(seq)
			return b != '\n'
		}
	}
	return l.midLineOut
}

// rewind sends everything again that the peer does not have.
func (l *Link) rewind() {
	l.cursor = l.received + 1
	l.probed = false
}

// armProbe starts the wait for an acknowledgement of what was sent, unless it runs already.
func (l *Link) armProbe() {
	if l.probeArmed || l.closed || l.received+1 >= l.cursor {
		return
	}
	l.probeArmed, l.probeMark = true, l.received
	l.probeTimer.Reset(l.probeWait)
}

// probe is called by its timer.
func (l *Link) probe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.probeArmed = false
	if l.received == l.probeMark && l.received+1 < l.cursor {
		l.probeDue = true
		l.probeWait = min(2*l.probeWait, probeMost)
		l.work.Signal()
	}
	l.armProbe()
}
