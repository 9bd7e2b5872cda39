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
		taken, err := s.takeBack(ctx, tx, judge, now)
		if err != nil {
			return err
		}
		rows, err = whole(ctx, tx, taken)
		return err
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

func (s *Store) takeBack(ctx context.Context, tx bun.Tx, judge job.ID, now time.Time) (taken []job.ID, err error) {
	lost, err := s.lockLost(ctx, tx, judge, now)
	if err != nil || len(lost) == 0 {
		return nil, err
	}
	var ended []outcomeRow
	var again []job.ID
	notes := make([]errorRow, len(lost))
	for i := range lost {
		r := &lost[i]
		taken = append(taken, r.ID)
		r.Interruptions++
		r.Crashes++
		state := job.Pending
		switch {
		case !r.CancelRequestedAt.IsZero():
			state = job.Canceled
		case r.Crashes >= job.MaxCrashes:
			state = job.Archived
		}
		notes[i] = errorRow{JobID: r.ID, Attempt: r.Attempt, At: now.UTC(), Message: lostMessage(r, state), Retryable: state == job.Pending}
		if state == job.Pending {
			again = append(again, r.ID)
		} else {
			ended = append(ended, r.outcome(state, now))
		}
	}
	if len(again) > 0 {
		_, err = tx.NewUpdate().Table("open_jobs").Set("state = ?", job.Pending).Set("interruptions = interruptions + 1").Set("crashes = crashes + 1").
			Set("delivery = delivery + 1").Set("dispatch_at = ?", s.clock()).Where("id IN (?)", bun.List(again)).Exec(ctx)
		if err != nil {
			return nil, err
		}
	}
	if err = conclude(ctx, tx, ended...); err != nil {
		return nil, err
	}
	_, err = tx.NewInsert().Model(&notes).On("CONFLICT DO NOTHING").Exec(ctx)
	return taken, err
}

// lockLost picks active jobs whose worker is dead in the eyes of this judge. What another judge is just taking back is left to him.
func (s *Store) lockLost(ctx context.Context, tx bun.Tx, judge job.ID, now time.Time) ([]openRow, error) {
	stale := now.Add(-StaleAfter)
	heard := tx.NewSelect().Table("workers").ColumnExpr("1").Where("id = ?", judge).
		Where("beating_since < ?", stale).Where("beat_at >= ?", now.Add(-beatGap))
	var rows []openRow
	q := tx.NewSelect().Model(&rows).Join("LEFT JOIN workers AS w ON w.id = o.worker_id").
		Where("o.state = ?", job.Active).Where("(w.id IS NULL OR w.beat_at < ?)", stale).Where("EXISTS (?)", heard).Limit(orphanBatch)
	if s.engine.forUpdate() != "" {
		q = q.For("UPDATE OF o SKIP LOCKED")
	}
	err := q.Scan(ctx)
	return rows, err
}

func lostMessage(r *openRow, state job.State) string {
	if state == job.Archived {
		return fmt.Sprintf("quarantined: %d workers in a row were lost while they ran this job", r.Crashes)
	}
	return "the worker was lost while it ran this attempt"
}
