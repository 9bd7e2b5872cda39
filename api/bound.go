package api

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

// bound keeps the number of requests that are worked on at once finite: what comes beyond is told to come back, at
// once, instead of slowing everybody down until nobody is served. Requests that only wait are counted apart.
type bound struct {
	maxWorking, maxWaiting int64
	working, waiting       atomic.Int64
}

func newBound(working, waiting int) *bound {
	return &bound{maxWorking: int64(working), maxWaiting: int64(waiting)}
}

var errBusy = &job.Error{Code: job.CodeUnavailable, Message: "too many requests at once", RetryAfter: time.Second}

// limit is the middleware that counts.
func (b *bound) limit(c *gin.Context) {
	defer b.working.Add(-1)
	if b.working.Add(1) > b.maxWorking {
		refuse(c, errBusy)
		return
	}
	c.Next()
}

// wait runs f as a request that waits: its place among the working ones is free meanwhile. Called within limit only.
func (b *bound) wait(ctx context.Context, f func(ctx context.Context) error) error {
	defer b.waiting.Add(-1)
	if b.waiting.Add(1) > b.maxWaiting {
		return errBusy
	}
	b.working.Add(-1)
	defer b.working.Add(1)
	return f(ctx)
}
