package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

type queueRow struct {
	bun.BaseModel `bun:"table:queues,alias:q"`

	Name      string    `bun:"name,pk"`
	PausedAt  time.Time `bun:"paused_at,nullzero"`
	PausedBy  string    `bun:"paused_by,nullzero"`
	Reason    string    `bun:"reason,nullzero"`
	ResumedAt time.Time `bun:"resumed_at,nullzero"`
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

// Resume ends a pause and writes down when, for a queue that the ledger did not know to be paused
// too: every pause in Redis that is older has ended.
func (s *Store) Resume(ctx context.Context, queue string) error {
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	_, err = s.db.NewInsert().Model(&queueRow{Name: queue, ResumedAt: now}).On("CONFLICT (name) DO UPDATE").
		Set("paused_at = NULL").
		Set("paused_by = NULL").Set("reason = NULL").Set("resumed_at = EXCLUDED.resumed_at").Exec(ctx)
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
		out[i] = job.Queue{
			Name:      r.Name,
			PausedAt:  utc(r.PausedAt),
			PausedBy:  r.PausedBy,
			Reason:    r.Reason,
			ResumedAt: utc(r.ResumedAt),
		}
	}
	return out, nil
}

// queuesOf finds the queues that have jobs of some kind, by one step through an index for each,
// however many jobs there are: an index that leads by queue and holds no others, or one that leads
// by state and queue.
func (s *Store) queuesOf(ctx context.Context, table, where string, args ...any) (queues []string, err error) {
	err = s.db.NewRaw(`
WITH RECURSIVE q (queue) AS (
	SELECT min(queue) FROM ?0 WHERE ?1
	UNION ALL
	SELECT (SELECT min(queue) FROM ?0 WHERE ?1 AND queue > q.queue) FROM q WHERE q.queue IS NOT NULL
)
SELECT queue FROM q WHERE queue IS NOT NULL`, bun.Ident(table), bun.SafeQuery(where, args...)).Scan(ctx, &queues)
	return queues, s.wrap("select queues", err)
}

// maxArchived bounds how many archived jobs of a queue are counted.
const maxArchived = 100_000

// ArchivedCounts counts the archived jobs of every queue that has any, up to 100,000 of each.
func (s *Store) ArchivedCounts(ctx context.Context) (map[string]int, error) {
	queues, err := s.queuesOf(ctx, "outcomes", "state = ?", job.Archived)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int, len(queues))
	for _, queue := range queues {
		some := s.db.NewSelect().
			Table("outcomes").
			ColumnExpr("1").
			Where("state = ?", job.Archived).
			Where("queue = ?", queue).
			Limit(maxArchived)
		n, err := s.db.NewSelect().TableExpr("(?) AS a", some).Count(ctx)
		if err != nil {
			return nil, s.wrap("count archived jobs", err)
		}
		out[queue] = int(n)
	}
	return out, nil
}
