package worker

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

// conveyor is the Redis client that the asynq server is given. asynq takes and finishes its tasks one by one, a script for each; the conveyor does
// the same for as many as there are at the moment, in one step. It knows asynq's scripts by their keys; whatever it does not know goes through
// as it is, so that another version of asynq would be slower, not wrong.
type conveyor struct {
	redis.UniversalClient                       // for what goes through: may be a pipelined one
	plain                 redis.UniversalClient // for what is done in one step already
	bell                  *doorbell
	want                  int          // how many queues are asked
	slots                 int          // tasks that asynq works on at once
	busy                  atomic.Int64 // tasks that asynq was given and that are not done
	mayTake               func() int   // how many tasks may be taken at once; 0: none, and those not begun are given back
	givesWay              func() bool  // whether other workers shall move due retries to the queue first

	// Of the goroutine that takes tasks alone.
	taken map[string][]taken // tasks that Redis gave and asynq was not given yet, by queue
	dry   map[string]bool    // queues found empty in a row

	mu        sync.Mutex
	finishers map[string]*batch.Batcher[finished, struct{}]
	returned  map[string]bool // tasks that were given back, and that asynq will call finished
	returns   atomic.Int64    // how many of them; saves the lock where there are none
}

type taken struct{ id, message string }

// finished is a task whose job is settled.
type finished struct {
	id, key, day, expiry string
}

// takeMost bounds how long one script keeps Redis: about half a millisecond.
const takeMost = 128

func newConveyor(through, plain redis.UniversalClient, bell *doorbell, queues, slots int) *conveyor {
	return &conveyor{UniversalClient: through, plain: plain, bell: bell, want: queues, slots: slots, taken: map[string][]taken{}, dry: map[string]bool{},
		finishers: map[string]*batch.Batcher[finished, struct{}]{}, returned: map[string]bool{},
		mayTake: func() int { return takeMost }, givesWay: func() bool { return false }}
}

// EvalSha knows three of asynq's scripts: taking a task (pending, paused, active, lease), moving due ones (scheduled or retry, pending) and
// finishing one (active, lease, task, processed today, processed).
func (c *conveyor) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	switch {
	case len(keys) == 4 && len(args) == 2 && strings.HasSuffix(keys[0], ":pending") && strings.HasSuffix(keys[1], ":paused"):
		return c.take(ctx, keys, args)
	case len(keys) == 2 && strings.HasSuffix(keys[1], ":pending") && (strings.HasSuffix(keys[0], ":scheduled") || strings.HasSuffix(keys[0], ":retry")):
		return c.forward(ctx, sha, keys, args)
	case len(keys) == 5 && len(args) == 3 && strings.HasSuffix(keys[0], ":active") && strings.HasSuffix(keys[4], ":processed"):
		return c.finish(ctx, keys, args)
	default:
		return c.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
}

// takeScript takes tasks as asynq does, the oldest first.
//
// KEYS[1] pending  KEYS[2] paused  KEYS[3] active  KEYS[4] lease
// ARGV[1] when the lease ends (Unix seconds)  ARGV[2] prefix of the tasks' keys  ARGV[3] how many
// Returns "more" where the queue has more of them, else "dry"; then their ids and messages in turn. A task without a message, or whose key has
// another type, cannot be run: its id is dropped, and the reconciler sees that its job has no task.
var takeScript = redis.NewScript(`
if redis.call("EXISTS", KEYS[2]) == 1 then
	return {"dry"}
end
local ids = redis.call("LRANGE", KEYS[1], -ARGV[3], -1)
if #ids == 0 then
	return {"dry"}
end
redis.call("LTRIM", KEYS[1], 0, -1 - #ids)
local out, active, lease = {#ids < tonumber(ARGV[3]) and "dry" or "more"}, {}, {}
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

// take answers one task of a queue. Where Redis has to be asked, it is asked for as many as can begin at once: none waits here.
func (c *conveyor) take(ctx context.Context, keys []string, args []any) *redis.Cmd {
	queue := queueOf(keys[0])
	if c.mayTake() == 0 {
		c.rest(ctx)
		return failedWith(ctx, redis.Nil)
	}
	if len(c.taken[queue]) == 0 {
		if err := c.fetch(ctx, queue, keys, args); err != nil {
			time.Sleep(errorPause) // asynq would ask again at once
			return failedWith(ctx, err)
		}
	}
	if list := c.taken[queue]; len(list) > 0 {
		c.taken[queue] = list[1:]
		c.busy.Add(1)
		c.wasReturned(list[0].id) // it was taken anew: what is finished from here on is this taking
		clear(c.dry)
		return answered(ctx, list[0].message)
	}
	c.isDry(queue)
	return failedWith(ctx, redis.Nil)
}

// rest gives back what was taken and not begun, and waits a little: asynq would ask again at once.
func (c *conveyor) rest(ctx context.Context) {
	if c.waiting() > 0 {
		_ = c.putBack(ctx) // what it cannot give back the reconciler finds
	}
	c.bell.pause(errorPause)
}

// done says that asynq's handler has returned for one task.
func (c *conveyor) done() { c.busy.Add(-1) }

func (c *conveyor) fetch(ctx context.Context, queue string, keys []string, args []any) error {
	n := min(c.slots-int(c.busy.Load())-c.waiting(), takeMost, c.mayTake())
	if n < 1 {
		return nil
	}
	rings, ask := c.bell.worthAsking(queue)
	if !ask {
		return nil
	}
	got, err := takeScript.Run(ctx, c.plain, keys, args[0], args[1], n).StringSlice()
	if err != nil {
		return err
	}
	if got[0] == "dry" { // it need not be asked again to know that
		c.bell.foundEmpty(queue, rings)
	}
	got = got[1:]
	list := make([]taken, 0, len(got)/2)
	for i := 0; i < len(got); i += 2 {
		// asynq would lose a slot to a message that it cannot read. The task stays active without a worker, which the reconciler sees.
		if readable(got[i+1], got[i], queue) {
			list = append(list, taken{got[i], got[i+1]})
		}
	}
	c.taken[queue] = list
	return nil
}

func (c *conveyor) waiting() (n int) {
	for _, list := range c.taken {
		n += len(list)
	}
	return n
}

// isDry notes a queue that has nothing, and once that is true of all of them, waits.
func (c *conveyor) isDry(queue string) {
	c.dry[queue] = true
	if len(c.dry) >= c.want && c.waiting() == 0 {
		c.bell.wait(c.dry)
		clear(c.dry)
	}
}

// forward moves due tasks, once for the whole process.
func (c *conveyor) forward(ctx context.Context, sha string, keys []string, args []any) *redis.Cmd {
	if !c.bell.mayForward(keys[0]) {
		return answered(ctx, int64(0))
	}
	cmd := c.UniversalClient.EvalSha(ctx, sha, keys, c.laterBy(keys[0], args)...)
	if err := cmd.Err(); err != nil && strings.Contains(err.Error(), "WRONGTYPE") {
		cmd = c.unblock(ctx, keys, args)
	}
	if n, err := cmd.Int(); err == nil && n > 0 {
		c.bell.forwardAgain(keys[0])
		c.bell.ring(queueOf(keys[0]))
	}
	return cmd
}

// laterBy lets other workers move due retries to the queue first, where this one does not know the types of some.
func (c *conveyor) laterBy(zset string, args []any) []any {
	now, ok := args[0].(int64)
	if !ok || !strings.HasSuffix(zset, ":retry") || !c.givesWay() {
		return args
	}
	later := slices.Clone(args)
	later[0] = now - int64(givesWayBy.Seconds())
	return later
}

// unblockScript removes due tasks whose key is no hash from the set in which they wait: asynq's script fails at the first of them, and
// moves none behind it.
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

func (c *conveyor) unblock(ctx context.Context, keys []string, args []any) *redis.Cmd {
	return unblockScript.Run(ctx, c.UniversalClient, keys[:1], args[0], args[1])
}

// finishScript takes tasks off Redis as asynq does. One that does not stand among the active any more is left alone.
//
// KEYS[1] active  KEYS[2] lease  KEYS[3] processed today  KEYS[4] processed  KEYS[5…] the tasks' keys
// ARGV[1] when the count of the day ends (Unix seconds)  ARGV[2] the largest count  ARGV[3…] the tasks' ids
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

// finish is one asynq worker's call, done together with those of others of the same queue.
func (c *conveyor) finish(ctx context.Context, keys []string, args []any) *redis.Cmd {
	if c.wasReturned(fmt.Sprint(args[0])) {
		return answered(ctx, "OK")
	}
	_, err := c.finisher(keys).Do(ctx, finished{id: fmt.Sprint(args[0]), key: keys[2], day: keys[3], expiry: fmt.Sprint(args[1])})
	if err != nil {
		return failedWith(ctx, err)
	}
	return answered(ctx, "OK")
}

func (c *conveyor) finisher(keys []string) *batch.Batcher[finished, struct{}] {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.finishers[keys[0]]
	if f == nil {
		active, lease, processed := keys[0], keys[1], keys[4]
		f = batch.New(batch.Config{Max: takeMost, Concurrency: 1, Timeout: 5 * time.Second}, func(ctx context.Context, in []finished) ([]batch.Result[struct{}], error) {
			// Those of one moment are of one day, or the day has just changed: then a few count for the wrong one.
			names := append(make([]string, 0, len(in)+4), active, lease, in[0].day, processed)
			values := append(make([]any, 0, len(in)+2), in[0].expiry, int64(1)<<62)
			for _, t := range in {
				names, values = append(names, t.key), append(values, t.id)
			}
			if err := finishScript.Run(ctx, c.plain, names, values...).Err(); err != nil {
				return nil, job.Unavailable("redis did not finish tasks", err)
			}
			return make([]batch.Result[struct{}], len(in)), nil
		})
		c.finishers[keys[0]] = f
	}
	return f
}

// putBackScript gives tasks back that were taken and not begun, the oldest last: it is the next again.
//
// KEYS[1] pending  KEYS[2] active  KEYS[3] lease  KEYS[4…] the tasks' keys
// ARGV[n] the id of the task KEYS[n+3]
var putBackScript = redis.NewScript(`
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

// putBack gives back what was taken and asynq was not given, once asynq takes no more. What it cannot give back the audit finds.
func (c *conveyor) putBack(ctx context.Context) error {
	var all []error
	for queue, list := range c.taken {
		if len(list) == 0 {
			continue
		}
		p := "asynq:{" + queue + "}:"
		keys, ids := []string{p + "pending", p + "active", p + "lease"}, make([]any, len(list))
		for i, t := range list {
			keys, ids[i] = append(keys, p+"t:"+t.id), t.id
		}
		all = append(all, putBackScript.Run(ctx, c.plain, keys, ids...).Err())
	}
	clear(c.taken)
	return errors.Join(all...)
}

// giveBack gives one task back that asynq was given and that is not begun. asynq is told that it is done, and what asynq then wants
// of Redis is not done: somebody else may have the task by then.
func (c *conveyor) giveBack(ctx context.Context, queue, id string) error {
	c.mu.Lock()
	c.returned[id] = true
	c.returns.Store(int64(len(c.returned)))
	c.mu.Unlock()
	p := "asynq:{" + queue + "}:"
	err := putBackScript.Run(ctx, c.plain, []string{p + "pending", p + "active", p + "lease", p + "t:" + id}, id).Err()
	if err != nil {
		c.wasReturned(id)
	}
	return err
}

// wasReturned reports whether a task was given back, once.
func (c *conveyor) wasReturned(id string) bool {
	if c.returns.Load() == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.returned[id]
	delete(c.returned, id)
	c.returns.Store(int64(len(c.returned)))
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
