package link

import (
	"bytes"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"forgejo-mcp-operator/launcher/wire"
)

func TestAFullWindowHoldsTheChildUpAndReleaseLetsItGoOn(t *testing.T) {
	bubble(t, func(g *gateway) {
		var written atomic.Int64
		go func() {
			for range 100 {
				if g.link.Write(wire.Stdout, []byte(strings.Repeat("y", 4095)+"\n")) != nil {
					return
				}
				written.Add(1)
			}
		}()
		synctest.Wait()
		if limit := int64(wire.MinWindow / (4096 + wire.Overhead)); written.Load() != limit {
			t.Errorf("%d writes, expected %d", written.Load(), limit)
		}
		var got int
		for written.Load() < 100 {
			frames := g.heard()
			if len(frames) == 0 {
				t.Fatal("nothing came")
			}
			for _, f := range frames {
				got += len(f.Body)
			}
			last := frames[len(frames)-1].Seq
			g.say(wire.Frame{Type: wire.Ack, Received: last, Released: last})
		}
		for _, f := range g.heard() {
			got += len(f.Body)
		}
		if got != 100*4096 {
			t.Errorf("%d bytes", got)
		}
	})
}

func TestReceivedAloneFreesNoRoom(t *testing.T) {
	bubble(t, func(g *gateway) {
		for range 2 {
			g.link.Write(wire.Stdout, make([]byte, wire.MaxBody))
		}
		frames := g.heard()
		g.say(wire.Frame{Type: wire.Ack, Received: frames[len(frames)-1].Seq})
		if g.link.out.fits(wire.MaxBody) {
			t.Error("released without being told")
		}
	})
}

func TestStdoutIsCutAtTheLastNewline(t *testing.T) {
	bubble(t, func(g *gateway) {
		g.link.Write(wire.Stdout, []byte("whole\nlines\nand a rest"))
		frames := g.expect(wire.Stdout, wire.Stdout)
		if string(frames[0].Body) != "whole\nlines\n" || string(frames[1].Body) != "and a rest" {
			t.Errorf("%q %q", frames[0].Body, frames[1].Body)
		}
		g.link.Write(wire.Stderr, []byte("stderr\nis not"))
		g.expect(wire.Stderr)
	})
}

func TestSignalsActAtOnceAheadOfDataThatNobodyReads(t *testing.T) {
	bubble(t, func(g *gateway) {
		g.say(wire.Frame{Type: wire.Data, Seq: 1, Body: []byte("unread")})
		g.say(wire.Frame{Type: wire.Signal, Seq: 2, Body: []byte{15}})
		if !bytes.Equal(g.signals, []byte{15}) {
			t.Errorf("%v", g.signals)
		}
		g.say(wire.Frame{Type: wire.EOF, Seq: 3})
		g.link.Input()
		g.link.Consumed()
		if body, more, err := g.link.Input(); len(body)+len(more) > 0 || err != nil {
			t.Errorf("%q %v", body, err)
		}
	})
}

func TestABreachIsToldAndEndsTheLink(t *testing.T) {
	for name, f := range map[string]wire.Frame{
		"an acknowledgement of what was never sent":   {Type: wire.Ack, Received: 1},
		"data that the window has no room for":        {Type: wire.Data, Seq: 1},
		"a signal without its number":                 {Type: wire.Signal, Seq: 1},
		"a frame of a type that is not the gateway's": {Type: wire.Stdout, Seq: 1, Body: []byte("x")},
		"a frame that is malformed":                   {Type: wire.Data, Body: []byte("x")},
	} {
		bubble(t, func(g *gateway) {
			g.say(f)
			if told := g.expect(wire.Error)[0]; string(told.Body) != name {
				t.Errorf("told %q for %q", told.Body, name)
			}
			var breach *Breach
			if !errors.As(g.finished, &breach) || breach.Error() != name {
				t.Errorf("%s: %v", name, g.finished)
			}
			if err := g.link.Write(wire.Stdout, []byte("x")); err != ErrClosed {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestDataOverTheWindowOrAfterItsEndIsABreach(t *testing.T) {
	bubble(t, func(g *gateway) {
		for seq := uint64(1); seq <= 3; seq++ {
			g.say(wire.Frame{Type: wire.Data, Seq: seq, Body: make([]byte, wire.MaxBody)})
		}
		frames := g.heard()
		if last := frames[len(frames)-1]; last.Type != wire.Error {
			t.Errorf("%+v", last)
		}
	})
	bubble(t, func(g *gateway) {
		g.say(wire.Frame{Type: wire.EOF, Seq: 1})
		g.say(wire.Frame{Type: wire.Data, Seq: 2, Body: []byte("x")})
		g.expect(wire.Error)
	})
}

func TestAStdoutThatFailsEndsTheLink(t *testing.T) {
	bubble(t, func(g *gateway) {
		g.failing = errors.New("gone")
		g.link.Write(wire.Stdout, []byte("x"))
		synctest.Wait()
		if g.finished != g.failing {
			t.Error(g.finished)
		}
		if _, _, err := g.link.Input(); err != ErrClosed {
			t.Error(err)
		}
	})
}

func TestExitIsSentAgainUntilItIsAcknowledged(t *testing.T) {
	bubble(t, func(g *gateway) {
		g.link.Exit(wire.Exited, 3, "")
		done := false
		go func() { done = g.link.Linger() }()
		g.expect(wire.Exit)
		time.Sleep(probeFirst)
		if f := g.expect(wire.Exit)[0]; !bytes.Equal(f.Body, []byte{0, 3}) {
			t.Errorf("%+v", f)
		}
		g.say(wire.Frame{Type: wire.Ack, Received: 1})
		synctest.Wait()
		if !done {
			t.Error("it lingers on")
		}
	})
}

func TestLingerEndsAfterSilenceOnly(t *testing.T) {
	bubble(t, func(g *gateway) {
		done := make(chan bool, 1)
		begun := time.Now()
		go func() { done <- g.link.Linger() }()
		for range 4 {
			time.Sleep(4 * time.Second)
			g.say(wire.Frame{Type: wire.Ack})
		}
		if <-done {
			t.Error("nobody has its exit")
		}
		if took := time.Since(begun); took != 21*time.Second {
			t.Error(took)
		}
	})
	bubble(t, func(g *gateway) {
		done := make(chan bool, 1)
		begun := time.Now()
		go func() { done <- g.link.Linger() }()
		time.Sleep(time.Second)
		g.link.SetLinger(2 * time.Second)
		if <-done || time.Since(begun) != 2*time.Second {
			t.Error(time.Since(begun))
		}
	})
}
