package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// bell wakes idle workers: one published message says that a queue has work. Rings that come while one is on its way become one, so that
// a flood of jobs costs few of them; a ring that is lost costs a worker's next poll.
type bell struct {
	redis redis.UniversalClient
	mu    sync.Mutex
	rung  map[string]bool
	wake  chan struct{}
}

func newBell(c redis.UniversalClient) *bell {
	return &bell{redis: c, rung: map[string]bool{}, wake: make(chan struct{}, 1)}
}

func (b *bell) ring(queue string) {
	b.mu.Lock()
	b.rung[queue] = true
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *bell) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}
		b.mu.Lock()
		rung := b.rung
		b.rung = make(map[string]bool, len(rung))
		b.mu.Unlock()
		for queue := range rung {
			short, cancel := context.WithTimeout(ctx, time.Second)
			_ = b.redis.Publish(short, BellChannel, queue).Err() // lost: the workers poll
			cancel()
		}
	}
}
