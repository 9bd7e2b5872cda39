package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// Cancel cancels a job. A waiting job is canceled when it returns; for a running one the request
// is written down, which its worker learns within a second. Canceling a canceled job changes
// nothing; one that is completed or archived answers job.CodeConflict.
func (s *Store) Cancel(ctx context.Context, id job.ID) (*job.Job, error) {
	return s.changeState(ctx, id, "canceled", job.Canceled, func(ctx context.Context, tx bun.Tx) (c change, err error) {
		done, ended, err := s.cancelJobs(ctx, tx, []job.ID{id})
		if len(ended) > 0 {
			c.ended = job.Canceled
		}
		c.done = len(done) > 0
		return c, err
	})
}

// cancelJobs ends those of the jobs that wait, and writes the request down for those that run. It
// answers both, and which of them it ended; finished jobs stay as they are.
func (s *Store) cancelJobs(
	ctx context.Context,
	tx bun.Tx,
	ids []job.ID,
) (done []job.ID, ended []outcomeRow, err error) {
	rows, err := s.lockOpen(
		ctx,
		tx,
		func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("o.id IN (?)", bun.List(ids)) },
	)
	if err != nil {
		return nil, nil, err
	}
	var running []job.ID
	for i := range rows {
		r := &rows[i]
		done = append(done, r.ID)
		if r.State == job.Active {
			running = append(running, r.ID)
			continue
		}
		if r.CancelRequestedAt.IsZero() {
			r.CancelRequestedAt = r.Now
		}
		r.SettledAttempt, r.WorkerID = r.Attempt, job.ID{} // so that no late worker takes this end for his
		ended = append(ended, r.outcome(job.Canceled, r.Now))
	}
	if len(running) > 0 {
		_, err := tx.NewUpdate().
			Table("open_jobs").
			Set("cancel_requested_at = coalesce(cancel_requested_at, ?)", s.clock()).
			Where("id IN (?)", bun.List(running)).
			Exec(ctx)
		if err != nil {
			return nil, nil, err
		}
	}
	return done, ended, finish(ctx, tx, ended...)
}

// Retry runs a job again that is archived, canceled or waits for its next attempt, at once and with
// all its retries. Any other state answers job.CodeConflict.
func (s *Store) Retry(ctx context.Context, id job.ID) (*job.Job, error) {
	return s.changeState(ctx, id, "retried", "", s.rerun(id, job.Retry))
}

// RunNow is Retry for operators: a scheduled job may be run before its time too.
func (s *Store) RunNow(ctx context.Context, id job.ID) (*job.Job, error) {
	return s.changeState(ctx, id, "run", "", s.rerun(id, job.Retry, job.Scheduled))
}

// rerun reopens a job that is archived or canceled, or brings one forward that waits in one of
// these states.
func (s *Store) rerun(id job.ID, from ...job.State) func(context.Context, bun.Tx) (change, error) {
	return func(ctx context.Context, tx bun.Tx) (change, error) {
		reopened, err := s.reopen(ctx, tx, id)
		if err != nil || reopened {
			return change{done: reopened, reopened: reopened}, err
		}
		n, err := s.affected("run job again", func() (sql.Result, error) {
			return tx.NewUpdate().Table("open_jobs").
				Set("state = ?", job.Pending).Set("run_at = ?", s.clock()).Set("dispatch_at = ?", s.clock()).
				Set("delivery = delivery + 1").
				Set("settled_attempt = attempt").Set("worker_id = NULL").Set("failures = 0").Set("crashes = 0").
				Set("cancel_requested_at = NULL").Where("id = ?", id).Where("state IN (?)", bun.List(from)).Exec(ctx)
		})
		return change{done: n > 0}, err
	}
}

// reopen takes the outcome of an archived or canceled job back.
func (s *Store) reopen(ctx context.Context, tx bun.Tx, id job.ID) (bool, error) {
	row := new(outcomeRow)
	err := tx.NewDelete().
		Model(row).
		Where("id = ?", id).
		Where("state IN (?)", bun.List([]job.State{job.Archived, job.Canceled})).
		Returning("?Columns").
		Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	open := &openJob{runColumns: row.runColumns}
	open.State, open.Delivery, open.SettledAttempt = job.Pending, row.Delivery+1, row.Attempt
	open.WorkerID, open.Failures, open.CancelRequestedAt = job.ID{}, 0, time.Time{}
	_, err = tx.NewInsert().Model(open).
		Value("owner_id", "(SELECT owner_id FROM submissions WHERE id = ?)", id).
		Value("run_at", "?", s.clock()).Value("dispatch_at", "?", s.clock()).Returning("NULL").Exec(ctx)
	return err == nil, err
}

// Archive gives a waiting job up by hand, with the reason among its errors.
func (s *Store) Archive(ctx context.Context, id job.ID, reason string) (*job.Job, error) {
	return s.changeState(ctx, id, "archived", job.Archived, func(ctx context.Context, tx bun.Tx) (change, error) {
		rows, err := s.lockOpen(ctx, tx, func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("o.id = ?", id).Where("o.state <> ?", job.Active)
		})
		if err != nil || len(rows) == 0 {
			return change{}, err
		}
		r := &rows[0]
		r.SettledAttempt, r.WorkerID = r.Attempt, job.ID{}
		if err := finish(ctx, tx, r.outcome(job.Archived, r.Now)); err != nil {
			return change{}, err
		}
		_, err = tx.NewInsert().
			Model(&errorRow{JobID: id, Attempt: r.Attempt, At: r.Now.UTC(),
				Message: job.CleanText(reason, job.MaxText)}).
			On("CONFLICT DO NOTHING").
			Exec(ctx)
		return change{done: true, ended: job.Archived}, err
	})
}

// changeState applies a change of state by hand. Where the job did not fit, its own state says why;
// already is the state in which there is nothing left to do.
func (s *Store) changeState(
	ctx context.Context,
	id job.ID,
	verb string,
	already job.State,
	apply func(context.Context, bun.Tx) (change, error),
) (*job.Job, error) {
	var made change
	err := s.inTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if made, err = apply(ctx, tx); err != nil {
			return err
		}
		return made.read(ctx, tx, id)
	})
	if err != nil {
		return nil, s.wrap("change job", err)
	}
	s.observe(made)
	j, err := s.Job(ctx, id)
	if err != nil {
		return nil, err
	}
	if !made.done && j.State != already {
		return nil, job.Conflict(j.State, verb)
	}
	return j, nil
}

// clock is the database's own time, as a value in a statement.
func (s *Store) clock() any { return s.engine.clock() }
