package link

import "forgejo-mcp-operator/launcher/wire"

// item is one numbered frame. Its body lies in the queue's ring, or in extra (then not nil) when it is one of the few that
// no window holds up.
type item struct {
	kind  wire.Type
	off   int
	n     int
	extra []byte
}

// queue holds consecutive numbered frames, with their bytes in one ring that never grows: the direction's window.
// An empty queue starts again at the ring's front, so that a quiet child touches only its first pages.
type queue struct {
	ring   []byte
	tail   int // where the next byte goes
	used   int // bytes of ring in use
	charge int // used plus wire.Overhead for each frame
	items  []item
	head   int    // index of the first item in items
	first  uint64 // its sequence number
}

func newQueue(window int) *queue {
	return &queue{ring: make([]byte, window), first: 1}
}

// count is how many frames are held.
func (q *queue) count() int { return len(q.items) - q.head }

// next is the sequence number that the next frame gets.
func (q *queue) next() uint64 { return q.first + uint64(q.count()) }

// fits says whether a frame with n bytes keeps within the window.
func (q *queue) fits(n int) bool { return q.charge+n+wire.Overhead <= len(q.ring) }

// push adds a frame; the caller has asked fits.
func (q *queue) push(kind wire.Type, body []byte) {
	q.items = append(q.items, item{kind: kind, off: q.tail, n: len(body)})
	q.put(body)
	q.charge += wire.Overhead
}

// pushExtra adds a small frame that is never held up.
func (q *queue) pushExtra(kind wire.Type, body []byte) {
	q.items = append(q.items, item{kind: kind, extra: append([]byte{}, body...)})
}

// extend adds bytes to the last frame; the caller has seen to kind and size.
func (q *queue) extend(body []byte) {
	q.items[len(q.items)-1].n += len(body)
	q.put(body)
}

// last is the newest frame, or nil.
func (q *queue) last() *item {
	if q.count() == 0 {
		return nil
	}
	return &q.items[len(q.items)-1]
}

func (q *queue) put(body []byte) {
	n := copy(q.ring[q.tail:], body)
	copy(q.ring, body[n:])
	q.tail = (q.tail + len(body)) % len(q.ring)
	q.used += len(body)
	q.charge += len(body)
}

// at returns frame seq, its body in up to two parts that stay valid until the frame is dropped.
func (q *queue) at(seq uint64) (kind wire.Type, body, more []byte) {
	it := &q.items[q.head+int(seq-q.first)]
	if it.extra != nil || it.n == 0 {
		return it.kind, it.extra, nil
	}
	if end := it.off + it.n; end > len(q.ring) {
		return it.kind, q.ring[it.off:], q.ring[:end-len(q.ring)]
	}
	return it.kind, q.ring[it.off : it.off+it.n], nil
}

// lastByte returns the last byte of frame seq and whether it has one.
func (q *queue) lastByte(seq uint64) (byte, bool) {
	_, body, more := q.at(seq)
	if len(more) > 0 {
		return more[len(more)-1], true
	}
	if len(body) > 0 {
		return body[len(body)-1], true
	}
	return 0, false
}

// drop forgets the first frame.
func (q *queue) drop() {
	it := &q.items[q.head]
	q.used -= it.n
	if it.extra == nil {
		q.charge -= it.n + wire.Overhead
	}
	*it = item{}
	q.head++
	q.first++
	if q.count() == 0 {
		q.items, q.head, q.tail = q.items[:0], 0, 0
	} else if q.head >= 256 && q.head*2 >= len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
}
