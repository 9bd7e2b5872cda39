package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// Cancel calls a job off. A waiting job is canceled when it returns; for a running one the request is written down, which its worker
// learns within a second. Canceling a canceled job changes nothing; one that is completed or archived answers job.CodeConflict.
func (s *Store) Cancel(ctx context.Context, id job.ID) (*job.Job, error) {
	q := s.callOff(s.db.NewUpdate().Table("jobs")).Where("id = ?", id)
	return s.steer(ctx, id, q, "canceled", job.Canceled)
}

// callOff ends open jobs that wait, and writes the request down for those that run.
func (s *Store) callOff(q *bun.UpdateQuery) *bun.UpdateQuery {
	return q.Set("finished_at = CASE WHEN state = 'active' THEN NULL ELSE ? END", s.clock()).
		Set("settled_attempt = CASE WHEN state = 'active' THEN settled_attempt ELSE attempt END").
		Set("worker_id = CASE WHEN state = 'active' THEN worker_id END"). // so that no late worker takes this end for his
		Set("cancel_requested_at = coalesce(cancel_requested_at, ?)", s.clock()).
		Set("state = CASE WHEN state = 'active' THEN state ELSE 'canceled' END").
		Where("state IN (?)", bun.List(job.OpenStates))
}

// Retry runs a job anew that is archived, canceled or waits for its next attempt, at once and with all its retries. Any other state
// answers job.CodeConflict.
func (s *Store) Retry(ctx context.Context, id job.ID) (*job.Job, error) {
	return s.steer(ctx, id, s.anew(id, job.Archived, job.Canceled, job.Retry), "retried", "")
}

// RunNow is Retry for operators: a scheduled job may be run before its time too.
func (s *Store) RunNow(ctx context.Context, id job.ID) (*job.Job, error) {
	return s.steer(ctx, id, s.anew(id, job.Archived, job.Canceled, job.Retry, job.Scheduled), "run", "")
}

func (s *Store) anew(id job.ID, from ...job.State) *bun.UpdateQuery {
	return s.db.NewUpdate().Table("jobs").
		Set("state = ?", job.Pending).Set("run_at = ?", s.clock()).Set("dispatch_at = ?", s.clock()).
		Set("delivery = delivery + 1").Set("settled_attempt = attempt").Set("worker_id = NULL").Set("failures = 0").Set("crashes = 0").
		Set("finished_at = NULL").Set("cancel_requested_at = NULL").Set("result = NULL").
		Where("id = ?", id).Where("state IN (?)", bun.List(from))
}

// Archive gives a waiting job up by hand, with the reason among its errors.
func (s *Store) Archive(ctx context.Context, id job.ID, reason string) (*job.Job, error) {
	err := s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		row := new(jobRow)
		err := tx.NewUpdate().Model(row).
			Set("state = ?", job.Archived).Set("finished_at = ?", s.clock()).Set("settled_attempt = attempt").Set("worker_id = NULL").
			Where("id = ?", id).Where("state IN (?)", bun.List([]job.State{job.Scheduled, job.Pending, job.Held, job.Retry})).
			Returning("id, attempt, finished_at").Scan(ctx)
		if err != nil {
			return err
		}
		_, err = tx.NewInsert().Model(&errorRow{JobID: id, Attempt: row.Attempt, At: row.FinishedAt, Message: job.CleanText(reason, job.MaxText)}).
			On("CONFLICT DO NOTHING").Exec(ctx)
		return err
	})
	refused := errors.Is(err, sql.ErrNoRows)
	if err != nil && !refused {
		return nil, s.wrap("archive job", err)
	}
	j, err := s.Job(ctx, id)
	if err == nil && refused && j.State != job.Archived {
		return nil, job.Conflict(j.State, "archived")
	}
	return j, err
}

// steer applies a change of state by hand. Where no row fits, the job's own state says why; already is the state in which there is
// nothing left to do.
func (s *Store) steer(ctx context.Context, id job.ID, q *bun.UpdateQuery, verb string, already job.State) (*job.Job, error) {
	res, err := q.Exec(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, s.wrap("change job", err)
	}
	j, err := s.Job(ctx, id)
	if err != nil {
		return nil, err
	}
	if n, _ := res.RowsAffected(); n == 0 && j.State != already {
		return nil, job.Conflict(j.State, verb)
	}
	return j, nil
}

// clock is the database's own time, as a value in a statement.
func (s *Store) clock() any { return s.engine.clock() }
