// Package loop has the waits of background loops.
package loop

import (
	"context"
	"math/rand/v2"
	"time"
)

// Sleep waits for d. It reports false if ctx ends first.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Jitter returns d, changed at random by up to a tenth, so that processes that started together
// do not act together.
func Jitter(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d*9/10 + rand.N(d/5)
}
