package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// purgeBatch bounds one deletion, and so how long it holds locks.
const purgeBatch = 1000

// PurgeFinished deletes jobs that finished before the given time, with their labels, errors and
// Idempotency-Keys: at most a batch, and what belongs to it. It walks the ids, which rise with time
// (a job that finished before a time was made before it), and answers how many it deleted and where
// to go on; the zero id: it has seen all. Jobs that were submitted together under an
// Idempotency-Key go together, so that the key is either known whole or not at all.
func (s *Store) PurgeFinished(
	ctx context.Context,
	before time.Time,
	after job.ID,
) (purged int, next job.ID, err error) {
	var due []job.ID
	before = before.UTC()
	err = s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		due, next = nil, job.ID{}
		ids, err := s.lockFinished(ctx, tx, before, func(q *bun.SelectQuery) *bun.SelectQuery {
			if !after.IsZero() { // which is NULL to the database
				q = q.Where("id > ?", after)
			}
			return q.Where("id < ?", job.FirstIDAt(before)).OrderExpr("id").Limit(purgeBatch)
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		if len(ids) == purgeBatch {
			next = ids[len(ids)-1]
		}
		if due, err = s.wholeBatches(ctx, tx, ids, before); err != nil || len(due) == 0 {
			return err
		}
		for table, column := range map[string]string{"outcomes": "id", "submissions": "id", "job_labels": "job_id",
			"job_errors": "job_id"} {
			if _, err := tx.NewDelete().Table(table).Where("? IN (?)", bun.Ident(column),
				bun.List(due)).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return len(due), next, s.wrap("purge finished jobs", err)
}

// lockFinished answers which of some jobs finished before the given time, and keeps others from
// changing them.
func (s *Store) lockFinished(
	ctx context.Context,
	tx bun.Tx,
	before time.Time,
	which func(*bun.SelectQuery) *bun.SelectQuery,
) (ids []job.ID, err error) {
	q := which(tx.NewSelect().Table("outcomes").Column("id").Where("finished_at < ?", before))
	if clause := s.engine.forUpdate(); clause != "" {
		q = q.For(clause)
	}
	return ids, q.Scan(ctx, &ids)
}

// PurgeWorkers deletes heartbeat rows that have been silent since before the given time.
func (s *Store) PurgeWorkers(ctx context.Context, before time.Time) error {
	_, err := s.db.NewDelete().Model((*workerRow)(nil)).Where("beat_at < ?", before.UTC()).Exec(ctx)
	return s.wrap("purge workers", err)
}
