package obs

import (
	"context"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/loop"
)

const (
	lagEvery = 250 * time.Millisecond // between two samples, and so the error of the lag
	lagKept  = 4096                   // samples: 17 minutes
)

// Lag tells how long what leaves a first-in-first-out line has stood in it, from two counts alone:
// how many ever joined it, and how many ever left.
type Lag struct {
	mu      sync.Mutex
	samples []lagSample // oldest first; times at which joined grew
	left    int64
}

type lagSample struct {
	at     time.Time
	joined int64
}

// Run samples until ctx ends.
func (l *Lag) Run(counts func() (joined, left int64)) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		for loop.Sleep(ctx, lagEvery) {
			joined, left := counts()
			l.Sample(time.Now(), joined, left)
		}
		return nil
	}
}

// Sample notes the counts at a time. The item at the head now joined with the first sample that
// exceeds what has left.
func (l *Lag) Sample(at time.Time, joined, left int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = left
	// Counts read one after the other may seem to fall.
	if n := len(l.samples); n == 0 || l.samples[n-1].joined < joined {
		l.samples = append(l.samples, lagSample{at, joined})
	}
	drop := 0
	for drop < len(l.samples) && l.samples[drop].joined <= left {
		drop++
	}
	l.samples = l.samples[max(drop, len(l.samples)-lagKept):]
}

// Behind is for how long the one at the head has waited; zero: the line is empty.
func (l *Lag) Behind(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.samples) == 0 || l.samples[len(l.samples)-1].joined <= l.left {
		return 0
	}
	return max(0, now.Sub(l.samples[0].at))
}
