package app

import (
	"context"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/obs"
)

// watched is the ledger, with what is done to jobs counted. It stands before the ledger of everybody who changes jobs.
type watched struct {
	*ledger
	watch *watch
}

// Create counts and traces; the job is in the trace of its request.
func (l watched) Create(ctx context.Context, s job.Submission) (job.Created, error) {
	s.Traceparent = obs.Traceparent(ctx)
	ctx, end := l.watch.spans.Ledger(ctx, "create", 1)
	made, err := l.ledger.Create(ctx, s)
	end(err)
	l.created(made)
	return made, err
}

// CreateAll is Create for many: they share the trace of their request.
func (l watched) CreateAll(ctx context.Context, subs []job.Submission) ([]job.Created, error) {
	trace := obs.Traceparent(ctx)
	for i := range subs {
		subs[i].Traceparent = trace
	}
	ctx, end := l.watch.spans.Ledger(ctx, "create", len(subs))
	made, err := l.ledger.CreateAll(ctx, subs)
	end(err)
	l.created(made...)
	return made, err
}

// created counts jobs of one kind together: those of a batch mostly are, and to find a counter takes longer than to count.
func (l watched) created(made ...job.Created) {
	var taskType, queue string
	n := 0
	for _, m := range made {
		if m.Job == nil || m.Replayed {
			continue
		}
		if n > 0 && (m.Job.Type != taskType || m.Job.Queue != queue) {
			l.watch.jobs.Created(taskType, queue, n)
			n = 0
		}
		taskType, queue = m.Job.Type, m.Job.Queue
		n++
	}
	if n > 0 {
		l.watch.jobs.Created(taskType, queue, n)
	}
}

// Cancel, Archive, Retry and RunNow count what they change: the ledger answers the same to whom comes second, so it is asked before.
func (l watched) Cancel(ctx context.Context, id job.ID) (*job.Job, error) {
	return l.steer(ctx, id, l.ledger.Cancel)
}

// Archive counts, as Cancel does.
func (l watched) Archive(ctx context.Context, id job.ID, reason string) (*job.Job, error) {
	return l.steer(ctx, id, func(ctx context.Context, id job.ID) (*job.Job, error) { return l.ledger.Archive(ctx, id, reason) })
}

// Retry counts, as Cancel does.
func (l watched) Retry(ctx context.Context, id job.ID) (*job.Job, error) {
	return l.steer(ctx, id, l.ledger.Retry)
}

// RunNow counts, as Cancel does.
func (l watched) RunNow(ctx context.Context, id job.ID) (*job.Job, error) {
	return l.steer(ctx, id, l.ledger.RunNow)
}

func (l watched) steer(ctx context.Context, id job.ID, change func(context.Context, job.ID) (*job.Job, error)) (*job.Job, error) {
	before, err := l.Job(ctx, id)
	if err != nil {
		return nil, err
	}
	after, err := change(ctx, id)
	switch {
	case err != nil:
	case after.State.Finished() && !before.State.Finished():
		l.watch.jobs.Finished(after)
	case before.State.Finished() && !after.State.Finished():
		l.watch.jobs.Reopened(after)
	}
	return after, err
}

// Orphans counts the jobs that were taken from lost workers for good.
func (l watched) Orphans(ctx context.Context, judge job.ID) ([]*job.Job, error) {
	jobs, err := l.ledger.Orphans(ctx, judge)
	for _, j := range jobs {
		if j.State.Finished() {
			l.watch.jobs.Finished(j)
		}
	}
	return jobs, err
}
