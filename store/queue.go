package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

type queueRow struct {
	bun.BaseModel `bun:"table:queues,alias:q"`

	Name     string    `bun:"name,pk"`
	PausedAt time.Time `bun:"paused_at,nullzero"`
	PausedBy string    `bun:"paused_by,nullzero"`
	Reason   string    `bun:"reason,nullzero"`
}

// Pause writes down who paused a queue and why. A queue that is paused keeps its first pause.
func (s *Store) Pause(ctx context.Context, queue, by, reason string) error {
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	row := &queueRow{Name: queue, PausedAt: now, PausedBy: by, Reason: job.CleanText(reason, job.MaxText)}
	_, err = s.db.NewInsert().Model(row).On("CONFLICT (name) DO UPDATE").
		Set("paused_by = coalesce(q.paused_by, EXCLUDED.paused_by)").
		Set("reason = CASE WHEN q.paused_at IS NULL THEN EXCLUDED.reason ELSE q.reason END").
		Set("paused_at = coalesce(q.paused_at, EXCLUDED.paused_at)").Exec(ctx)
	return s.wrap("pause queue", err)
}

// Resume ends a pause; a queue that is not paused stays so.
func (s *Store) Resume(ctx context.Context, queue string) error {
	_, err := s.db.NewUpdate().Model((*queueRow)(nil)).Set("paused_at = NULL").Set("paused_by = NULL").Set("reason = NULL").
		Where("name = ?", queue).Exec(ctx)
	return s.wrap("resume queue", err)
}

// Queues lists the queues that the ledger keeps something of, by name.
func (s *Store) Queues(ctx context.Context) ([]job.Queue, error) {
	var rows []queueRow
	if err := s.db.NewSelect().Model(&rows).OrderExpr("name").Scan(ctx); err != nil {
		return nil, s.wrap("select queues", err)
	}
	out := make([]job.Queue, len(rows))
	for i, r := range rows {
		out[i] = job.Queue{Name: r.Name, PausedAt: r.PausedAt, PausedBy: r.PausedBy, Reason: r.Reason}
	}
	return out, nil
}
