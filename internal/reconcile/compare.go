package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// How many open jobs are compared with their tasks. While everything agrees, a pass compares one
// small page of each walk, so that it costs the same however many jobs are open. Once a page shows
// a difference, the walk goes on in the same pass with large pages: what lost one task has often
// lost many.
const (
	sweepPage = 250
	deepPage  = 1000
	deepPages = 20
)

// The walk over the jobs that should have run by now reads all open jobs of a queue where only few
// of them are due. It therefore rests for dueRest times as long as it took.
const (
	dueRest    = 100
	dueRestMin = 5 * time.Second
	dueRestMax = 40 * time.Second
	// listMargin is how much older than the oldest tasks of a long pending list a job must be to be
	// missed there: the times come from several processes.
	listMargin = 2 * time.Second
)

// progress is how far the comparison of a queue's open jobs with their tasks has come.
type progress struct {
	all     job.Position // the walk over all open jobs
	due     job.Position // the walk over those that should have run by now
	nextDue time.Time    // when that walk goes on, by this process's clock
	deep    bool         // compare all of them as fast as it may be done, until the walk has reached its end
	ahead   futureTasks
}

// compareTasks compares open jobs with their tasks and repairs what differs. A task that is gone is
// sent again, one that can no longer come to run is delivered again, and what was archived in Redis
// is archived in the ledger.
func (r *Reconciler) compareTasks(ctx context.Context, queue string) error {
	s := r.sweeps[queue]
	now, err := r.ledger.Now(ctx)
	if err != nil {
		return err
	}
	shrunk, err := r.futureShrunk(ctx, queue, &s.ahead)
	if err != nil {
		return err
	}
	s.deep = s.deep || shrunk
	due, dueErr := r.walkDue(ctx, queue, s, now)
	all, allErr := r.walkAll(ctx, queue, s, now)
	r.recordFound(queue, due.plus(all))
	return errors.Join(dueErr, allErr)
}

// walkAll compares a part of all open jobs, from where the last pass stopped.
func (r *Reconciler) walkAll(ctx context.Context, queue string, s *progress, now time.Time) (found, error) {
	f, ended, err := r.walk(
		ctx,
		queue,
		now,
		&s.all,
		s.deep,
		func(after job.Position, limit int) ([]job.OpenDelivery, error) {
			return r.ledger.OpenDeliveries(ctx, queue, after, now.Add(-r.cfg.Overdue), limit)
		},
	)
	s.deep = (s.deep || !f.empty()) && !ended
	if !f.empty() { // what lost these may have lost others
		s.nextDue = time.Time{}
	}
	return f, err
}

// walkDue compares the jobs that should have run by now. Tasks are taken from a queue in the order
// in which they came to be pending, so that a job that is older than the oldest tasks of the
// pending list has no place in it.
func (r *Reconciler) walkDue(ctx context.Context, queue string, s *progress, now time.Time) (found, error) {
	began := time.Now()
	if began.Before(s.nextDue) {
		return found{}, nil
	}
	before := now.Add(-r.cfg.Overdue)
	oldest, err := r.oldestPending(ctx, queue)
	if err != nil {
		return found{}, err
	}
	if !oldest.IsZero() && oldest.Add(-listMargin).Before(before) {
		before = oldest.Add(-listMargin)
	}
	f, _, err := r.walk(
		ctx,
		queue,
		now,
		&s.due,
		false,
		func(after job.Position, limit int) ([]job.OpenDelivery, error) {
			return r.ledger.DueDeliveries(ctx, queue, after, before, limit)
		},
	)
	rest := min(max(time.Since(began)*dueRest, dueRestMin), dueRestMax)
	if !f.empty() { // look again soon: there may be more
		rest = 0
	}
	s.nextDue = time.Now().Add(rest)
	return f, err
}

// walk compares a page, repairs what differs, and goes on from page to page while there is
// something to repair, or where it is told to. It answers everything that it found, and whether it
// reached the end.
func (r *Reconciler) walk(ctx context.Context, queue string, now time.Time, at *job.Position, deep bool,
	next func(after job.Position, limit int) ([]job.OpenDelivery, error)) (all found, ended bool, err error) {
	limit := sweepPage
	for range deepPages {
		if deep {
			limit = deepPage
		}
		page, err := next(*at, limit)
		if err != nil {
			return all, false, err
		}
		*at, ended = job.Position{}, len(page) < limit // from the beginning, unless there is more
		if !ended {
			*at = page[len(page)-1].Position
		}
		f, err := r.compare(ctx, queue, page, now)
		if err != nil {
			return all, false, err
		}
		all = all.plus(f)
		if err := r.repair(ctx, queue, f); err != nil {
			return all, false, err
		}
		deep = deep || !f.empty()
		if ended || !deep {
			return all, ended, nil
		}
	}
	return all, false, nil
}

// found is what a comparison of waiting jobs with their tasks showed.
type found struct {
	missing, stuck, archivedInRedis []job.OpenDelivery
	// Well, as far as can be told without reading a long pending list whole.
	pending []job.OpenDelivery
}

func (f found) empty() bool { return len(f.missing)+len(f.stuck)+len(f.archivedInRedis) == 0 }

func (f found) plus(g found) found {
	return found{
		missing:         append(f.missing, g.missing...),
		stuck:           append(f.stuck, g.stuck...),
		archivedInRedis: append(f.archivedInRedis, g.archivedInRedis...),
	}
}

func (r *Reconciler) repairStuck(ctx context.Context, queue string, f found) error {
	for _, d := range f.archivedInRedis {
		if _, err := r.ledger.Archive(ctx, d.ID, "archived in Redis by hand"); err != nil &&
			job.CodeOf(err) != job.CodeConflict {
			return err
		}
		r.adopted.Add(1)
		r.log.WarnContext(ctx, "a task was archived in redis, the ledger follows", "job_id", d.ID, "queue", queue)
	}
	if r.dispatcher.Full() { // sending has stopped: they wait in the ledger
		return nil
	}
	return r.redeliver(ctx, queue, f.stuck)
}

// compare looks up the tasks of jobs that wait. Those that are active are the heartbeat's matter.
func (r *Reconciler) compare(
	ctx context.Context,
	queue string,
	page []job.OpenDelivery,
	now time.Time,
) (f found, err error) {
	var waiting []job.OpenDelivery
	for _, d := range page {
		if d.State != job.Active {
			waiting = append(waiting, d)
		}
	}
	places, err := r.taskStates(ctx, queue, waiting)
	if err != nil {
		return f, err
	}
	for i, d := range waiting {
		switch p := places[i]; {
		case p.state == "":
			f.missing = append(f.missing, d)
		case p.state == "archived":
			f.archivedInRedis = append(f.archivedInRedis, d)
		case p.isStuck(d, now):
			f.stuck = append(f.stuck, d)
		case p.state == "pending":
			f.pending = append(f.pending, d)
		}
	}
	return f, nil
}
