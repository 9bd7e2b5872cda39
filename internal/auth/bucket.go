package auth

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Limit is a bucket that holds Burst failures and forgets one each Every. It counts as the generic
// cell rate algorithm does: one time per bucket, at which the bucket is empty again.
type Limit struct {
	Every time.Duration
	Burst int
}

func (l Limit) full() time.Duration { return l.Every * time.Duration(l.Burst) }

// take puts one into a bucket that is empty at t, and answers when it is empty then; or how long to
// wait for room.
func (l Limit) take(t, now time.Time) (empty time.Time, wait time.Duration) {
	if t.Before(now) {
		t = now
	}
	next := t.Add(l.Every)
	if wait := next.Sub(now) - l.full(); wait > 0 {
		return t, wait
	}
	return next, 0
}

// takeScript is Limit.take by the clock of Redis, and putBackScript its opposite.
//
//	KEYS[1]  the bucket: the time at which it is empty, in microseconds since 1970
//	ARGV[1]  Every, in microseconds
//	ARGV[2]  Burst
//
// It answers 0, or the microseconds to wait for room.
const takeScript = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local every = tonumber(ARGV[1])
local full = every * tonumber(ARGV[2])
local empty = tonumber(redis.call('GET', KEYS[1]) or 0)
if empty > now + full then empty = 0 end -- no bucket holds more: the clock of Redis has stepped back
local next = math.max(empty, now) + every
local wait = next - now - full
if wait > 0 then return wait end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
return 0`

// putBackScript takes one out of a bucket.
//
//	KEYS[1]  the bucket
//	ARGV[1]  Every, in microseconds
//
// It answers 0.
const putBackScript = `
local empty = tonumber(redis.call('GET', KEYS[1]) or 0) - tonumber(ARGV[1])
local t = redis.call('TIME')
local left = empty - (t[1] * 1000000 + t[2])
if left <= 0 then
	redis.call('DEL', KEYS[1])
else
	redis.call('SET', KEYS[1], string.format('%.0f', empty), 'PX', math.ceil(left / 1000))
end
return 0`

// buckets counts in this process first and then in Redis, which all API processes share. A try must
// find room in both, so that a Redis that goes away, comes back empty, or is slow for a moment
// resets no count.
type buckets struct {
	breaker       *redisBreaker
	take, putBack *redis.Script
	local         *cache[string, time.Time]
	now           func() time.Time
}

func newBuckets(r *redisBreaker, now func() time.Time) *buckets {
	return &buckets{breaker: r, take: redis.NewScript(takeScript), putBack: redis.NewScript(putBackScript),
		local: newCache[string, time.Time](maxCached, now), now: now}
}

// add puts one into a bucket, or answers how long to wait for room.
func (b *buckets) add(ctx context.Context, name string, l Limit) (wait time.Duration) {
	b.local.update(name, l.full(), func(empty time.Time) time.Time {
		empty, wait = l.take(empty, b.now())
		return empty
	})
	if wait > 0 {
		return wait
	}
	micros, err := b.run(ctx, b.take, name, l.Every.Microseconds(), l.Burst)
	if err != nil || micros == 0 {
		return 0
	}
	b.removeLocal(name, l)
	return time.Duration(micros) * time.Microsecond
}

// remove takes one out again. If Redis does not hear of it, the bucket there is empty a little
// later.
func (b *buckets) remove(ctx context.Context, name string, l Limit) {
	b.removeLocal(name, l)
	_, _ = b.run(ctx, b.putBack, name, l.Every.Microseconds())
}

func (b *buckets) removeLocal(name string, l Limit) {
	b.local.update(name, l.full(), func(empty time.Time) time.Time { return empty.Add(-l.Every) })
}

func (b *buckets) run(ctx context.Context, script *redis.Script, name string, args ...any) (int64, error) {
	n, err := ask(ctx, b.breaker, func(ctx context.Context, c redis.UniversalClient) (int64, error) {
		return script.Run(ctx, c, []string{name}, args...).Int64()
	})
	if errors.Is(err, redis.Nil) { // neither script answers that
		err = errNoRedis
	}
	return n, err
}
