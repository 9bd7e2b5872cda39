package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// purgeBatch bounds one deletion, and so how long it holds locks.
const purgeBatch = 1000

// PurgeFinished deletes jobs that finished before the given time, with their labels, errors and Idempotency-Keys: at most a batch. It answers how
// many; call again while it answers any. It walks the ids, which rise with time: a job that finished before a time was made before it.
func (s *Store) PurgeFinished(ctx context.Context, before time.Time) (int, error) {
	var ids []job.ID
	before = before.UTC()
	err := s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		ids = nil
		old := tx.NewSelect().Table("outcomes").Column("id").Where("id < ?", job.FirstIDAt(before)).Where("finished_at < ?", before).
			OrderExpr("id").Limit(purgeBatch)
		if clause := s.engine.forUpdate(); clause != "" {
			old = old.For(clause)
		}
		err := tx.NewDelete().Table("outcomes").Where("id IN (?)", old).Returning("id").Scan(ctx, &ids)
		if err != nil || len(ids) == 0 {
			return err
		}
		for table, column := range map[string]string{"submissions": "id", "job_labels": "job_id", "job_errors": "job_id"} {
			if _, err := tx.NewDelete().Table(table).Where("? IN (?)", bun.Ident(column), bun.List(ids)).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return len(ids), s.wrap("purge finished jobs", err)
}

// PurgeWorkers deletes heartbeat rows that have been silent since before the given time.
func (s *Store) PurgeWorkers(ctx context.Context, before time.Time) error {
	_, err := s.db.NewDelete().Model((*workerRow)(nil)).Where("beat_at < ?", before.UTC()).Exec(ctx)
	return s.wrap("purge workers", err)
}
