package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	redisTimeout  = 75 * time.Millisecond // how long a request waits for Redis
	redisCooldown = time.Second           // how long Redis is left alone after it failed
)

var errNoRedis = errors.New("redis is not asked at the moment")

// redisBreaker leads to Redis, and is closed for a moment after Redis failed, so that a dead Redis
// costs one request a second some milliseconds, and not each request.
type redisBreaker struct {
	client   redis.UniversalClient // nil: there is none
	patience time.Duration
	log      *slog.Logger
	now      func() time.Time
	began    time.Time
	// closedUntil, in nanoseconds since began by the monotonic clock; 0: open.
	closedUntil atomic.Int64
}

func newRedisBreaker(client redis.UniversalClient, log *slog.Logger, now func() time.Time) *redisBreaker {
	return &redisBreaker{client: client, patience: redisTimeout, log: log, now: now, began: now()}
}

// ask runs f against Redis and waits for it no longer than its patience. Whatever keeps it from an
// answer is an error, and the caller goes on without Redis. redis.Nil is an answer.
func ask[T any](
	ctx context.Context,
	r *redisBreaker,
	f func(context.Context, redis.UniversalClient) (T, error),
) (T, error) {
	var none T
	if !r.pass() {
		return none, errNoRedis
	}
	type answer struct {
		value T
		err   error
	}
	got := make(chan answer, 1)
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.patience)
	go func() { // the client may look at its context late or never; we don't wait for that
		defer cancel()
		defer func() {
			if v := recover(); v != nil {
				got <- answer{err: fmt.Errorf("redis client panicked: %v", v)}
			}
		}()
		v, err := f(bounded, r.client)
		got <- answer{v, err}
	}()
	var a answer
	select {
	case a = <-got:
	case <-bounded.Done():
		a.err = bounded.Err()
		select { // done because it has answered
		case a = <-got:
		default:
		}
	}
	r.report(ctx, a.err)
	return a.value, a.err
}

// pass reports whether Redis may be asked. Of those who come when the breaker has been closed long
// enough, one may try.
func (r *redisBreaker) pass() bool {
	if r.client == nil {
		return false
	}
	until, now := r.closedUntil.Load(), int64(r.now().Sub(r.began))
	return until == 0 || now >= until && r.closedUntil.CompareAndSwap(until, now+int64(redisCooldown))
}

func (r *redisBreaker) report(ctx context.Context, err error) {
	if err == nil || errors.Is(err, redis.Nil) {
		if r.closedUntil.Swap(0) != 0 {
			r.log.InfoContext(ctx, "auth uses redis again")
		}
		return
	}
	if r.closedUntil.Swap(int64(r.now().Sub(r.began)+redisCooldown)) == 0 {
		r.log.WarnContext(ctx, "auth goes on without redis", "err", err)
	}
}
