package asynqredis

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/batch"
	"github.com/waybill/waybill/internal/job"
)

// BatchingEnqueueClient is a Redis client for asynq's client. asynq enqueues its tasks one by one,
// a script for each. This client runs one script for all tasks that are being enqueued at the
// moment, and wakes up idle workers in the same script. It recognises asynq's scripts by their
// keys, and passes on every other command.
type BatchingEnqueueClient struct {
	redis.UniversalClient
	mu       sync.Mutex
	batchers map[string]*batch.Batcher[enqueueItem, int64]
}

// enqueueItem is a task that is being enqueued or scheduled.
type enqueueItem struct {
	key     string
	id, msg any
	when    any // enqueued: the time in Unix nanoseconds; scheduled: when it is due, in Unix seconds
}

// MaxEnqueueBatch is how many tasks one script enqueues. That many block Redis for about half a
// millisecond.
const MaxEnqueueBatch = 128

// NewBatchingEnqueueClient makes one over a client.
func NewBatchingEnqueueClient(c redis.UniversalClient) *BatchingEnqueueClient {
	return &BatchingEnqueueClient{UniversalClient: c, batchers: map[string]*batch.Batcher[enqueueItem, int64]{}}
}

// EvalSha recognises asynq's scripts that enqueue (keys: task, pending; arguments: message, id,
// time) and schedule (keys: task, scheduled; arguments: message, time, id).
func (c *BatchingEnqueueClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if len(keys) != 2 || len(args) != 3 || !strings.Contains(keys[0], "}:t:") {
		return c.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
	t := enqueueItem{key: keys[0], msg: args[0], id: args[1], when: args[2]}
	script := enqueueScript
	switch {
	case strings.HasSuffix(keys[1], ":scheduled"):
		script, t.id, t.when = scheduleScript, args[2], args[1]
	case !strings.HasSuffix(keys[1], ":pending"):
		return c.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
	cmd := redis.NewCmd(ctx)
	n, err := c.batcher(keys[1], script).Do(ctx, t)
	if err != nil {
		cmd.SetErr(err)
		return cmd
	}
	cmd.SetVal(n)
	return cmd
}

// enqueueScript adds tasks to their queue as asynq does, and wakes up idle workers if the queue was
// empty: a worker that found tasks asks again without being told.
//
// KEYS[1] pending  KEYS[2…] the tasks' keys
// ARGV[1] the wake-up channel  ARGV[2] the queue's name
// ARGV[3n-3], ARGV[3n-2], ARGV[3n-1] message, id and time of the task KEYS[n]
// Returns for each task 1, or 0 where its id is known.
var enqueueScript = redis.NewScript(`
local out, fresh = {}, {}
for i = 2, #KEYS do
	if redis.call("EXISTS", KEYS[i]) == 1 then
		out[i - 1] = 0
	else
		redis.call("HSET", KEYS[i], "msg", ARGV[3 * i - 3], "state", "pending", "pending_since", ARGV[3 * i - 1])
		fresh[#fresh + 1] = ARGV[3 * i - 2]
		out[i - 1] = 1
	end
end
if #fresh > 0 and redis.call("LPUSH", KEYS[1], unpack(fresh)) == #fresh then
	redis.call("PUBLISH", ARGV[1], ARGV[2])
end
return out
`)

// scheduleScript adds tasks to the scheduled ones as asynq does. Its keys, arguments and reply are
// those of enqueueScript.
var scheduleScript = redis.NewScript(`
local out = {}
for i = 2, #KEYS do
	if redis.call("EXISTS", KEYS[i]) == 1 then
		out[i - 1] = 0
	else
		redis.call("HSET", KEYS[i], "msg", ARGV[3 * i - 3], "state", "scheduled")
		redis.call("ZADD", KEYS[1], ARGV[3 * i - 1], ARGV[3 * i - 2])
		out[i - 1] = 1
	end
end
return out
`)

func (c *BatchingEnqueueClient) batcher(key string, script *redis.Script) *batch.Batcher[enqueueItem, int64] {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.batchers[key]
	if b == nil {
		b = batch.New(
			batch.Config{Max: MaxEnqueueBatch, Timeout: 5 * time.Second},
			func(ctx context.Context, in []enqueueItem) ([]batch.Result[int64], error) {
				return c.enqueue(ctx, key, script, in)
			},
		)
		c.batchers[key] = b
	}
	return b
}

func (c *BatchingEnqueueClient) enqueue(
	ctx context.Context,
	list string,
	script *redis.Script,
	in []enqueueItem,
) ([]batch.Result[int64], error) {
	queue := queueOf(list)
	keys := append(make([]string, 0, len(in)+1), list)
	args := append(make([]any, 0, 3*len(in)+2), WakeUpChannel, queue)
	for _, t := range in {
		keys, args = append(keys, t.key), append(args, t.msg, t.id, t.when)
	}
	added, err := script.Run(ctx, c.UniversalClient, keys, args...).Int64Slice()
	if err != nil {
		return nil, job.Unavailable("redis did not take tasks", err)
	}
	out := make([]batch.Result[int64], len(added))
	for i, n := range added {
		out[i].Value = n
	}
	return out, nil
}
