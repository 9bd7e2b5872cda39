package dispatch

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/job"
)

const (
	// A worker extends the lease of what it holds to 30 s every 5 s. A lease with less than this left is held by nobody.
	leaseLeft = 18 * time.Second
	// sweepPage is how many open jobs one pass compares, so that a pass costs the same however many are open.
	sweepPage  = 250
	leaseBatch = 500
)

// bury takes a task out of Redis wherever it is, unless it is archived: the archive is for people to read.
//
// KEYS[1] task  KEYS[2] active  KEYS[3] lease  KEYS[4] pending  KEYS[5] scheduled  KEYS[6] retry
// ARGV[1] task id
// Returns 1 if the task's key existed.
var bury = redis.NewScript(`
if redis.call("HGET", KEYS[1], "state") == "archived" then
	return 0
end
redis.call("LREM", KEYS[2], 0, ARGV[1])
redis.call("ZREM", KEYS[3], ARGV[1])
redis.call("LREM", KEYS[4], 0, ARGV[1])
redis.call("ZREM", KEYS[5], ARGV[1])
redis.call("ZREM", KEYS[6], ARGV[1])
return redis.call("DEL", KEYS[1])
`)

func (a *Audit) bury(ctx context.Context, queue, taskID string) error {
	p := "asynq:{" + queue + "}:"
	keys := []string{p + "t:" + taskID, p + "active", p + "lease", p + "pending", p + "scheduled", p + "retry"}
	if err := bury.Run(ctx, a.redis, keys, taskID).Err(); err != nil {
		return fmt.Errorf("bury a task: %w", err)
	}
	return nil
}

// unheld finds tasks that were taken and that nobody holds: the reply to the taking was lost, the worker died, or the answer was lost after
// the ledger had the outcome. asynq itself would look after two minutes.
func (a *Audit) unheld(ctx context.Context, queue string) error {
	ids, err := a.redis.ZRangeByScore(ctx, "asynq:{"+queue+"}:lease", &redis.ZRangeBy{Min: "-inf",
		Max: strconv.FormatInt(a.d.clock.Now().Add(leaseLeft).Unix(), 10), Count: leaseBatch}).Result()
	if err != nil || len(ids) == 0 {
		return err
	}
	standing, err := a.standing(ctx, ids)
	if err != nil {
		return err
	}
	var stuck []job.Delivery
	for _, id := range ids {
		jobID, delivery, err := job.ParseTaskID(id)
		if err != nil {
			continue // not ours
		}
		d, open := standing[jobID]
		switch {
		case open && d.Delivery == delivery && d.State == job.Active: // its worker answers to the ledger, or is an orphan soon
		case open && d.Delivery == delivery:
			stuck = append(stuck, d)
		default: // finished, or carried by another task by now
			if err := a.bury(ctx, queue, id); err != nil {
				return err
			}
		}
	}
	return a.redeliver(ctx, queue, stuck)
}

func (a *Audit) standing(ctx context.Context, taskIDs []string) (map[job.ID]job.Delivery, error) {
	var ids []job.ID
	for _, t := range taskIDs {
		if id, _, err := job.ParseTaskID(t); err == nil {
			ids = append(ids, id)
		}
	}
	out := map[job.ID]job.Delivery{}
	if len(ids) == 0 {
		return out, nil
	}
	list, err := a.ledger.Standing(ctx, ids)
	for _, d := range list {
		out[d.ID] = d
	}
	return out, err
}

// redeliver decides a new delivery for jobs whose task is stuck, sends it, and buries the old task.
func (a *Audit) redeliver(ctx context.Context, queue string, stuck []job.Delivery) error {
	if len(stuck) == 0 {
		return nil
	}
	parcels, err := a.ledger.Redeliver(ctx, stuck)
	if err != nil {
		return err
	}
	if err := a.carry(ctx, ReasonStuck, parcels); err != nil {
		return err // dispatch_at is new: the next passes send them
	}
	for _, p := range parcels {
		if err := a.bury(ctx, queue, job.TaskID(p.JobID, p.Delivery-1)); err != nil {
			return err
		}
	}
	return nil
}

// overdue compares some open jobs with their tasks, each pass where the last one stopped: a task that somebody deleted is sent again, what stands
// in no list any more is delivered anew, what somebody archived in Redis is archived in the ledger.
func (a *Audit) overdue(ctx context.Context, queue string) error {
	now, err := a.ledger.Now(ctx)
	if err != nil {
		return err
	}
	page, err := a.ledger.Deliveries(ctx, queue, a.sweeps[queue], now.Add(-a.cfg.Overdue), sweepPage)
	if err != nil {
		return err
	}
	a.sweeps[queue] = job.Position{} // from the beginning, unless there is more
	if len(page) == sweepPage {
		a.sweeps[queue] = page[len(page)-1].Position
	}
	found, err := a.compare(ctx, queue, page)
	if err != nil {
		return err
	}
	a.divergent[queue][KindStuck].Store(int64(len(found.stuck)))
	a.divergent[queue][KindFlipped].Store(int64(len(found.flipped)))
	return a.repair(ctx, queue, found)
}

// found is what a comparison of waiting jobs with their tasks showed.
type found struct {
	missing, stuck, flipped []job.Delivery
}

func (a *Audit) mend(ctx context.Context, queue string, f found) error {
	for _, d := range f.flipped {
		if _, err := a.ledger.Archive(ctx, d.ID, "archived in Redis by hand"); err != nil && job.CodeOf(err) != job.CodeConflict {
			return err
		}
		a.adopted.Add(1)
		a.log.WarnContext(ctx, "a task was archived in redis, the ledger follows", "job_id", d.ID, "queue", queue)
	}
	return a.redeliver(ctx, queue, f.stuck)
}

// taskState is what Redis says of one task.
type taskState struct {
	state string  // empty: no such task
	score float64 // active: when its lease ends; scheduled, retry: when it is due; 0: it does not stand where its state says
}

// compare looks up the tasks of jobs that wait. Those that are active are the heartbeat's matter.
func (a *Audit) compare(ctx context.Context, queue string, page []job.Delivery) (f found, err error) {
	var waiting []job.Delivery
	for _, d := range page {
		if d.State != job.Active {
			waiting = append(waiting, d)
		}
	}
	states, err := a.taskStates(ctx, queue, waiting)
	if err != nil {
		return f, err
	}
	for i, d := range waiting {
		switch t := states[i]; t.state {
		case "":
			f.missing = append(f.missing, d)
		case "archived":
			f.flipped = append(f.flipped, d)
		case "pending": // key and list are written in one step
		default:
			if t.isStuck(a.d.clock.Now()) {
				f.stuck = append(f.stuck, d)
			}
		}
	}
	return f, nil
}

func (t taskState) isStuck(now time.Time) bool {
	switch t.state {
	case "active":
		return t.score < float64(now.Add(leaseLeft).Unix()) // also where it has none
	case "scheduled", "retry":
		return t.score == 0
	default: // completed, aggregating: nothing of ours
		return true
	}
}

// places tells of each task its state and its score in the set where it should stand, in one step for a whole page.
//
// KEYS[1] lease  KEYS[2] scheduled  KEYS[3] retry  KEYS[4…] the tasks' keys
// ARGV[n] the id of the task KEYS[n+3]
// Returns state and score, one after the other; empty where there is none.
var places = redis.NewScript(`
local sets = {active = KEYS[1], scheduled = KEYS[2], retry = KEYS[3]}
local out = {}
for i = 4, #KEYS do
	local state = redis.call("HGET", KEYS[i], "state") or ""
	out[#out + 1] = state
	out[#out + 1] = sets[state] and redis.call("ZSCORE", sets[state], ARGV[i - 3]) or ""
end
return out
`)

func (a *Audit) taskStates(ctx context.Context, queue string, list []job.Delivery) ([]taskState, error) {
	if len(list) == 0 {
		return nil, nil
	}
	prefix := "asynq:{" + queue + "}:"
	keys, ids := []string{prefix + "lease", prefix + "scheduled", prefix + "retry"}, make([]any, len(list))
	for i, d := range list {
		id := job.TaskID(d.ID, d.Delivery)
		keys, ids[i] = append(keys, prefix+"t:"+id), id
	}
	flat, err := places.Run(ctx, a.redis, keys, ids...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("look tasks up: %w", err)
	}
	states := make([]taskState, len(list))
	for i := range states {
		states[i].state = flat[2*i]
		states[i].score, _ = strconv.ParseFloat(flat[2*i+1], 64) // empty: 0
	}
	return states, nil
}
