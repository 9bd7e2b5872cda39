package asynqredis

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// requeueScript returns tasks to the head of their queue, the oldest last: it is the next again.
//
// KEYS[1] pending  KEYS[2] active  KEYS[3] lease  KEYS[4…] the tasks' keys
// ARGV[n] the id of the task KEYS[n+3]
var requeueScript = redis.NewScript(`
for i = #KEYS, 4, -1 do
	local id = ARGV[i - 3]
	if redis.call("LREM", KEYS[2], -1, id) > 0 then
		redis.call("ZREM", KEYS[3], id)
		redis.call("RPUSH", KEYS[1], id)
		redis.call("HSET", KEYS[i], "state", "pending")
	end
end
return 0
`)

// RequeueAll returns the tasks that asynq was not given yet to their queues, once asynq asks for no
// more. The reconciler finds what it cannot requeue.
func (c *BatchingServerClient) RequeueAll(ctx context.Context) error {
	var all []error
	for queue, list := range c.dequeued {
		if len(list) == 0 {
			continue
		}
		p := QueuePrefix(queue)
		keys, ids := []string{p + "pending", p + "active", p + "lease"}, make([]any, len(list))
		for i, t := range list {
			keys, ids[i] = append(keys, p+"t:"+t.id), t.id
		}
		all = append(all, requeueScript.Run(ctx, c.cfg.Scripts, keys, ids...).Err())
	}
	clear(c.dequeued)
	return errors.Join(all...)
}

// Requeue returns one task that asynq was given and that is not begun to its queue. asynq then
// calls the task done, which EvalSha ignores: another worker may have the task by then.
func (c *BatchingServerClient) Requeue(ctx context.Context, queue, id string) error {
	c.mu.Lock()
	c.requeued[id] = true
	c.requeuedCount.Store(int64(len(c.requeued)))
	c.mu.Unlock()
	p := QueuePrefix(queue)
	err := requeueScript.Run(ctx, c.cfg.Scripts, []string{p + "pending", p + "active", p + "lease", p + "t:" + id}, id).
		Err()
	if err != nil {
		c.wasRequeued(id)
	}
	return err
}

// wasRequeued reports whether a task was requeued, once.
func (c *BatchingServerClient) wasRequeued(id string) bool {
	if c.requeuedCount.Load() == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.requeued[id]
	delete(c.requeued, id)
	c.requeuedCount.Store(int64(len(c.requeued)))
	return was
}
