package redisx

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// lease takes or extends a lease. A key without an expiry, with a later one or of another type,
// which something else wrote, would keep the lease from every process for good: it gets this
// lease's expiry.
//
// KEYS[1] the lease
// ARGV[1] the holder  ARGV[2] its duration in milliseconds
// Returns 1 if the holder has it.
var lease = redis.NewScript(`
local holder = redis.pcall("GET", KEYS[1])
if holder and holder ~= ARGV[1] and type(holder) == "string" then
	local left = redis.call("PTTL", KEYS[1])
	if left < 0 or left > tonumber(ARGV[2]) then
		redis.call("PEXPIRE", KEYS[1], ARGV[2])
	end
	return 0
end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return 1
`)

// release deletes a lease that is still the holder's.
//
// KEYS[1] the lease
// ARGV[1] the holder
var release = redis.NewScript(`
if redis.pcall("GET", KEYS[1]) == ARGV[1] then
	return redis.call("DEL", KEYS[1])
end
return 0
`)

// Lease gives the lease under a key to holder for ttl, or extends it, unless another holder has it.
// It is lost when Redis loses its data: use it only for work that is safe to do twice.
func Lease(ctx context.Context, c redis.Scripter, key, holder string, ttl time.Duration) (held bool, err error) {
	n, err := lease.Run(ctx, c, []string{key}, holder, ttl.Milliseconds()).Int()
	if err != nil {
		return false, fmt.Errorf("lease %s in Redis: %w", key, err)
	}
	return n == 1, nil
}

// Release ends a lease, if holder still has it.
func Release(ctx context.Context, c redis.Scripter, key, holder string) error {
	if err := release.Run(ctx, c, []string{key}, holder).Err(); err != nil {
		return fmt.Errorf("release %s in Redis: %w", key, err)
	}
	return nil
}
