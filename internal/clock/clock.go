// Package clock tells a process the ledger's time. One clock decides in Waybill, the ledger's: its
// statements read it themselves. What a process has to know beforehand (a score in Redis, whether a
// deadline has passed, the time in an id) it takes from a Clock, which measures how far the
// ledger's clock lies from the process's own.
package clock

import (
	"sync"
	"sync/atomic"
	"time"
)

// drift bounds how far two clocks move apart without a step: 500 parts in a million is the most by
// which Linux slews a clock.
const drift = 500e-6

// Clock estimates the ledger's time. Between two measurements it follows the monotonic clock, so
// that a step of the process's wall clock changes nothing. It is safe for concurrent use.
type Clock struct {
	origin time.Time // has a monotonic reading
	mu     sync.Mutex
	newest atomic.Pointer[estimate] // nil: the ledger was not asked yet
}

// estimate is one measurement that was taken over.
type estimate struct {
	zero int64         // the ledger's Unix time at the origin, in nanoseconds
	err  time.Duration // by how much zero may be wrong
	at   time.Duration // when it was measured, since the origin
}

// New makes a Clock that follows the process's own until something was observed.
func New() *Clock { return &Clock{origin: time.Now()} }

// Observe takes a reading of the ledger's clock that was asked for at began and was there at ended.
// The reading was made some time between the two, so half of the round trip is its error. A reading
// that agrees with what is known is taken over where it is the more exact one; one that does not
// agree means that a clock has stepped, and replaces what was known. Observe answers by how much
// the ledger's clock has stepped.
func (c *Clock) Observe(began, ended, ledger time.Time) (step time.Duration) {
	half := ended.Sub(began)/2 + time.Microsecond // the ledger cuts to microseconds
	next := &estimate{err: half, at: began.Sub(c.origin) + half}
	next.zero = ledger.UnixNano() - int64(next.at)
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.newest.Load()
	if known == nil {
		c.newest.Store(next)
		return 0
	}
	apart, most := time.Duration(next.zero-known.zero), known.errorAt(next.at)
	switch {
	case apart.Abs() > half+most:
		step = apart
	case half >= most:
		return 0
	}
	c.newest.Store(next)
	return step
}

// errorAt is the error of an estimate some time after its measurement.
func (e *estimate) errorAt(at time.Duration) time.Duration {
	return e.err + time.Duration(drift*float64(max(at-e.at, 0)))
}

// Now is the ledger's time, as far as it is known; the process's own before the first measurement.
// It has no monotonic reading: it is for comparing with the ledger's times, not for measuring.
func (c *Clock) Now() time.Time {
	e := c.newest.Load()
	if e == nil {
		return time.Now().Round(0)
	}
	return time.Unix(0, e.zero+int64(time.Since(c.origin)))
}

// Earliest is the earliest time that the ledger's clock may show: what is due by it is due for the
// ledger too.
func (c *Clock) Earliest() time.Time { return c.Now().Add(-c.Error()) }

// Known reports whether the ledger's clock was measured.
func (c *Clock) Known() bool { return c.newest.Load() != nil }

// Offset is by how much the ledger's clock is ahead of the process's; zero until it is known.
func (c *Clock) Offset() time.Duration {
	if !c.Known() {
		return 0
	}
	return time.Until(c.Now())
}

// Error bounds how wrong Now and Offset are; zero until they are known.
func (c *Clock) Error() time.Duration {
	e := c.newest.Load()
	if e == nil {
		return 0
	}
	return e.errorAt(time.Since(c.origin))
}
