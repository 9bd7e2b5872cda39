package asynqredis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/batch"
	"github.com/waybill/waybill/internal/job"
)

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
				// Those of one moment are of one day, or the day has just changed: then a few count
				// for the wrong one.
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
