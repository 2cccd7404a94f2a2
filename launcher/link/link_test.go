package link

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"forgejo-mcp-operator/launcher/wire"
)

func TestAnEchoTakesOneLineEachWay(t *testing.T) {
	bubble(t, func(g *gateway) {
		g.say(wire.Frame{Type: wire.Data, Seq: 1, Body: []byte("ping\n")})
		body, more, err := g.link.Input()
		if string(body)+string(more) != "ping\n" || err != nil {
			t.Fatal(string(body), err)
		}
		g.link.Consumed()
		g.expect() // no acknowledgement of its own: it rides on the answer
		g.link.Write(wire.Stdout, []byte("pong\n"))
		f := g.expect(wire.Stdout)[0]
		if f.Seq != 1 || f.Received != 1 || f.Released != 1 || string(f.Body) != "pong\n" {
			t.Errorf("%+v", f)
		}
		g.say(wire.Frame{Type: wire.Ack, Received: 1, Released: 1})
		time.Sleep(time.Hour)
		g.expect()
	})
}

func TestAnAcknowledgementAloneComesAfterItsDelay(t *testing.T) {
	bubble(t, func(g *gateway) {
		g.say(wire.Frame{Type: wire.Data, Seq: 1, Body: []byte("x")})
		g.expect()
		time.Sleep(ackDelay)
		if f := g.expect(wire.Ack)[0]; f.Received != 1 || f.Released != 0 {
			t.Errorf("%+v", f)
		}
		g.link.Input()
		g.link.Consumed()
		time.Sleep(ackDelay)
		if f := g.expect(wire.Ack)[0]; f.Released != 1 {
			t.Errorf("%+v", f)
		}
	})
}

func TestAnAcknowledgementComesAtOnceForAQuarterOfTheWindow(t *testing.T) {
	bubble(t, func(g *gateway) {
		g.say(wire.Frame{Type: wire.Data, Seq: 1, Body: make([]byte, wire.MinWindow/4)})
		g.expect(wire.Ack)
	})
}

func TestAGapIsAskedForOnceAndAgainAfterAPause(t *testing.T) {
	bubble(t, func(g *gateway) {
		for seq := uint64(2); seq < 6; seq++ {
			g.say(wire.Frame{Type: wire.Data, Seq: seq, Body: []byte("x")})
		}
		g.expect(wire.Nak)
		time.Sleep(nakPause)
		g.say(wire.Frame{Type: wire.Data, Seq: 6, Body: []byte("x")})
		g.expect(wire.Nak)
		for seq := uint64(1); seq < 7; seq++ {
			g.say(wire.Frame{Type: wire.Data, Seq: seq, Body: []byte{byte('0' + seq)}})
		}
		var got []byte
		for range 6 {
			body, _, _ := g.link.Input()
			got = append(got, body...)
			g.link.Consumed()
		}
		if string(got) != "123456" {
			t.Errorf("%s", got)
		}
	})
}

func TestALineThatFailsItsSealAsksForMoreOnlyNowAndThen(t *testing.T) {
	bubble(t, func(g *gateway) {
		for range 1000 {
			g.link.HandleLine([]byte("noise"), true)
			g.link.HandleLine(nil, false)
			g.link.HandleLine(nil, true) // the newline that begins a stream is no noise
		}
		g.expect(wire.Nak)
	})
}

func TestAFrameThatCameTwiceIsAcknowledgedAndNotGivenTwice(t *testing.T) {
	bubble(t, func(g *gateway) {
		g.say(wire.Frame{Type: wire.Data, Seq: 1, Body: []byte("once")})
		g.say(wire.Frame{Type: wire.Data, Seq: 1, Body: []byte("once")})
		g.expect(wire.Ack)
		g.link.Input()
		g.link.Consumed()
		if g.link.in.count() != 0 {
			t.Error("it was kept twice")
		}
	})
}

func TestALineThatIsPlayedAgainChangesNothing(t *testing.T) {
	bubble(t, func(g *gateway) {
		f := wire.Frame{Epoch: 1, Number: 1, Type: wire.Hello}
		line := g.codec.AppendLine(nil, &f, nil)
		line = line[:len(line)-1]
		g.link.HandleLine(line, true)
		g.expect(wire.Welcome)
		g.link.HandleLine(line, true)
		g.expect()
	})
}

func TestHelloBringsWhatWasNotReceived(t *testing.T) {
	bubble(t, func(g *gateway) {
		for _, text := range []string{"a\n", "b\n", "c\n"} {
			g.link.Write(wire.Stdout, []byte(text))
			synctest.Wait()
		}
		g.expect(wire.Stdout, wire.Stdout, wire.Stdout)
		g.say(wire.Frame{Type: wire.Hello, Received: 1})
		frames := g.expect(wire.Welcome, wire.Stdout, wire.Stdout)
		if frames[1].Seq != 2 || string(frames[2].Body) != "c\n" {
			t.Errorf("%+v", frames)
		}
		if first := frames[0].Body[6]; first != 2 {
			t.Errorf("first is %d", first)
		}
	})
}

func TestANewHolderGetsAllThatWasNotReleased(t *testing.T) {
	bubble(t, func(g *gateway) {
		g.link.Write(wire.Stdout, []byte("line\n"))
		synctest.Wait()
		g.link.Write(wire.Stdout, []byte("half "))
		synctest.Wait()
		g.link.Write(wire.Stdout, []byte("a line\n"))
		g.say(wire.Frame{Type: wire.Data, Seq: 1, Body: []byte("half of a message")})
		g.heard()
		g.say(wire.Frame{Type: wire.Ack, Received: 3, Released: 2})
		g.epoch, g.number = 2, 0
		g.say(wire.Frame{Type: wire.Hello})
		frames := g.expect(wire.Welcome, wire.Stdout)
		want := wire.WelcomeBody{StdinMidLine: true, StdoutMidLine: true, First: 3, Queued: 17 + wire.Overhead,
			StdinWindow: wire.MinWindow, OutputWindow: wire.MinWindow}.Append(nil)
		if !bytes.Equal(frames[0].Body, want) || frames[0].Received != 1 || frames[0].Epoch != 2 || string(frames[1].Body) != "a line\n" {
			t.Errorf("%+v", frames)
		}
	})
}

func TestALowerEpochIsDroppedAndTold(t *testing.T) {
	bubble(t, func(g *gateway) {
		g.say(wire.Frame{Epoch: 3, Type: wire.Hello})
		g.expect(wire.Welcome)
		for range 100 {
			g.say(wire.Frame{Epoch: 2, Type: wire.Data, Seq: 1, Body: []byte("late")})
			g.say(wire.Frame{Epoch: 2, Type: wire.Signal, Seq: 1, Body: []byte{9}})
			g.say(wire.Frame{Epoch: 2, Type: wire.Hello})
		}
		for _, f := range g.heard() {
			if f.Type != wire.Fenced || f.Epoch != 3 {
				t.Errorf("%+v", f)
			}
		}
		if g.link.got != 0 || len(g.signals) != 0 {
			t.Error("it had an effect")
		}
	})
}

func TestAHigherEpochSpeaksOnlyAfterItsHello(t *testing.T) {
	bubble(t, func(g *gateway) {
		g.say(wire.Frame{Epoch: 2, Type: wire.Data, Seq: 1, Body: []byte("x")})
		g.expect()
		if g.link.epoch != 1 || g.link.got != 0 {
			t.Error("it had an effect")
		}
	})
}

func TestWhatIsNotAcknowledgedIsProbedEverMoreRarely(t *testing.T) {
	bubble(t, func(g *gateway) {
		for range 10 {
			g.link.Write(wire.Stdout, []byte("x\n"))
			synctest.Wait()
		}
		g.heard()
		time.Sleep(time.Hour)
		probes := g.heard()
		if len(probes) < 60 || len(probes) > 75 {
			t.Errorf("%d probes in an hour", len(probes))
		}
		for _, f := range probes {
			if f.Seq != 1 {
				t.Errorf("probed with %d", f.Seq)
			}
		}
		g.say(wire.Frame{Type: wire.Ack, Received: 1, Released: 1})
		if frames := g.heard(); len(frames) != 9 || frames[0].Seq != 2 {
			t.Errorf("after the probe: %+v", frames)
		}
	})
}
