package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/loop"
	"github.com/waybill/waybill/internal/redisx"
)

// Finding is one place where ledger and Redis differ.
type Finding struct {
	Kind   string // one of the Kind constants
	Queue  string
	TaskID string
	What   string
}

const (
	fsckPage = 1000
	fsckWait = 3 * time.Second // before a suspect is looked at again: most were on their way
)

// Fsck compares the ledger with Redis, all of it, and answers where they differ; what is on its way
// at that moment is looked at twice. With repair it repairs what it finds, as the reconciler would.
func (r *Reconciler) Fsck(ctx context.Context, repair bool) ([]Finding, error) {
	if err := r.checkRedis(ctx); err != nil {
		return nil, err
	}
	shared, err := r.wrongKeys(ctx, sharedKeys())
	if err == nil && repair {
		err = r.setAside(ctx, "", shared)
	}
	if err != nil {
		return nil, err
	}
	all := keyFindings("", shared)
	for _, queue := range r.cfg.Queues {
		keys, err := r.wrongKeys(ctx, queueKeys(queue))
		if err == nil && repair {
			err = r.setAside(ctx, queue, keys)
		}
		if err != nil {
			return all, err
		}
		all = append(all, keyFindings(queue, keys)...)
		listed, err := r.members(ctx, queue)
		if err != nil {
			return all, err
		}
		suspects, err := r.openJobs(ctx, queue, listed)
		if err != nil {
			return all, err
		}
		garbage, err := r.garbage(ctx, queue, listed)
		if err != nil {
			return all, err
		}
		if len(suspects)+len(garbage) > 0 && !loop.Sleep(ctx, fsckWait) {
			return all, ctx.Err()
		}
		found, err := r.confirm(ctx, queue, suspects, garbage, repair)
		all = append(all, found...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// openJobs compares every open job with its task.
func (r *Reconciler) openJobs(
	ctx context.Context,
	queue string,
	listed map[string]bool,
) (suspects []job.ID, err error) {
	horizon, err := r.horizon(ctx)
	if err != nil {
		return nil, err
	}
	for at := (job.Position{}); ; {
		page, err := r.ledger.OpenDeliveries(ctx, queue, at, horizon, fsckPage)
		if err != nil {
			return nil, err
		}
		f, err := r.compareListed(ctx, queue, page, listed)
		if err != nil {
			return nil, err
		}
		for _, list := range [][]job.OpenDelivery{f.missing, f.stuck, f.archivedInRedis} {
			for _, d := range list {
				suspects = append(suspects, d.ID)
			}
		}
		if len(page) < fsckPage {
			return suspects, nil
		}
		at = page[len(page)-1].Position
	}
}

// garbage finds task keys that stand in no list or set of their queue.
func (r *Reconciler) garbage(ctx context.Context, queue string, places map[string]bool) (ids []string, err error) {
	prefix := asynqredis.TaskKey(queue, "")
	err = redisx.ForEachMaster(ctx, r.redis, func(ctx context.Context, server *redis.Client) error {
		scan := server.Scan(ctx, 0, prefix+"*", fsckPage).Iterator()
		for scan.Next(ctx) {
			id := strings.TrimPrefix(scan.Val(), prefix)
			if _, _, err := job.ParseTaskID(id); err == nil && !places[id] {
				ids = append(ids, id)
			}
		}
		return scan.Err()
	})
	return ids, err
}

// members reads the ids in all lists and sets of a queue: to ask for each would take a walk through
// the pending list each. What a key of a wrong type holds is no member.
func (r *Reconciler) members(ctx context.Context, queue string) (map[string]bool, error) {
	places := map[string]bool{}
	prefix := asynqredis.QueuePrefix(queue)
	for _, list := range []string{"pending", "active"} {
		if err := pages(func(from, to int64) ([]string,
			error) {
			return r.redis.LRange(ctx, prefix+list, from, to).Result()
		}, places); err != nil {
			return nil, fmt.Errorf("read %s tasks: %w", list, err)
		}
	}
	for _, set := range []string{"scheduled", "retry", "archived", "completed"} {
		if err := pages(func(from, to int64) ([]string,
			error) {
			return r.redis.ZRange(ctx, prefix+set, from, to).Result()
		}, places); err != nil {
			return nil, fmt.Errorf("read %s tasks: %w", set, err)
		}
	}
	return places, nil
}

func pages(read func(from, to int64) ([]string, error), into map[string]bool) error {
	const size = 10_000
	for from := int64(0); ; from += size {
		ids, err := read(from, from+size-1)
		if err != nil && strings.Contains(err.Error(), "WRONGTYPE") {
			return nil
		}
		if err != nil {
			return err
		}
		for _, id := range ids {
			into[id] = true
		}
		if len(ids) < size {
			return nil
		}
	}
}

// compareListed is compare for one who knows what stands in the queue's lists, and so needs not
// trust the order of a long pending list.
func (r *Reconciler) compareListed(
	ctx context.Context,
	queue string,
	page []job.OpenDelivery,
	listed map[string]bool,
) (found, error) {
	now, err := r.ledger.Now(ctx)
	if err != nil {
		return found{}, err
	}
	f, err := r.compare(ctx, queue, page, now)
	if err != nil {
		return found{}, err
	}
	for _, d := range f.pending {
		if !listed[job.TaskID(d.ID, d.Number)] {
			f.stuck = append(f.stuck, d)
		}
	}
	return f, nil
}

// confirm looks at suspects again and, with repair, repairs those that remain.
func (r *Reconciler) confirm(
	ctx context.Context,
	queue string,
	suspects []job.ID,
	garbage []string,
	repair bool,
) (all []Finding, err error) {
	var listed map[string]bool
	if len(suspects) > 0 {
		if listed, err = r.members(ctx, queue); err != nil {
			return nil, err
		}
	}
	for len(suspects) > 0 {
		some := suspects[:min(len(suspects), fsckPage)]
		suspects = suspects[len(some):]
		standing, err := r.ledger.DeliveriesOf(ctx, some)
		if err != nil {
			return all, err
		}
		f, err := r.compareListed(ctx, queue, standing, listed)
		if err != nil {
			return all, err
		}
		all = append(all, f.findings(queue)...)
		if repair {
			if err := r.repair(ctx, queue, f); err != nil {
				return all, err
			}
		}
	}
	named := map[string]bool{} // once is enough
	for _, f := range all {
		named[f.TaskID] = true
	}
	garbage = slices.DeleteFunc(garbage, func(id string) bool { return named[id] })
	return r.confirmGarbage(ctx, queue, garbage, all, repair)
}

func (f found) findings(queue string) (out []Finding) {
	add := func(kind, what string, list []job.OpenDelivery) {
		for _, d := range list {
			out = append(
				out,
				Finding{
					Kind:   kind,
					Queue:  queue,
					TaskID: job.TaskID(d.ID, d.Number),
					What:   "the job is " + string(d.State) + "; " + what,
				},
			)
		}
	}
	add(KindMissing, "Redis does not know its task", f.missing)
	add(KindStuck, "its task can no longer come to run", f.stuck)
	add(KindArchivedInRedis, "its task was archived in Redis", f.archivedInRedis)
	return out
}

func (r *Reconciler) repair(ctx context.Context, queue string, f found) error {
	ids := make([]job.ID, len(f.missing))
	for i, d := range f.missing {
		ids[i] = d.ID
	}
	if len(ids) > 0 {
		if err := r.resend(ctx, ReasonLost, ids); err != nil {
			return err
		}
	}
	return r.repairStuck(ctx, queue, f)
}

func (r *Reconciler) confirmGarbage(
	ctx context.Context,
	queue string,
	ids []string,
	all []Finding,
	repair bool,
) ([]Finding, error) {
	if len(ids) == 0 {
		return all, nil
	}
	places, err := r.members(ctx, queue)
	if err != nil {
		return all, err
	}
	var open []job.ID
	for _, id := range ids {
		if n, err := r.redis.Exists(ctx, asynqredis.TaskKey(queue, id)).Result(); err != nil || n == 0 || places[id] {
			if err != nil {
				return all, err
			}
			continue
		}
		all = append(all, Finding{Kind: KindGarbage, Queue: queue, TaskID: id, What: "the task stands in no list"})
		if repair {
			if err := r.deleteTasks(ctx, queue, id); err != nil {
				return all, err
			}
			jobID, _, _ := job.ParseTaskID(id) // garbage took only those that can be read
			open = append(open, jobID)
		}
	}
	if len(open) == 0 {
		return all, nil
	}
	return all, r.resend(ctx, ReasonStuck, open) // those whose job still waits
}
