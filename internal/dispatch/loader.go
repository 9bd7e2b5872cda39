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

// loader is the Redis client that the asynq client is given. asynq sends its tasks one by one, a script for each; the loader does the same
// for as many as are being sent at the moment, in one step, and rings the bell in the same step. It knows asynq's scripts by their keys;
// whatever it does not know goes through as it is.
type loader struct {
	redis.UniversalClient
	mu    sync.Mutex
	lists map[string]*batch.Batcher[loaded, int64]
}

// loaded is a task on its way to the pending or the scheduled ones.
type loaded struct {
	key           string
	id, msg, when any // when: since when it is pending (Unix nanoseconds), or when it is due (Unix seconds)
}

const loadMost = 128 // tasks in one script, which keeps Redis for about half a millisecond

func newLoader(c redis.UniversalClient) *loader {
	return &loader{UniversalClient: c, lists: map[string]*batch.Batcher[loaded, int64]{}}
}

// EvalSha knows how asynq enqueues (task and pending; message, id, time) and schedules (task and scheduled; message, time, id).
func (l *loader) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if len(keys) != 2 || len(args) != 3 || !strings.Contains(keys[0], "}:t:") {
		return l.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
	t := loaded{key: keys[0], msg: args[0], id: args[1], when: args[2]}
	script := enqueue
	switch {
	case strings.HasSuffix(keys[1], ":scheduled"):
		script, t.id, t.when = schedule, args[2], args[1]
	case !strings.HasSuffix(keys[1], ":pending"):
		return l.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
	cmd := redis.NewCmd(ctx)
	n, err := l.list(keys[1], script).Do(ctx, t)
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
// ARGV[1] bell  ARGV[2] the queue's name  ARGV[3n-3], ARGV[3n-2], ARGV[3n-1] message, id and time of the task KEYS[n]
// Returns for each task 1, or 0 where its id is known.
var enqueue = redis.NewScript(`
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

// schedule lays tasks down until they are due, as asynq does. Keys, arguments and answer are those of enqueue.
var schedule = redis.NewScript(`
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

func (l *loader) list(key string, script *redis.Script) *batch.Batcher[loaded, int64] {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.lists[key]
	if b == nil {
		b = batch.New(batch.Config{Max: loadMost, Timeout: 5 * time.Second}, func(ctx context.Context, in []loaded) ([]batch.Result[int64], error) {
			return l.load(ctx, key, script, in)
		})
		l.lists[key] = b
	}
	return b
}

func (l *loader) load(ctx context.Context, list string, script *redis.Script, in []loaded) ([]batch.Result[int64], error) {
	_, rest, _ := strings.Cut(list, "{")
	queue, _, _ := strings.Cut(rest, "}")
	keys := append(make([]string, 0, len(in)+1), list)
	args := append(make([]any, 0, 3*len(in)+2), BellChannel, queue)
	for _, t := range in {
		keys, args = append(keys, t.key), append(args, t.msg, t.id, t.when)
	}
	told, err := script.Run(ctx, l.UniversalClient, keys, args...).Int64Slice()
	if err != nil {
		return nil, job.Unavailable("redis did not take tasks", err)
	}
	out := make([]batch.Result[int64], len(told))
	for i, n := range told {
		out[i].Value = n
	}
	return out, nil
}
