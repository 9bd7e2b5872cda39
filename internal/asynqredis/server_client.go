package asynqredis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/batch"
	"github.com/waybill/waybill/internal/job"
)

// BatchingServerClient is a Redis client for asynq's server. asynq dequeues and finishes its tasks
// one by one, a script for each. This client runs one script for all tasks that there are at the
// moment. It recognises asynq's scripts by their keys and passes on every other command, so that a
// version of asynq with other scripts would be slower, not wrong.
type BatchingServerClient struct {
	redis.UniversalClient // for commands that are passed on
	cfg                   ServerClientConfig
	busy                  atomic.Int64 // tasks that asynq was given and that are not done

	// Of the goroutine that dequeues alone.
	dequeued map[string][]dequeuedTask // tasks that Redis gave and asynq was not given yet, by queue
	empty    map[string]bool           // queues found empty in a row

	mu            sync.Mutex
	finishers     map[string]*batch.Batcher[finishedTask, struct{}]
	requeued      map[string]bool // tasks that went back to their queue, and that asynq will call finished
	requeuedCount atomic.Int64    // how many of them; saves the lock where there are none
}

// ServerClientConfig says how a BatchingServerClient dequeues. All fields are needed but the
// functions.
type ServerClientConfig struct {
	Scripts  redis.UniversalClient // for the batching scripts; a client that does not pipeline
	Notifier *QueueNotifier
	Queues   int // how many queues the server serves
	Slots    int // tasks that the server works on at once
	// MayDequeue is how many tasks may be dequeued at once. At 0 no task is dequeued, and those
	// that are dequeued and not begun are requeued. Nil: MaxDequeueBatch.
	MayDequeue func() int
	// Yields reports whether other workers shall move due retries to the queue first. Nil: never.
	Yields func() bool
}

type dequeuedTask struct{ id, message string }

type finishedTask struct {
	id, key, day, expiry string
}

const (
	// MaxDequeueBatch is how many tasks one script dequeues or finishes. That many block Redis for
	// about half a millisecond.
	MaxDequeueBatch = 128
	// yieldDelay is how much later than other workers one that yields moves due retries.
	yieldDelay = time.Second
)

// NewBatchingServerClient makes one. Commands that it passes on go through the client given, which
// may pipeline.
func NewBatchingServerClient(c redis.UniversalClient, cfg ServerClientConfig) *BatchingServerClient {
	if cfg.MayDequeue == nil {
		cfg.MayDequeue = func() int { return MaxDequeueBatch }
	}
	if cfg.Yields == nil {
		cfg.Yields = func() bool { return false }
	}
	return &BatchingServerClient{
		UniversalClient: c,
		cfg:             cfg,
		dequeued:        map[string][]dequeuedTask{},
		empty:           map[string]bool{},
		finishers:       map[string]*batch.Batcher[finishedTask, struct{}]{},
		requeued:        map[string]bool{},
	}
}

// EvalSha recognises three of asynq's scripts by their keys: dequeue (pending, paused, active,
// lease), forward (scheduled or retry, pending) and done (active, lease, task, processed today,
// processed).
func (c *BatchingServerClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	switch {
	case len(keys) == 4 && len(args) == 2 && strings.HasSuffix(keys[0], ":pending") &&
		strings.HasSuffix(keys[1], ":paused"):
		return c.dequeue(ctx, keys, args)
	case len(keys) == 2 && strings.HasSuffix(keys[1], ":pending") &&
		(strings.HasSuffix(keys[0], ":scheduled") || strings.HasSuffix(keys[0], ":retry")):
		return c.forward(ctx, sha, keys, args)
	case len(keys) == 5 && len(args) == 3 && strings.HasSuffix(keys[0], ":active") &&
		strings.HasSuffix(keys[4], ":processed"):
		return c.finish(ctx, keys, args)
	default:
		return c.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
}

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

// finishScript deletes finished tasks as asynq does. A task that is no longer active is left alone.
//
// KEYS[1] active  KEYS[2] lease  KEYS[3] processed today  KEYS[4] processed
// KEYS[5…] the tasks' keys
// ARGV[1] when the count of the day ends (Unix seconds)  ARGV[2] the largest count
// ARGV[3…] the tasks' ids
// Returns how many there were.
var finishScript = redis.NewScript(`
local ids, keys = {}, {}
for i = 5, #KEYS do
	local id = ARGV[i - 2]
	if redis.call("LREM", KEYS[1], -1, id) > 0 then
		ids[#ids + 1] = id
		keys[#keys + 1] = KEYS[i]
	end
end
if #ids == 0 then
	return 0
end
redis.call("ZREM", KEYS[2], unpack(ids))
redis.call("DEL", unpack(keys))
if redis.call("INCRBY", KEYS[3], #ids) == #ids then
	redis.call("EXPIREAT", KEYS[3], ARGV[1])
end
local total = tonumber(redis.call("GET", KEYS[4]) or 0)
if total >= tonumber(ARGV[2]) - #ids then
	redis.call("SET", KEYS[4], #ids)
else
	redis.call("INCRBY", KEYS[4], #ids)
end
return #ids
`)

// finish is one worker's done, run in one script with others of the same queue.
func (c *BatchingServerClient) finish(ctx context.Context, keys []string, args []any) *redis.Cmd {
	if c.wasRequeued(fmt.Sprint(args[0])) {
		return answered(ctx, "OK")
	}
	_, err := c.finisher(keys).
		Do(ctx, finishedTask{id: fmt.Sprint(args[0]), key: keys[2], day: keys[3], expiry: fmt.Sprint(args[1])})
	if err != nil {
		return failedWith(ctx, err)
	}
	return answered(ctx, "OK")
}

func (c *BatchingServerClient) finisher(keys []string) *batch.Batcher[finishedTask, struct{}] {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.finishers[keys[0]]
	if f == nil {
		active, lease, processed := keys[0], keys[1], keys[4]
		f = batch.New(
			batch.Config{Max: MaxDequeueBatch, Concurrency: 1, Timeout: 5 * time.Second},
			func(ctx context.Context, in []finishedTask) ([]batch.Result[struct{}], error) {
				// Those of one moment are of one day, or the day has just changed: then a few count for
				// the wrong one.
				names := append(make([]string, 0, len(in)+4), active, lease, in[0].day, processed)
				values := append(make([]any, 0, len(in)+2), in[0].expiry, int64(1)<<62)
				for _, t := range in {
					names, values = append(names, t.key), append(values, t.id)
				}
				if err := finishScript.Run(ctx, c.cfg.Scripts, names, values...).Err(); err != nil {
					return nil, job.Unavailable("redis did not finish tasks", err)
				}
				return make([]batch.Result[struct{}], len(in)), nil
			},
		)
		c.finishers[keys[0]] = f
	}
	return f
}

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

func answered(ctx context.Context, value any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetVal(value)
	return cmd
}

func failedWith(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(err)
	return cmd
}

// queueOf reads the queue's name out of a key like asynq:{default}:pending.
func queueOf(key string) string {
	_, rest, _ := strings.Cut(key, "{")
	name, _, _ := strings.Cut(rest, "}")
	return name
}
