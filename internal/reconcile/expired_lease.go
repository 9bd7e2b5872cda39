package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
)

const (
	// A worker extends the lease of what it holds to 30 s every 5 s. A lease with less than this
	// left has no worker.
	staleLease = 18 * time.Second
	leaseBatch = 500
)

// deleteTasksScript takes tasks out of Redis wherever they are, unless they are archived: the
// archive is for people to read. An id that stays behind in a long pending list is dropped when it
// is taken, since its task is gone: to look for it would read the whole list.
//
// KEYS[1] active  KEYS[2] lease  KEYS[3] pending  KEYS[4] scheduled  KEYS[5] retry
// KEYS[6…] the tasks' keys
// ARGV[1] how long a pending list may be to be searched  ARGV[2] "1": tasks with a lease are kept
// ARGV[n] the id of the task KEYS[n+3]
// Returns how many keys existed.
var deleteTasksScript = redis.NewScript(`
local deleted, length = 0, redis.pcall("LLEN", KEYS[3])
for i = 6, #KEYS do
	local id = ARGV[i - 3]
	local kept = redis.pcall("HGET", KEYS[i], "state") == "archived"
		or ARGV[2] == "1" and type(redis.pcall("ZSCORE", KEYS[2], id)) == "string"
	if not kept then
		redis.pcall("LREM", KEYS[1], 0, id)
		redis.pcall("ZREM", KEYS[2], id)
		if type(length) == "number" and length <= tonumber(ARGV[1]) then
			redis.call("LREM", KEYS[3], 0, id)
		end
		redis.pcall("ZREM", KEYS[4], id)
		redis.pcall("ZREM", KEYS[5], id)
		deleted = deleted + redis.call("DEL", KEYS[i])
	end
end
return deleted
`)

const (
	searchedPending  = 10_000 // ids in a pending list that deleteTasksScript searches
	deleteTasksBatch = 100    // tasks in one script
)

// deleteTasks takes tasks out of Redis, also those that a worker has.
func (r *Reconciler) deleteTasks(ctx context.Context, queue string, taskIDs ...string) error {
	return r.runDeleteTasks(ctx, queue, taskIDs, false)
}

func (r *Reconciler) runDeleteTasks(ctx context.Context, queue string, taskIDs []string, keepLeased bool) error {
	p := asynqredis.QueuePrefix(queue)
	for some := range slices.Chunk(taskIDs, deleteTasksBatch) {
		keys := []string{p + "active", p + "lease", p + "pending", p + "scheduled", p + "retry"}
		args := []any{searchedPending, keepLeased}
		for _, id := range some {
			keys, args = append(keys, p+"t:"+id), append(args, id)
		}
		if err := deleteTasksScript.Run(ctx, r.redis, keys, args...).Err(); err != nil {
			return fmt.Errorf("take tasks out of Redis: %w", err)
		}
	}
	return nil
}

// expiredLeases finds active tasks without a worker: the reply to the dequeue was lost, the worker
// died, or asynq's done was lost after the ledger had the outcome. asynq itself would look after
// two minutes.
func (r *Reconciler) expiredLeases(ctx context.Context, queue string) error {
	ids, err := r.redis.ZRangeByScore(ctx, "asynq:{"+queue+"}:lease", &redis.ZRangeBy{Min: "-inf",
		Max: strconv.FormatInt(r.cfg.Clock.Now().Add(staleLease).Unix(), 10), Count: leaseBatch}).Result()
	if err != nil || len(ids) == 0 {
		return err
	}
	standing, err := r.openDeliveries(ctx, ids)
	if err != nil {
		return err
	}
	var stuck []job.OpenDelivery
	var done []string
	for _, id := range ids {
		jobID, delivery, err := job.ParseTaskID(id)
		if err != nil {
			continue // not ours
		}
		d, open := standing[jobID]
		switch {
		// Its worker answers to the ledger, or is an orphan soon.
		case open && d.Number == delivery && d.State == job.Active:
		case open && d.Number == delivery:
			stuck = append(stuck, d)
		default: // finished, or carried by another task by now
			done = append(done, id)
		}
	}
	return errors.Join(r.deleteTasks(ctx, queue, done...), r.redeliver(ctx, queue, stuck))
}

// matchLeasesScript makes the active list and the lease set of a queue name the same tasks. A
// script of asynq's that misses a task in either stops half way, and an active task without a lease
// would never be found. A task that lacks a lease gets a new one: its worker extends it, or it
// expires.
//
// KEYS[1] active  KEYS[2] lease
// ARGV[1] when a new lease ends (Unix seconds)  ARGV[2] prefix of the tasks' keys
// ARGV[3] how many tasks there may be
// Returns how many places were restored or removed.
var matchLeasesScript = redis.NewScript(`
local n, m = redis.call("LLEN", KEYS[1]), redis.call("ZCARD", KEYS[2])
if n == m or n > tonumber(ARGV[3]) or m > tonumber(ARGV[3]) then
	return 0
end
local changed, seen = 0, {}
for _, id in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do
	if seen[id] then
		changed = changed + redis.call("LREM", KEYS[1], 1, id)
	else
		changed = changed + redis.call("ZADD", KEYS[2], "NX", ARGV[1], id)
	end
	seen[id] = true
end
for _, id in ipairs(redis.call("ZRANGE", KEYS[2], 0, -1)) do
	if not seen[id] then
		if redis.pcall("HGET", ARGV[2] .. id, "state") == "active" then
			redis.call("LPUSH", KEYS[1], id)
		else
			redis.call("ZREM", KEYS[2], id)
		end
		changed = changed + 1
	end
end
return changed
`)

const (
	asynqLease       = 30 * time.Second
	maxMatchedLeases = 10_000
)

func (r *Reconciler) matchLeases(ctx context.Context, queue string) error {
	p := asynqredis.QueuePrefix(queue)
	n, err := matchLeasesScript.Run(ctx, r.redis, []string{p + "active", p + "lease"},
		r.cfg.Clock.Now().Add(asynqLease).Unix(), p+"t:", maxMatchedLeases).
		Int()
	if err != nil {
		return fmt.Errorf("compare active tasks with their leases: %w", err)
	}
	if n > 0 {
		r.divergent[queue][KindStuck].add(n)
		r.log.WarnContext(ctx, "active tasks and their leases in redis differed", "queue", queue, "tasks", n)
	}
	return nil
}

func (r *Reconciler) openDeliveries(ctx context.Context, taskIDs []string) (map[job.ID]job.OpenDelivery, error) {
	var ids []job.ID
	for _, t := range taskIDs {
		if id, _, err := job.ParseTaskID(t); err == nil {
			ids = append(ids, id)
		}
	}
	out := map[job.ID]job.OpenDelivery{}
	if len(ids) == 0 {
		return out, nil
	}
	list, err := r.ledger.DeliveriesOf(ctx, ids)
	for _, d := range list {
		out[d.ID] = d
	}
	return out, err
}

// redeliver decides a new delivery for jobs whose task is stuck, sends it, and buries the old task.
func (r *Reconciler) redeliver(ctx context.Context, queue string, stuck []job.OpenDelivery) error {
	if len(stuck) == 0 {
		return nil
	}
	messages, err := r.ledger.Redeliver(ctx, stuck)
	if err != nil {
		return err
	}
	if err := r.resendAll(ctx, ReasonStuck, messages); err != nil {
		return err // dispatch_at is new: the next passes send them
	}
	old := make([]string, len(messages))
	for i, p := range messages {
		old[i] = job.TaskID(p.JobID, p.Delivery-1)
	}
	return r.deleteTasks(ctx, queue, old...)
}
