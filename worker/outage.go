package worker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill/waybill/internal/asynqredis"
)

const (
	// A pool stops taking tasks after so many failed claims or heartbeats in a row, the first of
	// which began at least outageAfter ago: a restart of the database is shorter than that, or ends
	// every attempt to claim.
	outageFailures = 3
	outageAfter    = 2 * time.Second
)

// outage knows whether the ledger answers. A pool whose claims are not answered must hold no tasks:
// another one may be able to run them.
type outage struct {
	troubled atomic.Bool // whether anything below is set; saves the lock where all is well

	mu               sync.Mutex
	since            time.Time // the beginning of the first failure in a row
	failedClaims     int       // failed in a row
	failedHeartbeats int       // failed in a row
	out              bool
	// The ledger answers heartbeats again: one task is taken, to see whether it answers claims.
	probe bool
	ended chan struct{} // closed when out becomes true; nil: nothing waits for that
}

// mayDequeue is how many tasks may be taken at once.
func (o *outage) mayDequeue() int {
	if !o.troubled.Load() {
		return asynqredis.MaxDequeueBatch
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.out:
		return 0
	case o.probe:
		return 1
	default:
		return asynqredis.MaxDequeueBatch
	}
}

func (o *outage) isOut() bool { return o.mayDequeue() == 0 }

// claimed says that the ledger answered a claim. It reports whether that ended an outage.
func (o *outage) claimed() bool {
	if !o.troubled.Load() {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.out || o.probe
	o.since, o.failedClaims, o.failedHeartbeats, o.out, o.probe = time.Time{}, 0, 0, false, false
	o.troubled.Store(false)
	return was
}

// claimFailed says that a claim which began at the given time was not answered. It reports whether
// an outage begins.
func (o *outage) claimFailed(began time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failedClaims++
	return o.fail(began, o.probe || o.failedClaims >= outageFailures)
}

// heartbeat says whether a heartbeat that began at the given time reached the ledger. It reports
// whether an outage begins.
func (o *outage) heartbeat(began time.Time, ok bool) bool {
	if ok && !o.troubled.Load() {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if ok {
		o.failedHeartbeats = 0
		o.probe = o.probe || o.out
		o.out = false
		return false
	}
	o.failedHeartbeats++
	return o.fail(began, o.failedHeartbeats >= outageFailures)
}

func (o *outage) fail(began time.Time, enough bool) bool {
	o.troubled.Store(true)
	if o.since.IsZero() || began.Before(o.since) {
		o.since = began
	}
	if o.out || !enough || time.Since(o.since) < outageAfter {
		return false
	}
	again := o.probe
	o.out, o.probe = true, false
	if o.ended != nil {
		close(o.ended)
		o.ended = nil
	}
	return !again
}

// begins is closed when the next outage begins; it is closed already during one.
func (o *outage) begins() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended == nil {
		o.ended = make(chan struct{})
		if o.out {
			done := o.ended
			o.ended = nil
			close(done)
			return done
		}
	}
	return o.ended
}
