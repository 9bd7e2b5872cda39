package api

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/peer"
)

// inflightLimit bounds the number of requests that are worked on at once. Requests beyond it are
// refused at once with Retry-After: queueing them would slow all requests down until each of them
// times out. Requests that wait for a job are counted apart, and one peer may have only a part of
// the slots.
type inflightLimit struct {
	maxWorking, maxWaiting, maxPeerWaiting int64
	working, waiting                       atomic.Int64

	mu        sync.Mutex
	waitingOf map[network]int64
}

// peerWaiting is the share of the waiting requests that one peer may have: a fifth.
const peerWaiting = 5

func newInflightLimit(working, waiting int) *inflightLimit {
	return &inflightLimit{
		maxWorking:     int64(working),
		maxWaiting:     int64(waiting),
		maxPeerWaiting: int64(max(waiting/peerWaiting, 1)),
		waitingOf:      map[network]int64{},
	}
}

var errBusy = &job.Error{Code: job.CodeUnavailable, Message: "too many requests at once", RetryAfter: time.Second}

// limit is the middleware that counts.
func (b *inflightLimit) limit(c *gin.Context) {
	p := &requestInfoOf(c).place
	p.of = b
	if err := p.acquire(); err != nil {
		refuse(c, err)
		return
	}
	defer p.release()
	c.Next()
}

// slot is what one request has of a bound. It is held while this process works on the request, and
// not while the body comes in or the answer goes out: a slow peer takes no place from others. The
// zero place is of a route without a bound.
type slot struct {
	of   *inflightLimit
	conn *peer.Conn
	held bool
}

// acquire answers errBusy where no place is free.
func (p *slot) acquire() error {
	if p.of == nil || p.held {
		return nil
	}
	if p.of.working.Add(1) > p.of.maxWorking {
		p.of.working.Add(-1)
		return errBusy
	}
	p.held = true
	p.conn.Work()
	return nil
}

// release gives the place back: the peer has to do the next step.
func (p *slot) release() {
	if p.held {
		p.held = false
		p.of.working.Add(-1)
		p.conn.Expect()
	}
}

// wait runs f as a request that waits: its place among the working ones is free meanwhile.
// Afterwards it has one again, whether there is room or not: there is little left to do. from is
// where the request comes from; the zero network: not known.
func (p *slot) wait(ctx context.Context, from network, f func(ctx context.Context) error) error {
	if err := p.of.enter(from); err != nil {
		return err
	}
	defer p.of.exit(from)
	p.release()
	end := p.conn.Wait()
	defer func() {
		end()
		p.of.working.Add(1)
		p.held = true
	}()
	return f(ctx)
}

func (b *inflightLimit) enter(from network) error {
	if b.waiting.Add(1) > b.maxWaiting {
		b.waiting.Add(-1)
		return errBusy
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if from.IsValid() && b.waitingOf[from] >= b.maxPeerWaiting {
		b.waiting.Add(-1)
		return errBusy
	}
	b.waitingOf[from]++
	return nil
}

func (b *inflightLimit) exit(from network) {
	b.waiting.Add(-1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waitingOf[from]--; b.waitingOf[from] == 0 {
		delete(b.waitingOf, from)
	}
}
