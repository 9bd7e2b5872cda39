package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/job"
)

// lease gives a duty to one process for a while; who has it keeps it by asking again. Whatever wrote the key, it ends after that
// while: one without an end, with a later one or of another type would keep everybody from the duty for good.
//
// KEYS[1] the duty
// ARGV[1] who asks  ARGV[2] for how many milliseconds
// Returns 1 if it is theirs.
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

// release gives a duty up, if it is still theirs.
//
// KEYS[1] the duty
// ARGV[1] who gives it up
var release = redis.NewScript(`
if redis.pcall("GET", KEYS[1]) == ARGV[1] then
	return redis.call("DEL", KEYS[1])
end
return 0
`)

// Lease gives the named duty to holder for a while, if nobody else has it. It lasts no longer than Redis's memory: a duty that matters for the
// promise is none for it.
func (d *Dispatcher) Lease(ctx context.Context, name string, holder job.ID, ttl time.Duration) (held bool, err error) {
	n, err := lease.Run(ctx, d.redis, []string{leaseKey(name)}, holder.String(), ttl.Milliseconds()).Int()
	if err != nil {
		return false, fmt.Errorf("lease %s in Redis: %w", name, err)
	}
	return n == 1, nil
}

// Release gives a duty up; one that somebody else has by now stays with them.
func (d *Dispatcher) Release(ctx context.Context, name string, holder job.ID) error {
	if err := release.Run(ctx, d.redis, []string{leaseKey(name)}, holder.String()).Err(); err != nil {
		return fmt.Errorf("release %s in Redis: %w", name, err)
	}
	return nil
}

func leaseKey(name string) string { return "waybill:lease:" + name }
