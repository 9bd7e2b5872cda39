package asynqredis

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// dequeueScript dequeues tasks as asynq does, the oldest first.
//
// KEYS[1] pending  KEYS[2] paused  KEYS[3] active  KEYS[4] lease
// ARGV[1] when the lease ends (Unix seconds)  ARGV[2] prefix of the tasks' keys  ARGV[3] how many
// Returns "more" where the queue has more of them, else "empty"; then their ids and messages in
// turn. A task without a message, or whose key has another type, cannot be run: its id is dropped,
// and the reconciler sees that its job has no task.
var dequeueScript = redis.NewScript(`
if redis.call("EXISTS", KEYS[2]) == 1 then
	return {"empty"}
end
local ids = redis.call("LRANGE", KEYS[1], -ARGV[3], -1)
if #ids == 0 then
	return {"empty"}
end
redis.call("LTRIM", KEYS[1], 0, -1 - #ids)
local out, active, lease = {#ids < tonumber(ARGV[3]) and "empty" or "more"}, {}, {}
for i = #ids, 1, -1 do
	local key = ARGV[2] .. ids[i]
	local message = redis.pcall("HGET", key, "msg")
	if type(message) == "string" then
		redis.call("HSET", key, "state", "active")
		redis.call("HDEL", key, "pending_since")
		out[#out + 1] = ids[i]
		out[#out + 1] = message
		active[#active + 1] = ids[i]
		lease[#lease + 1] = ARGV[1]
		lease[#lease + 1] = ids[i]
	end
end
if #active > 0 then
	redis.call("LPUSH", KEYS[3], unpack(active))
	redis.call("ZADD", KEYS[4], unpack(lease))
end
return out
`)

// dequeue returns one task of a queue. When Redis has to be asked, it is asked for as many tasks as
// can begin at once, so that none waits here.
func (c *BatchingServerClient) dequeue(ctx context.Context, keys []string, args []any) *redis.Cmd {
	queue := queueOf(keys[0])
	if c.cfg.MayDequeue() == 0 {
		c.rest(ctx)
		return failedWith(ctx, redis.Nil)
	}
	if len(c.dequeued[queue]) == 0 {
		if err := c.fetch(ctx, queue, keys, args); err != nil {
			time.Sleep(errorPause) // asynq would ask again at once
			return failedWith(ctx, err)
		}
	}
	if list := c.dequeued[queue]; len(list) > 0 {
		c.dequeued[queue] = list[1:]
		c.busy.Add(1)
		c.wasRequeued(list[0].id) // it is dequeued again: asynq's next done is about this time
		clear(c.empty)
		return answered(ctx, list[0].message)
	}
	c.foundEmpty(queue)
	return failedWith(ctx, redis.Nil)
}

// rest requeues the tasks that are dequeued and not begun, and pauses: asynq would ask again at
// once.
func (c *BatchingServerClient) rest(ctx context.Context) {
	if c.waiting() > 0 {
		_ = c.RequeueAll(ctx) // the reconciler finds what it cannot requeue
	}
	c.cfg.Notifier.pause(errorPause)
}

// Done says that asynq's handler has returned for one task.
func (c *BatchingServerClient) Done() { c.busy.Add(-1) }

func (c *BatchingServerClient) fetch(ctx context.Context, queue string, keys []string, args []any) error {
	n := min(c.cfg.Slots-int(c.busy.Load())-c.waiting(), MaxDequeueBatch, c.cfg.MayDequeue())
	if n < 1 {
		return nil
	}
	notified, ask := c.cfg.Notifier.worthAsking(queue)
	if !ask {
		return nil
	}
	got, err := dequeueScript.Run(ctx, c.cfg.Scripts, keys, args[0], args[1], n).StringSlice()
	if err != nil {
		return err
	}
	if got[0] == "empty" { // it need not be asked again to know that
		c.cfg.Notifier.foundEmpty(queue, notified)
	}
	got = got[1:]
	list := make([]dequeuedTask, 0, len(got)/2)
	for i := 0; i < len(got); i += 2 {
		// asynq would lose a slot to a message that it cannot read. The task stays active without a
		// worker, which the reconciler sees.
		if readable(got[i+1], got[i], queue) {
			list = append(list, dequeuedTask{got[i], got[i+1]})
		}
	}
	c.dequeued[queue] = list
	return nil
}

func (c *BatchingServerClient) waiting() (n int) {
	for _, list := range c.dequeued {
		n += len(list)
	}
	return n
}

// foundEmpty notes an empty queue, and waits for a notification once all queues are empty.
func (c *BatchingServerClient) foundEmpty(queue string) {
	c.empty[queue] = true
	if len(c.empty) >= c.cfg.Queues && c.waiting() == 0 {
		c.cfg.Notifier.wait(c.empty)
		clear(c.empty)
	}
}

// forward moves due tasks, once for the whole process.
func (c *BatchingServerClient) forward(ctx context.Context, sha string, keys []string, args []any) *redis.Cmd {
	if !c.cfg.Notifier.mayForward(keys[0]) {
		return answered(ctx, int64(0))
	}
	cmd := c.UniversalClient.EvalSha(ctx, sha, keys, c.yield(keys[0], args)...)
	if err := cmd.Err(); err != nil && strings.Contains(err.Error(), "WRONGTYPE") {
		cmd = c.unblock(ctx, keys, args)
	}
	if n, err := cmd.Int(); err == nil && n > 0 {
		c.cfg.Notifier.forwardAgain(keys[0])
		c.cfg.Notifier.Notify(queueOf(keys[0]))
	}
	return cmd
}

// yield lets other workers move due retries to the queue first, if this one does not know the types
// of some.
func (c *BatchingServerClient) yield(zset string, args []any) []any {
	now, ok := args[0].(int64)
	if !ok || !strings.HasSuffix(zset, ":retry") || !c.cfg.Yields() {
		return args
	}
	later := slices.Clone(args)
	later[0] = now - int64(yieldDelay.Seconds())
	return later
}

// unblockScript removes due tasks whose key is no hash from the set in which they wait: asynq's
// script fails at the first of them, and moves none behind it.
//
// KEYS[1] scheduled or retry
// ARGV[1] now (Unix seconds)  ARGV[2] prefix of the tasks' keys
// Returns how many there were.
var unblockScript = redis.NewScript(`
local removed = 0
for _, id in ipairs(redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", ARGV[1], "LIMIT", 0, 1000)) do
	local kind = redis.call("TYPE", ARGV[2] .. id).ok
	if kind ~= "hash" and kind ~= "none" then
		removed = removed + redis.call("ZREM", KEYS[1], id)
	end
end
return removed
`)

func (c *BatchingServerClient) unblock(ctx context.Context, keys []string, args []any) *redis.Cmd {
	return unblockScript.Run(ctx, c.UniversalClient, keys[:1], args[0], args[1])
}
