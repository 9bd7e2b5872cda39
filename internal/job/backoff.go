package job

import (
	"math"
	"math/rand/v2"
	"time"
)

// Kinds of backoff.
const (
	Exponential = "exponential"
	Fixed       = "fixed"
)

// Backoff says how long to wait between a failure and the next attempt.
type Backoff struct {
	Kind string        // Exponential or Fixed
	Base time.Duration // the first delay
	Max  time.Duration // no delay is longer
}

// Delay is the wait after the given number of failures in a row (1 for the first): Base, doubled
// for each further failure where Kind is Exponential, spread by ±20 % so that jobs which failed
// together don't come back together, and never more than Max.
func (b Backoff) Delay(failures int) time.Duration {
	d := float64(b.Base)
	if b.Kind == Exponential {
		d *= math.Pow(2, float64(max(failures, 1)-1))
	}
	d = min(d, float64(b.Max)) * (0.8 + 0.4*rand.Float64())
	return min(time.Duration(d), b.Max)
}

// Spread is a wait of at least d, and up to a fifth more, so that jobs which were told to come back
// at the same moment do not.
func Spread(d time.Duration) time.Duration {
	return d + time.Duration(0.2*rand.Float64()*float64(d))
}
