package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/waybill/waybill/internal/job"
)

// lite is the engine of `waybill dev`: one file, one writer, the process's own clock.
type lite struct {
	db   *bun.DB
	path string
	lock sync.Mutex
}

// synchronous(full) makes a commit survive the machine's death too: the promise is the same as on PostgreSQL.
const litePragmas = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=foreign_keys(1)&_txlock=immediate"

func openSQLite(ctx context.Context, path string) (engine, error) {
	db, err := sql.Open("sqlite", "file:"+path+litePragmas)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database %s: %w", path, err), db.Close())
	}
	return &lite{db: bun.NewDB(db, sqlitedialect.New()), path: path}, nil
}

func (l *lite) bun() *bun.DB      { return l.db }
func (l *lite) close() error      { return l.db.Close() }
func (l *lite) dialect() string   { return "sqlite" }
func (l *lite) forUpdate() string { return "" }
func (l *lite) clock() any        { return liteNow() }

func (l *lite) now(context.Context) (time.Time, error) { return liteNow(), nil }

// settledBefore is now: with one writer, what is not visible was not written.
func (l *lite) settledBefore(context.Context) (time.Time, error) { return liteNow(), nil }

// liteNow has PostgreSQL's resolution, so that both engines answer the same times.
func liteNow() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// withLock locks a file beside the database in the way that SQLite locks any: it is free when its holder is gone.
func (l *lite) withLock(ctx context.Context, f func(context.Context) error) error {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.path == ":memory:" {
		return f(ctx)
	}
	guard, err := sql.Open("sqlite", "file:"+l.path+".lock?_pragma=busy_timeout(60000)")
	if err != nil {
		return err
	}
	defer guard.Close()
	guard.SetMaxOpenConns(1)
	if _, err := guard.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		return fmt.Errorf("wait for the migration lock: %w", err)
	}
	return f(ctx)
}

func (l *lite) unavailable(err error) bool {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_INTERRUPT:
			return true
		}
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sql.ErrConnDone)
}

func (l *lite) insertJobs(ctx context.Context, subs []job.Submission, strict bool) ([]inserted, error) {
	var done []inserted
	err := l.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		now := liteNow()
		for i := range subs {
			row := newRow(&subs[i], now)
			res, err := tx.NewInsert().Model(row).On("CONFLICT (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING").Returning("NULL").Exec(ctx)
			if err != nil {
				return err
			}
			if n, _ := res.RowsAffected(); n == 0 {
				if strict {
					done = nil
					return errKnown
				}
				continue
			}
			if err := insertLabels(ctx, tx, row, subs[i].Labels); err != nil {
				return err
			}
			done = append(done, inserted{ID: row.ID, State: row.State, RunAt: row.RunAt, CreatedAt: row.CreatedAt})
		}
		return nil
	})
	if errors.Is(err, errKnown) {
		return nil, nil
	}
	return done, err
}

var errKnown = errors.New("the idempotency key is known")

type labelRow struct {
	bun.BaseModel `bun:"table:job_labels"`

	OwnerID job.ID `bun:"owner_id"`
	Key     string `bun:"key"`
	Value   string `bun:"value"`
	JobID   job.ID `bun:"job_id"`
}

func insertLabels(ctx context.Context, tx bun.IDB, row *jobRow, labels map[string]string) error {
	for k, v := range labels {
		if _, err := tx.NewInsert().Model(&labelRow{OwnerID: row.OwnerID, Key: k, Value: v, JobID: row.ID}).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

func newRow(s *job.Submission, now time.Time) *jobRow {
	row := &jobRow{ID: s.ID, OwnerID: s.OwnerID, Type: s.Type, Queue: s.Queue, State: job.Pending, RunAt: now, Delivery: 1, DispatchAt: now,
		MaxRetries: s.MaxRetries, TimeoutMS: s.Timeout.Milliseconds(), Deadline: s.Deadline.UTC(), BackoffKind: s.Backoff.Kind,
		BackoffBaseMS: s.Backoff.Base.Milliseconds(), BackoffMaxMS: s.Backoff.Max.Milliseconds(), CreatedAt: now,
		IdempotencyKey: s.IdempotencyKey, Fingerprint: s.Fingerprint, Traceparent: s.Traceparent, Payload: rawJSON(s.Payload)}
	if s.RunAt.After(now) {
		row.State, row.RunAt = job.Scheduled, s.RunAt.UTC()
	}
	if l := labelsJSON(s.Labels); l != nil {
		row.Labels = rawJSON(*l)
	}
	return row
}

func (l *lite) claimJobs(ctx context.Context, reqs []job.ClaimRequest) ([]*job.Job, error) {
	var jobs []*job.Job
	err := l.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for _, r := range reqs {
			row := new(jobRow)
			err := tx.NewRaw(`UPDATE jobs SET state = 'active', attempt = attempt + 1, worker_id = ?, started_at = ?, progress_percent = NULL, progress_message = NULL
				WHERE id = ? AND delivery = ? AND state IN ('pending', 'scheduled', 'retry') AND run_at <= ? RETURNING *`,
				r.WorkerID, liteNow(), r.JobID, r.Delivery, liteNow()).Scan(ctx, row)
			switch {
			case errors.Is(err, sql.ErrNoRows):
			case err != nil:
				return err
			default:
				jobs = append(jobs, row.job())
			}
		}
		return nil
	})
	return jobs, err
}

func (l *lite) settleJobs(ctx context.Context, sets []job.Settlement) ([]settled, error) {
	var done []settled
	err := l.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for i := range sets {
			row, err := settleRow(ctx, tx, &sets[i])
			switch {
			case errors.Is(err, sql.ErrNoRows):
			case err != nil:
				return err
			default:
				done = append(done, settled{ID: row.ID, State: row.State, Delivery: row.Delivery, RunAt: row.RunAt})
			}
		}
		return nil
	})
	return done, err
}

// settleRow is settleSQL of postgres_hot.go for one row.
func settleRow(ctx context.Context, tx bun.Tx, s *job.Settlement) (*jobRow, error) {
	now, row := liteNow(), new(jobRow)
	open := !s.State.Finished()
	q := tx.NewUpdate().Model(row).
		Set("state = CASE WHEN ? AND cancel_requested_at IS NOT NULL THEN 'canceled' ELSE ? END", open, s.State).
		Set("finished_at = CASE WHEN ? OR cancel_requested_at IS NOT NULL THEN ? END", !open, now).
		Set("settled_attempt = ?", s.Attempt).Set("crashes = 0")
	if s.State == job.Canceled {
		q = q.Set("cancel_requested_at = coalesce(cancel_requested_at, ?)", now)
	}
	if !s.RunAt.IsZero() {
		q = q.Set("run_at = ?", s.RunAt.UTC())
	}
	if len(s.Result) > 0 {
		q = q.Set("result = ?", string(s.Result))
	}
	if s.Failed {
		q = q.Set("failures = failures + 1")
	}
	if s.State == job.Pending {
		q = q.Set("interruptions = interruptions + 1").Set("delivery = delivery + 1").Set("dispatch_at = ?", now)
	}
	err := q.Where("id = ?", s.JobID).Where("attempt = ?", s.Attempt).Where("settled_attempt < ?", s.Attempt).
		Where("state IN ('active', 'pending')").Where("worker_id = ?", s.WorkerID).Returning("*").Scan(ctx)
	if err != nil || s.Error == nil {
		return row, err
	}
	_, err = tx.NewInsert().Model(&errorRow{JobID: s.JobID, Attempt: s.Attempt, At: now, Message: job.CleanText(s.Error.Message, job.MaxText),
		Retryable: s.Error.Retryable, Stack: job.CleanText(s.Error.Stack, maxStack)}).On("CONFLICT DO NOTHING").Exec(ctx)
	return row, err
}
