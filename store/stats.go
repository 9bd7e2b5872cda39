package store

import (
	"context"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// maxCounted bounds how many jobs of one queue are counted, and so what a count costs: about a
// second on a warm database.
const maxCounted = 1_000_000

// OpenCounts counts the open jobs of every queue that has any, by state. It reads open jobs only,
// and at most 1,000,000 of a queue, in no order (sorting them would cost more than counting);
// finished jobs cost it nothing. It is too expensive to be called for each request.
func (s *Store) OpenCounts(ctx context.Context) ([]job.QueueCounts, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	queues, err := s.queuesOf(ctx, "open_jobs", deliveryRow)
	if err != nil {
		return nil, err
	}
	out := make([]job.QueueCounts, 0, len(queues))
	for _, queue := range queues {
		f, err := s.openCount(ctx, queue, now)
		if err != nil {
			return nil, s.wrap("count open jobs", err)
		}
		out = append(out, f)
	}
	return s.addHeld(ctx, out)
}

type countRow struct {
	Queue  string    `bun:"queue"`
	State  job.State `bun:"state"`
	Jobs   int       `bun:"jobs"`
	Oldest time.Time `bun:"oldest"` // the earliest time at which one could have run
}

func (s *Store) openCount(ctx context.Context, queue string, now time.Time) (job.QueueCounts, error) {
	f := job.QueueCounts{Queue: queue, Open: map[job.State]int{}}
	some := s.db.NewSelect().Table("open_jobs").Column("state", "run_at", "dispatch_at").
		Where(deliveryRow).Where("queue = ?", queue).Limit(maxCounted)
	// A job that was interrupted or redelivered waits since then, not since it was first due.
	since := "CASE WHEN run_at > dispatch_at THEN run_at ELSE dispatch_at END"
	var rows []countRow
	err := s.db.NewSelect().TableExpr("(?) AS o", some).Column("state").ColumnExpr("count(*) AS jobs").
		ColumnExpr("min(CASE WHEN state = 'pending' OR run_at <= ? AND state <> 'active' THEN "+since+" END) AS oldest",
			now.UTC()).
		Group("state").Scan(ctx, &rows)
	total := 0
	for _, r := range rows {
		f.Open[r.State] = r.Jobs
		total += r.Jobs
		if !r.Oldest.IsZero() {
			f.OldestDue = max(f.OldestDue, now.Sub(r.Oldest))
		}
	}
	f.Cut = total >= maxCounted
	return f, err
}

// addHeld counts the jobs that have no task in Redis, by their own index.
func (s *Store) addHeld(ctx context.Context, all []job.QueueCounts) ([]job.QueueCounts, error) {
	some := s.db.NewSelect().Table("open_jobs").Column("queue").Where("state = ?", job.Held).Limit(maxCounted)
	var rows []countRow
	err := s.db.NewSelect().
		TableExpr("(?) AS h", some).
		Column("queue").
		ColumnExpr("count(*) AS jobs").
		Group("queue").
		Scan(ctx, &rows)
	if err != nil {
		return nil, s.wrap("count held jobs", err)
	}
	place := make(map[string]int, len(all))
	for i, f := range all {
		place[f.Queue] = i
	}
	for _, r := range rows {
		i, ok := place[r.Queue]
		if !ok {
			i = len(all)
			all = append(all, job.QueueCounts{Queue: r.Queue, Open: map[job.State]int{}})
		}
		all[i].Open[job.Held] = r.Jobs
	}
	return all, nil
}
