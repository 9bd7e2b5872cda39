package peer

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// phase is what a connection waits for.
type phase int32

const (
	unfinishedPhase phase = iota // for its peer, in the middle of a request or an answer
	idlePhase                    // for the next request
	workingPhase                 // for this process
	waitingPhase                 // for a job: it costs little and may take long
)

const (
	writeChunk   = 64 << 10         // bytes of an answer that must be taken within writeTimeout
	writeTimeout = 15 * time.Second // of one chunk: a reader must take 4 KiB a second
	writeMargin  = 5 * time.Second  // a deadline that lies further ahead than writeTimeout less this is not set again
)

// Conn is a connection that is counted. Its methods may be called on a nil *Conn.
type Conn struct {
	net.Conn
	guard *Guard
	proxy bool
	phase atomic.Int32
	since atomic.Int64 // when the last byte moved or the phase changed: nanoseconds since the guard began

	writeBy time.Time // the deadline that is set; writes come one after the other

	// What it is counted against; of Guard.mu.
	peer   netip.Prefix
	holder *holder
}

// Read notes that the peer moves.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.since.Store(int64(c.guard.now()))
	}
	return n, err
}

// Write sends an answer piece by piece. Each piece has a deadline, so that a peer which does not
// read is cut off, however long the answer and whatever it cost to make.
func (c *Conn) Write(b []byte) (written int, err error) {
	for {
		now := time.Now()
		if c.writeBy.Sub(now) < writeTimeout-writeMargin {
			c.writeBy = now.Add(writeTimeout)
			if err := c.Conn.SetWriteDeadline(c.writeBy); err != nil {
				return written, err
			}
		}
		n, err := c.Conn.Write(b[:min(len(b), writeChunk)])
		written += n
		if b = b[n:]; err != nil || len(b) == 0 {
			return written, err
		}
		c.since.Store(int64(c.guard.now()))
	}
}

// Close uncounts the connection.
func (c *Conn) Close() error {
	c.guard.mu.Lock()
	c.guard.forget(c)
	c.guard.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets net/http tell a peer that is still sending why its request was refused.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// follow keeps the phase in step with net/http.
func (c *Conn) follow(s http.ConnState) {
	switch s {
	case http.StateActive: // with the first byte of a request, which Read has noted
		c.phase.Store(int32(unfinishedPhase))
	case http.StateIdle:
		c.silence(idlePhase)
	}
}

// silence enters a phase in which the time since the last byte counts.
func (c *Conn) silence(p phase) {
	c.phase.Store(int32(p))
	c.since.Store(int64(c.guard.now()))
}

// Work says that the request is here, and this process has to do the next step: the connection is
// not closed to make room.
func (c *Conn) Work() {
	if c != nil {
		c.phase.Store(int32(workingPhase))
	}
}

// Expect says that the peer has to do the next step: send its body, or take its answer.
func (c *Conn) Expect() {
	if c != nil {
		c.silence(unfinishedPhase)
	}
}

// Wait says that the request waits for a job, until the function that it answers is called.
// Meanwhile it is not counted against its peer.
func (c *Conn) Wait() (end func()) {
	if c == nil {
		return func() {}
	}
	c.guard.mu.Lock()
	h := c.holder
	c.guard.mu.Unlock()
	c.phase.Store(int32(waitingPhase))
	if h == nil {
		return c.Work
	}
	h.waiting.Add(1)
	return func() {
		h.waiting.Add(-1)
		c.Work()
	}
}

// Serve counts the connection of a proxy against the client that it names, until the function that
// it answers is called. It answers false where that client has too many already.
func (c *Conn) Serve(client netip.Addr) (end func(), ok bool) {
	if c == nil || !c.proxy || !client.IsValid() {
		return func() {}, true
	}
	g := c.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, counted := g.conns[c]; counted && !g.join(c, Network(client)) {
		return nil, false
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.part(c)
	}, true
}

func (c *Conn) moved() time.Duration { return time.Duration(c.since.Load()) }

// rank says how soon the connection may be closed to make room; false: not at all.
func (c *Conn) rank(now time.Duration) (rank int, ok bool) {
	silent := now-c.moved() >= stalledAfter
	switch p := phase(c.phase.Load()); {
	case p == unfinishedPhase && silent:
		return 0, true
	case p == idlePhase && silent:
		return 1, true
	case p == unfinishedPhase || p == idlePhase:
		return 2, true
	}
	return 0, false
}
