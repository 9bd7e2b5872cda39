package reconcile

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
)

const (
	// listedWhole is the length up to which a pending list is read whole to tell what stands in it.
	// Of a longer one that many of its oldest tasks are read.
	listedWhole = 2000
	// lateBy is how far behind its job's time a task may be due. asynq rounds to seconds, and a
	// worker that cannot run a job puts its task off for ten.
	lateBy = time.Minute
)

// taskState is where the task of a job stands in Redis.
type taskState struct {
	// What the task says of itself; empty: there is no such task; broken: its key cannot be read,
	// or has no message.
	state string
	// Active: when its lease ends; scheduled, retry: when it is due; pending: 1; 0: it does not
	// stand where its state says.
	score float64
}

// isStuck reports whether a task can no longer come to run in time.
func (p taskState) isStuck(d job.OpenDelivery, now time.Time) bool {
	switch p.state {
	case "active":
		return p.score < float64(now.Add(staleLease).Unix()) // also where it has none
	case "scheduled", "retry":
		due := d.RunAt
		if due.Before(now) {
			due = now
		}
		return p.score == 0 || p.score > float64(due.Add(lateBy).Unix())
	case "pending":
		return p.score == 0
	default: // broken; completed, aggregating: nothing of ours
		return true
	}
}

// taskStatesScript tells for each task its state and where it stands, in one step for a whole page.
// A pending list has no look-up by id. One that is short is read whole. Of a long one the oldest
// tasks are read: tasks are taken in the order in which they came to be pending, so that one that
// is older than all of those does not stand before them.
//
// KEYS[1] lease  KEYS[2] scheduled  KEYS[3] retry  KEYS[4] pending  KEYS[5…] the tasks' keys
// ARGV[1] how many pending tasks are read  ARGV[2] a margin for differing clocks (nanoseconds)
// ARGV[n] the id of the task KEYS[n+2]
// Returns state and score, one after the other; an empty score where the task does not stand where
// it should.
var taskStatesScript = redis.NewScript(`
local sets = {active = KEYS[1], scheduled = KEYS[2], retry = KEYS[3]}
local prefix = #KEYS > 4 and string.sub(KEYS[5], 1, #KEYS[5] - #ARGV[3]) or ""
local listed, horizon

local function read()
	listed = {}
	local ids = redis.pcall("LRANGE", KEYS[4], -ARGV[1], -1)
	if ids.err then
		return
	end
	for _, id in ipairs(ids) do
		listed[id] = true
	end
	if redis.call("LLEN", KEYS[4]) > #ids then
		horizon = 0
		for i = 1, #ids, 50 do
			local since = tonumber(redis.pcall("HGET", prefix .. ids[i], "pending_since") or nil)
			if since and (horizon == 0 or since < horizon) then
				horizon = since
			end
		end
	end
end

local function waits(id, since)
	if not listed then
		read()
	end
	if listed[id] then
		return "1"
	end
	return horizon and (not since or since >= horizon - ARGV[2]) and "1" or ""
end

local out = {}
for i = 5, #KEYS do
	local id = ARGV[i - 2]
	local task = redis.pcall("HMGET", KEYS[i], "state", "pending_since")
	local state, score = task[1], ""
	if task.err then
		state = "broken"
	elseif not state then
		state = redis.call("EXISTS", KEYS[i]) == 1 and "broken" or ""
	elseif state ~= "archived" and redis.call("HSTRLEN", KEYS[i], "msg") == 0 then
		state = "broken"
	elseif state == "pending" then
		score = waits(id, tonumber(task[2] or nil))
	elseif sets[state] then
		score = redis.pcall("ZSCORE", sets[state], id)
		if type(score) ~= "string" then
			score = ""
		end
	end
	out[#out + 1] = state
	out[#out + 1] = score
end
return out
`)

func (r *Reconciler) taskStates(ctx context.Context, queue string, list []job.OpenDelivery) ([]taskState, error) {
	if len(list) == 0 {
		return nil, nil
	}
	prefix := asynqredis.QueuePrefix(queue)
	keys, args := []string{
		prefix + "lease",
		prefix + "scheduled",
		prefix + "retry",
		prefix + "pending",
	}, []any{
		listedWhole,
		listMargin.Nanoseconds(),
	}
	for _, d := range list {
		id := job.TaskID(d.ID, d.Number)
		keys, args = append(keys, prefix+"t:"+id), append(args, id)
	}
	flat, err := taskStatesScript.Run(ctx, r.redis, keys, args...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("look tasks up: %w", err)
	}
	out := make([]taskState, len(list))
	for i := range out {
		out[i].state = flat[2*i]
		out[i].score, _ = strconv.ParseFloat(flat[2*i+1], 64) // empty: 0
	}
	return out, nil
}

// oldestPendingScript is since when the oldest tasks of a pending list that is too long to be read
// whole wait; zero: it is not, or they do not say.
//
// KEYS[1] pending
// ARGV[1] how many tasks are read of a long list  ARGV[2] prefix of the tasks' keys
var oldestPendingScript = redis.NewScript(`
local length = redis.pcall("LLEN", KEYS[1])
if type(length) ~= "number" or length <= tonumber(ARGV[1]) then
	return "0"
end
local oldest
for i = 1, tonumber(ARGV[1]), 50 do
	local id = redis.call("LINDEX", KEYS[1], -i)
	local since = redis.pcall("HGET", ARGV[2] .. id, "pending_since")
	if type(since) == "string" and (not oldest or #since == #oldest and since < oldest) then
		oldest = since
	end
end
return oldest or "0"
`)

func (r *Reconciler) oldestPending(ctx context.Context, queue string) (time.Time, error) {
	prefix := asynqredis.QueuePrefix(queue)
	since, err := oldestPendingScript.Run(ctx, r.redis, []string{prefix + "pending"}, listedWhole, prefix+"t:").Int64()
	if err != nil {
		return time.Time{}, fmt.Errorf("read the age of the oldest tasks: %w", err)
	}
	if since == 0 {
		return time.Time{}, nil
	}
	return time.Unix(0, since), nil
}

// futureTasks is how many tasks of a queue lay beyond a moment in the future.
type futureTasks struct {
	at    int64 // Unix seconds; 0: not counted yet
	tasks int64
}

// shrinkLeast is how many tasks at least must be gone from the future between two passes for all
// jobs to be compared.
const shrinkLeast = 100

// futureShrunk counts the tasks that are due a minute from now or later, and reports whether many
// of those that the last pass counted are gone. Time alone moves none of them, so that they were
// canceled, run by hand, or lost.
func (r *Reconciler) futureShrunk(ctx context.Context, queue string, last *futureTasks) (bool, error) {
	prefix, next := "asynq:{"+queue+"}:", r.cfg.Clock.Now().Add(time.Minute).Unix()
	count := func(p redis.Pipeliner, at int64) []*redis.IntCmd {
		from := strconv.FormatInt(at, 10)
		return []*redis.IntCmd{
			p.ZCount(ctx, prefix+"scheduled", from, "+inf"),
			p.ZCount(ctx, prefix+"retry", from, "+inf"),
		}
	}
	p := r.redis.Pipeline()
	before, after := count(p, last.at), count(p, next)
	if _, err := p.Exec(ctx); err != nil {
		return false, fmt.Errorf("count the tasks that lie ahead: %w", err)
	}
	gone := last.tasks - before[0].Val() - before[1].Val()
	lost := last.at != 0 && gone >= max(shrinkLeast, last.tasks/100)
	*last = futureTasks{next, after[0].Val() + after[1].Val()}
	return lost, nil
}
