package process

import "fmt"

// clip is a writer that keeps the beginning and the end of what is written, and counts what lies
// between: the beginning says what a program did, the end why it stopped.
type clip struct {
	half int // bytes kept of each
	head []byte
	tail []byte // a ring, once it is full
	next int    // where the ring is written next
	size int    // bytes written in all
}

func newClip(limit int) *clip { return &clip{half: limit / 2} }

// Write never fails, so that a program is never stopped by what it says.
func (c *clip) Write(p []byte) (int, error) {
	n := len(p)
	c.size += n
	take := min(n, c.half-len(c.head))
	c.head = append(c.head, p[:take]...)
	p = p[take:]
	if len(p) > c.half {
		p = p[len(p)-c.half:]
	}
	take = min(len(p), c.half-len(c.tail))
	c.tail = append(c.tail, p[:take]...)
	for p = p[take:]; len(p) > 0; p = p[take:] {
		take = copy(c.tail[c.next:], p)
		c.next = (c.next + take) % c.half
	}
	return n, nil
}

func (c *clip) String() string {
	tail := string(c.tail[c.next:]) + string(c.tail[:c.next])
	if left := c.size - len(c.head) - len(c.tail); left > 0 {
		return fmt.Sprintf("%s\n… %d bytes left out …\n%s", c.head, left, tail)
	}
	return string(c.head) + tail
}
