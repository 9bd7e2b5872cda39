package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// orphanBatch bounds how many jobs one pass takes back, and so how long it holds their rows.
const orphanBatch = 1000

// Orphans takes active jobs back whose worker's heartbeat is stale or gone: each becomes pending with the next delivery, canceled if that was
// asked for, or archived as quarantined if it lost its worker too often in a row. It answers them as they stand, payload included.
//
// Only a judge whose own heartbeat reached the ledger all that time may call another worker dead: after an outage of the database everybody
// looks dead and nobody is. A judge without that standing gets no rows.
func (s *Store) Orphans(ctx context.Context, judge job.ID) ([]*job.Job, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	var rows []*jobRow
	err = s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		return s.takeBack(ctx, tx, judge, now, &rows)
	})
	if err != nil {
		return nil, s.wrap("take back orphans", err)
	}
	jobs := make([]*job.Job, len(rows))
	for i, r := range rows {
		jobs[i] = r.job()
	}
	return jobs, nil
}

func (s *Store) takeBack(ctx context.Context, tx bun.Tx, judge job.ID, now time.Time, rows *[]*jobRow) error {
	stale := now.Add(-StaleAfter)
	heard := tx.NewSelect().Table("workers").ColumnExpr("1").Where("id = ?", judge).
		Where("beating_since < ?", stale).Where("beat_at >= ?", now.Add(-beatGap))
	lost := tx.NewSelect().TableExpr("jobs AS j").ColumnExpr("j.id").Join("LEFT JOIN workers AS w ON w.id = j.worker_id").
		Where("j.state = ?", job.Active).Where("(w.id IS NULL OR w.beat_at < ?)", stale).Where("EXISTS (?)", heard).Limit(orphanBatch)
	if clause := s.engine.forUpdate(); clause != "" {
		lost = lost.For("UPDATE OF j SKIP LOCKED")
	}
	last := "crashes + 1 >= " + fmt.Sprint(job.MaxCrashes)
	err := tx.NewUpdate().Model(rows).
		Set("state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'canceled' WHEN "+last+" THEN 'archived' ELSE 'pending' END").
		Set("finished_at = CASE WHEN cancel_requested_at IS NOT NULL OR "+last+" THEN ? END", s.clock()).
		Set("interruptions = interruptions + 1").Set("crashes = crashes + 1").
		Set("delivery = delivery + 1").Set("dispatch_at = ?", s.clock()).
		Where("id IN (?)", lost).Returning("*").Scan(ctx)
	if err != nil || len(*rows) == 0 {
		return err
	}
	notes := make([]errorRow, len(*rows))
	for i, r := range *rows {
		notes[i] = errorRow{JobID: r.ID, Attempt: r.Attempt, At: now, Message: lostMessage(r), Retryable: r.State == job.Pending}
	}
	_, err = tx.NewInsert().Model(&notes).On("CONFLICT DO NOTHING").Exec(ctx)
	return err
}

func lostMessage(r *jobRow) string {
	if r.State == job.Archived {
		return fmt.Sprintf("quarantined: %d workers in a row were lost while they ran this job", r.Crashes)
	}
	return "the worker was lost while it ran this attempt"
}
