package link

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"

	"forgejo-mcp-operator/launcher/wire"
)

var key = []byte("0123456789abcdefghijklmnopqrstuv")

// gateway is the other end, by hand: every frame is said and seen one by one.
type gateway struct {
	t      *testing.T
	link   *Link
	codec  *wire.Codec
	epoch  uint32
	number uint64

	mu       sync.Mutex
	frames   []wire.Frame
	failing  error
	signals  []byte
	finished error
}

// start makes a link with its pump. Everything runs in the bubble of synctest, so that time is the test's.
func start(t *testing.T) *gateway {
	g := &gateway{t: t, codec: wire.NewCodec(key, wire.ToLauncher), epoch: 1}
	g.link = New(&wire.Claim{
		Key: key, Epoch: 1, Limits: wire.Limits{StdinWindow: wire.MinWindow, OutputWindow: wire.MinWindow, LingerMs: 5000},
	}, func(n byte) { g.signals = append(g.signals, n) })
	go func() { g.finished = g.link.Pump(g) }()
	return g
}

func (g *gateway) stop() {
	g.link.Close()
	synctest.Wait()
}

// Write takes the launcher's lines.
func (g *gateway) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failing != nil {
		return 0, g.failing
	}
	for line := range bytes.Lines(p) {
		var f wire.Frame
		if err := g.codec.OpenLine(line[:len(line)-1], &f); err != nil {
			g.t.Error(err)
		}
		f.Body = bytes.Clone(f.Body)
		if n := len(g.frames); n > 0 && g.frames[n-1].Number >= f.Number {
			g.t.Error("a number was used again")
		}
		g.frames = append(g.frames, f)
	}
	return len(p), nil
}

func (g *gateway) say(f wire.Frame) {
	g.number++
	f.Number = g.number
	if f.Epoch == 0 {
		f.Epoch = g.epoch
	}
	line := g.codec.AppendLine(nil, &f, nil)
	g.link.HandleLine(line[:len(line)-1], true)
}

// heard returns what came since the last call, once nothing more is due.
func (g *gateway) heard() []wire.Frame {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	frames := g.frames
	g.frames = nil
	return frames
}

func (g *gateway) expect(types ...wire.Type) []wire.Frame {
	g.t.Helper()
	frames := g.heard()
	var got []wire.Type
	for _, f := range frames {
		got = append(got, f.Type)
	}
	if len(got) != len(types) {
		g.t.Fatalf("heard %x, expected %x", got, types)
	}
	for i := range got {
		if got[i] != types[i] {
			g.t.Fatalf("heard %x, expected %x", got, types)
		}
	}
	return frames
}

// bubble runs a test with a clock of its own.
func bubble(t *testing.T, run func(g *gateway)) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t)
		defer g.stop()
		run(g)
	})
}
