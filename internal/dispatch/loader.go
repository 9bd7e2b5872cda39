package dispatch

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/batch"
	"github.com/waybill/waybill/internal/job"
)

// loader is the Redis client that the asynq client is given. asynq enqueues its tasks one by one, a script for each; the loader does the same
// for as many as are being sent at the moment, in one step, and rings the bell in the same step. It knows asynq's script by its keys;
// whatever it does not know goes through as it is.
type loader struct {
	redis.UniversalClient
	mu     sync.Mutex
	queues map[string]*batch.Batcher[loaded, int64]
}

// loaded is a task on its way.
type loaded struct {
	key     string
	id, msg any
	since   any // Unix nanoseconds
}

const loadMost = 128 // tasks in one script, which keeps Redis for about half a millisecond

func newLoader(c redis.UniversalClient) *loader {
	return &loader{UniversalClient: c, queues: map[string]*batch.Batcher[loaded, int64]{}}
}

// EvalSha knows how asynq enqueues: keys task and pending, arguments message, id and time.
func (l *loader) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if len(keys) != 2 || len(args) != 3 || !strings.HasSuffix(keys[1], ":pending") || !strings.Contains(keys[0], "}:t:") {
		return l.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
	cmd := redis.NewCmd(ctx)
	n, err := l.queue(keys[1]).Do(ctx, loaded{key: keys[0], msg: args[0], id: args[1], since: args[2]})
	if err != nil {
		cmd.SetErr(err)
		return cmd
	}
	cmd.SetVal(n)
	return cmd
}

// enqueue puts tasks into their queue as asynq does, and rings the bell if it was empty: whoever works on a queue that is not looks again
// by himself.
//
// KEYS[1] pending  KEYS[2…] the tasks' keys
// ARGV[1] bell  ARGV[2] the queue's name  ARGV[3] now (Unix nanoseconds)  ARGV[2n], ARGV[2n+1] message and id of the task KEYS[n]
// Returns for each task 1, or 0 where its id is known.
var enqueue = redis.NewScript(`
local out, fresh = {}, {}
for i = 2, #KEYS do
	if redis.call("EXISTS", KEYS[i]) == 1 then
		out[i - 1] = 0
	else
		redis.call("HSET", KEYS[i], "msg", ARGV[2 * i], "state", "pending", "pending_since", ARGV[3])
		fresh[#fresh + 1] = ARGV[2 * i + 1]
		out[i - 1] = 1
	end
end
if #fresh > 0 and redis.call("LPUSH", KEYS[1], unpack(fresh)) == #fresh then
	redis.call("PUBLISH", ARGV[1], ARGV[2])
end
return out
`)

func (l *loader) queue(pending string) *batch.Batcher[loaded, int64] {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.queues[pending]
	if b == nil {
		b = batch.New(batch.Config{Max: loadMost, Timeout: 5 * time.Second}, func(ctx context.Context, in []loaded) ([]batch.Result[int64], error) {
			return l.load(ctx, pending, in)
		})
		l.queues[pending] = b
	}
	return b
}

func (l *loader) load(ctx context.Context, pending string, in []loaded) ([]batch.Result[int64], error) {
	_, rest, _ := strings.Cut(pending, "{")
	queue, _, _ := strings.Cut(rest, "}")
	keys := append(make([]string, 0, len(in)+1), pending)
	args := append(make([]any, 0, 2*len(in)+3), BellChannel, queue, in[0].since)
	for _, t := range in {
		keys, args = append(keys, t.key), append(args, t.msg, t.id)
	}
	told, err := enqueue.Run(ctx, l.UniversalClient, keys, args...).Int64Slice()
	if err != nil {
		return nil, job.Unavailable("redis did not take tasks", err)
	}
	out := make([]batch.Result[int64], len(told))
	for i, n := range told {
		out[i].Value = n
	}
	return out, nil
}
