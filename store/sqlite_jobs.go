//go:build !nosqlite

package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// submissionRow is what was asked for.
type submissionRow struct {
	bun.BaseModel `bun:"table:submissions"`

	ID             job.ID    `bun:"id,pk"`
	OwnerID        job.ID    `bun:"owner_id"`
	Type           string    `bun:"type"`
	Queue          string    `bun:"queue"`
	CreatedAt      time.Time `bun:"created_at"`
	MaxRetries     int       `bun:"max_retries"`
	TimeoutMS      int64     `bun:"timeout_ms"`
	Deadline       time.Time `bun:"deadline,nullzero"`
	BackoffKind    string    `bun:"backoff_kind"`
	BackoffBaseMS  int64     `bun:"backoff_base_ms"`
	BackoffMaxMS   int64     `bun:"backoff_max_ms"`
	IdempotencyKey string    `bun:"idempotency_key,nullzero"`
	Fingerprint    []byte    `bun:"fingerprint"`
	Traceparent    string    `bun:"traceparent,nullzero"`
	Labels         rawJSON   `bun:"labels"`
	Payload        rawJSON   `bun:"payload"`
}

type labelRow struct {
	bun.BaseModel `bun:"table:job_labels"`

	OwnerID job.ID `bun:"owner_id"`
	Key     string `bun:"key"`
	Value   string `bun:"value"`
	JobID   job.ID `bun:"job_id"`
}

func (l *sqliteEngine) insertJobs(ctx context.Context, subs []job.Submission, strict bool) (inserted, error) {
	var done inserted
	err := l.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		done = inserted{at: liteNow(), ids: make(map[job.ID]bool, len(subs))}
		for i := range subs {
			written, err := l.insert(ctx, tx, &subs[i], done.at)
			switch {
			case err != nil:
				return err
			case written:
				done.ids[subs[i].ID] = true
			case strict:
				return errKnown
			}
		}
		return nil
	})
	if errors.Is(err, errKnown) {
		return inserted{}, nil
	}
	return done, err
}

var errKnown = errors.New("the idempotency key is known")

// insert writes one submission, unless its idempotency key is known.
func (l *sqliteEngine) insert(
	ctx context.Context,
	tx bun.Tx,
	s *job.Submission,
	now time.Time,
) (written bool, err error) {
	row := &submissionRow{ID: s.ID, OwnerID: s.OwnerID, Type: s.Type, Queue: s.Queue, CreatedAt: now,
		MaxRetries: s.MaxRetries, TimeoutMS: s.Timeout.Milliseconds(), Deadline: s.Deadline.UTC(),
		BackoffKind:   s.Backoff.Kind,
		BackoffBaseMS: s.Backoff.Base.Milliseconds(), BackoffMaxMS: s.Backoff.Max.Milliseconds(),
		IdempotencyKey: s.IdempotencyKey, Fingerprint: s.Fingerprint, Traceparent: s.Traceparent,
		Payload: rawJSON(s.Payload)}
	if l := labelsJSON(s.Labels); l != nil {
		row.Labels = rawJSON(*l)
	}
	res, err := tx.NewInsert().
		Model(row).
		On("CONFLICT (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING").
		Returning("NULL").
		Exec(ctx)
	if err != nil {
		return false, err
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return false, nil
	}
	state, runAt := firstState(s, now)
	open := &openJob{
		runColumns: runColumns{ID: s.ID, Queue: s.Queue, State: state, RunAt: runAt, Delivery: 1},
		OwnerID:    s.OwnerID,
		DispatchAt: now,
	}
	if _, err := tx.NewInsert().Model(open).Returning("NULL").Exec(ctx); err != nil {
		return false, err
	}
	for k, v := range s.Labels {
		if _, err := tx.NewInsert().Model(&labelRow{OwnerID: s.OwnerID, Key: k, Value: v,
			JobID: s.ID}).Exec(ctx); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (l *sqliteEngine) deliveries(
	ctx context.Context,
	queue string,
	after job.Position,
	before time.Time,
	limit int,
) ([]job.OpenDelivery, error) {
	return l.walk(ctx, queue, after, before, limit, func(q *bun.SelectQuery) *bun.SelectQuery { return q })
}

func (l *sqliteEngine) dueDeliveries(
	ctx context.Context,
	queue string,
	after job.Position,
	before time.Time,
	limit int,
) ([]job.OpenDelivery, error) {
	return l.walk(ctx, queue, after, before, limit, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("state <> ?", job.Active).Where("run_at < ?", before.UTC())
	})
}

func (l *sqliteEngine) walk(ctx context.Context, queue string, after job.Position, before time.Time, limit int,
	only func(*bun.SelectQuery) *bun.SelectQuery) ([]job.OpenDelivery, error) {
	var rows []openJob
	q := l.db.NewSelect().
		Model(&rows).
		Column("id", "dispatch_at", "delivery", "state", "run_at").
		Where(deliveryRow).
		Where("queue = ?", queue).
		Where("dispatch_at < ?", before.UTC()).
		Where("(dispatch_at, id) > (?, ?)", after.DispatchAt.UTC(), after.ID.String()).
		OrderExpr("dispatch_at, id").
		Limit(int64(limit))
	err := only(q).Scan(ctx)
	return deliveries(rows), err
}

func (l *sqliteEngine) claimJobs(ctx context.Context, reqs []job.ClaimRequest) ([]*job.Job, error) {
	var jobs []*job.Job
	err := l.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		jobs = nil
		for _, r := range reqs {
			res, err := tx.NewUpdate().
				Table("open_jobs").
				Set("state = ?", job.Active).
				Set("attempt = attempt + 1").
				Set("worker_id = ?", r.WorkerID).
				Set("started_at = ?", liteNow()).
				Set("progress_percent = NULL").
				Set("progress_message = NULL").
				Where("id = ?", r.JobID).
				Where("delivery = ?", r.Delivery).
				Where("(state = ? OR state IN (?) AND run_at <= ?)", job.Pending, bun.List(job.WaitingStates),
					liteNow()).
				Exec(ctx)
			if err != nil {
				return err
			}
			if n, _ := res.RowsAffected(); n == 0 {
				continue
			}
			rows, err := loadJobs(ctx, tx, []job.ID{r.JobID})
			if err != nil {
				return err
			}
			jobs = append(jobs, rows[0].job())
		}
		return nil
	})
	return jobs, err
}

func (l *sqliteEngine) settleJobs(ctx context.Context, sets []*job.Settlement) ([]settled, error) {
	var done []settled
	err := l.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		done = nil
		for i := range sets {
			r, err := settleOne(ctx, tx, sets[i])
			switch {
			case errors.Is(err, sql.ErrNoRows): // the fence
			case err != nil:
				return err
			default:
				done = append(done, r)
			}
		}
		return nil
	})
	return done, err
}

// settleOne is what postgres_settle.go says in SQL, for one row.
func settleOne(ctx context.Context, tx bun.Tx, s *job.Settlement) (settled, error) {
	now, row := liteNow(), new(openJob)
	err := tx.NewSelect().
		Model(row).
		Where("o.id = ?", s.JobID).
		Where("o.attempt = ?", s.Attempt).
		Where("o.settled_attempt < ?", s.Attempt).
		Where("o.worker_id = ?", s.WorkerID).
		Scan(ctx)
	if err != nil {
		return settled{}, err
	}
	row.SettledAttempt = s.Attempt
	if s.Failed {
		row.Failures++
	}
	state := s.State
	if !state.Finished() && !row.CancelRequestedAt.IsZero() {
		state = job.Canceled
	}
	if state.Finished() {
		if state == job.Canceled && row.CancelRequestedAt.IsZero() {
			row.CancelRequestedAt = now
		}
		end := row.outcome(state, now)
		if len(s.Result) > 0 {
			end.Result = rawJSON(s.Result)
		}
		err = finish(ctx, tx, end)
	} else {
		err = postponed(ctx, tx, row, s, now)
	}
	if err == nil && s.Error != nil {
		_, err = tx.NewInsert().
			Model(&errorRow{JobID: s.JobID, Attempt: s.Attempt, At: now,
				Message:   job.CleanText(s.Error.Message, job.MaxText),
				Retryable: s.Error.Retryable, Stack: job.CleanText(s.Error.Stack, maxStack)}).
			On("CONFLICT DO NOTHING").
			Exec(ctx)
	}
	return settled{ID: row.ID, State: state, Delivery: row.Delivery, RunAt: row.RunAt}, err
}

func postponed(ctx context.Context, tx bun.Tx, row *openJob, s *job.Settlement, now time.Time) error {
	row.State, row.Crashes = s.State, 0
	if s.State != job.Pending {
		row.RunAt = now.Add(s.Wait.Truncate(time.Microsecond))
	}
	if s.State == job.Pending {
		row.Interruptions++
		row.Delivery++
		row.DispatchAt = now
	}
	_, err := tx.NewUpdate().
		Model(row).
		Column("state", "settled_attempt", "run_at", "failures", "interruptions", "crashes", "delivery", "dispatch_at").
		WherePK().
		Exec(ctx)
	return err
}

func (l *sqliteEngine) insertWithin(ctx context.Context, tx bun.Tx, subs []job.Submission) (time.Time, error) {
	now := liteNow()
	for i := range subs {
		if _, err := l.insert(ctx, tx, &subs[i], now); err != nil {
			return now, err
		}
	}
	return now, nil
}
