package link

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"forgejo-mcp-operator/launcher/wire"
)

// TestQueueAgainstAModel does random things to a queue and to a plain slice of frames and compares them.
func TestQueueAgainstAModel(t *testing.T) {
	type frame struct {
		kind  wire.Type
		body  []byte
		extra bool
	}
	random := rand.New(rand.NewPCG(1, 2))
	q := newQueue(1000)
	var model []frame
	first := uint64(1)
	bytesOf := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	for step := range 20000 {
		switch body := bytesOf(1 + random.IntN(300)); random.IntN(5) {
		case 0, 1:
			charge := len(body) + wire.Overhead
			for _, f := range model {
				if !f.extra {
					charge += len(f.body) + wire.Overhead
				}
			}
			if fits := charge <= 1000; fits != q.fits(len(body)) {
				t.Fatalf("step %d: fits is %v", step, !fits)
			} else if fits {
				q.push(wire.Stdout, body)
				model = append(model, frame{kind: wire.Stdout, body: body})
			}
		case 2:
			if n := len(model); n > 0 && !model[n-1].extra && q.used+len(body) <= 1000 {
				q.extend(body)
				model[n-1].body = append(bytes.Clone(model[n-1].body), body...)
			}
		case 3:
			if random.IntN(10) == 0 {
				q.pushExtra(wire.EOF, nil)
				model = append(model, frame{kind: wire.EOF, extra: true})
			}
		case 4:
			for n := random.IntN(3); n > 0 && len(model) > 0; n-- {
				q.drop()
				model = model[1:]
				first++
			}
		}
		if q.count() != len(model) || q.first != first || q.next() != first+uint64(len(model)) {
			t.Fatalf("step %d: %d frames from %d", step, q.count(), q.first)
		}
		for i, f := range model {
			kind, body, more := q.at(first + uint64(i))
			if whole := append(bytes.Clone(body), more...); kind != f.kind || !bytes.Equal(whole, f.body) {
				t.Fatalf("step %d: frame %d differs", step, i)
			}
			if last, has := q.lastByte(first + uint64(i)); has != (len(f.body) > 0) || has && last != f.body[len(f.body)-1] {
				t.Fatalf("step %d: last byte of frame %d differs", step, i)
			}
		}
	}
}

func TestAQueueOfTinyFramesKeepsWithinItsWindow(t *testing.T) {
	q := newQueue(64 * 1024)
	n := 0
	for q.fits(1) {
		q.push(wire.Stdout, []byte{1})
		n++
	}
	if n > 64*1024/wire.Overhead {
		t.Errorf("%d frames of one byte", n)
	}
	for range 100000 {
		q.drop()
		q.push(wire.Stdout, []byte{2})
	}
	if cap(q.items) > 4*n {
		t.Errorf("the index grew to %d", cap(q.items))
	}
}
