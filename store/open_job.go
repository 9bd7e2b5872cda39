package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// runColumns is what an open job and its outcome have in common: it goes from one to the other as
// it is.
type runColumns struct {
	ID                job.ID    `bun:"id,pk"`
	Queue             string    `bun:"queue"`
	State             job.State `bun:"state"`
	RunAt             time.Time `bun:"run_at"`
	Delivery          int       `bun:"delivery"`
	Attempt           int       `bun:"attempt"`
	SettledAttempt    int       `bun:"settled_attempt"`
	WorkerID          job.ID    `bun:"worker_id"`
	Failures          int       `bun:"failures"`
	Interruptions     int       `bun:"interruptions"`
	StartedAt         time.Time `bun:"started_at,nullzero"`
	CancelRequestedAt time.Time `bun:"cancel_requested_at,nullzero"`
	ProgressPercent   *float64  `bun:"progress_percent"`
	ProgressMessage   *string   `bun:"progress_message"`
}

// openJob is where a job stands until its outcome is known.
type openJob struct {
	bun.BaseModel `bun:"table:open_jobs,alias:o"`
	runColumns

	OwnerID    job.ID    `bun:"owner_id"`
	DispatchAt time.Time `bun:"dispatch_at"`
	Crashes    int       `bun:"crashes"`

	Now time.Time `bun:"now,scanonly"` // the database's clock, where lockOpen read the row
}

// outcomeRow is what came of a job.
type outcomeRow struct {
	bun.BaseModel `bun:"table:outcomes,alias:f"`
	runColumns

	FinishedAt time.Time `bun:"finished_at"`
	Result     rawJSON   `bun:"result"`
}

// outcome is r's row once it is finished.
func (r *openJob) outcome(state job.State, at time.Time) outcomeRow {
	end := outcomeRow{runColumns: r.runColumns, FinishedAt: at}
	end.State = state
	return end
}

// lockOpen reads open jobs and locks them until the transaction ends, in the order of their ids, so
// that two transactions that want the same jobs never deadlock.
func (s *Store) lockOpen(
	ctx context.Context,
	tx bun.Tx,
	where func(*bun.SelectQuery) *bun.SelectQuery,
) ([]openJob, error) {
	var rows []openJob
	q := where(
		tx.NewSelect().Model(&rows).ColumnExpr("?TableColumns").ColumnExpr("? AS now", s.clock()).OrderExpr("o.id"),
	)
	if s.engine.forUpdate() != "" {
		q = q.For("UPDATE OF o")
	}
	err := q.Scan(ctx)
	return rows, err
}

// finish writes the outcomes of open jobs, which the transaction has locked.
func finish(ctx context.Context, tx bun.Tx, rows ...outcomeRow) error {
	if len(rows) == 0 {
		return nil
	}
	if _, err := tx.NewInsert().Model(&rows).Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	ids := make([]job.ID, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	_, err := tx.NewDelete().Table("open_jobs").Where("id IN (?)", bun.List(ids)).Exec(ctx)
	return err
}

// loadJobs reads jobs with their payloads, in the order of their ids.
func loadJobs(ctx context.Context, db bun.IDB, ids []job.ID) ([]*jobRow, error) {
	var rows []*jobRow
	if len(ids) == 0 {
		return nil, nil
	}
	err := db.NewSelect().Model(&rows).Where("j.id IN (?)", bun.List(ids)).OrderExpr("j.id").Scan(ctx)
	return rows, err
}
