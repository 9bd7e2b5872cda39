package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// carried are the states in which a task in Redis should stand for a job. It is the predicate of the index open_jobs_dispatch, to the letter.
const carried = "state IN ('pending', 'scheduled', 'retry', 'active')"

// Deliveries reads open jobs of a queue in the order in which their deliveries were decided, after one position (from its time on, where
// it has no id) and before a time.
func (s *Store) Deliveries(ctx context.Context, queue string, after job.Position, before time.Time, limit int) ([]job.Delivery, error) {
	list, err := s.engine.deliveries(ctx, queue, after, before, limit)
	return list, s.wrap("select deliveries", err)
}

// Standing reads where jobs stand; those that are unknown, finished or held are left out.
func (s *Store) Standing(ctx context.Context, ids []job.ID) ([]job.Delivery, error) {
	var rows []openRow
	err := s.db.NewSelect().Model(&rows).Column("id", "dispatch_at", "delivery", "state", "run_at").
		Where(carried).Where("id IN (?)", bun.List(ids)).Scan(ctx)
	if err != nil {
		return nil, s.wrap("select deliveries", err)
	}
	return deliveries(rows), nil
}

func deliveries(rows []openRow) []job.Delivery {
	out := make([]job.Delivery, len(rows))
	for i, r := range rows {
		out[i] = job.Delivery{Position: job.Position{DispatchAt: r.DispatchAt, ID: r.ID}, Delivery: r.Delivery, State: r.State, RunAt: r.RunAt}
	}
	return out
}

// SettledBefore is a time before which every dispatch_at is visible: no transaction that began earlier is still open.
func (s *Store) SettledBefore(ctx context.Context) (time.Time, error) {
	t, err := s.engine.settledBefore(ctx)
	return t, s.wrap("read the oldest transaction", err)
}

// Now is the database's clock. What it reads goes into Clock too.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	began := time.Now()
	t, err := s.engine.now(ctx)
	if err != nil {
		return t, s.wrap("read the clock", err)
	}
	if step := s.times.Observe(began, time.Now(), t); step.Abs() >= logSteps {
		s.log.WarnContext(ctx, "the database's clock has stepped", "by", step)
	}
	return t, nil
}

// logSteps is from which step of the database's clock on it is logged.
const logSteps = 100 * time.Millisecond

// Parcels reads what dispatch needs to carry these jobs; those that are finished or held are left out.
func (s *Store) Parcels(ctx context.Context, ids []job.ID) ([]job.Parcel, error) {
	var rows []*jobRow
	err := s.db.NewSelect().Model(&rows).ExcludeColumn("result", "labels").Where("j.id IN (?)", bun.List(ids)).
		Where("open_" + carried).Scan(ctx)
	if err != nil {
		return nil, s.wrap("select parcels", err)
	}
	return parcels(rows), nil
}

// Redeliver decides a new delivery for waiting jobs whose task in Redis can no longer come to run. A job that moved on meanwhile is left alone.
func (s *Store) Redeliver(ctx context.Context, stuck []job.Delivery) ([]job.Parcel, error) {
	var moved []job.ID
	for _, d := range stuck {
		n, err := s.affected("redeliver", func() (sql.Result, error) {
			return s.db.NewUpdate().Table("open_jobs").Set("delivery = delivery + 1").Set("dispatch_at = ?", s.clock()).
				Where("id = ?", d.ID).Where("delivery = ?", d.Delivery).Where("state IN (?)", bun.List(job.WaitingStates)).Exec(ctx)
		})
		if err != nil {
			return nil, err
		}
		if n > 0 {
			moved = append(moved, d.ID)
		}
	}
	if len(moved) == 0 {
		return nil, nil
	}
	return s.Parcels(ctx, moved)
}

func parcels(rows []*jobRow) []job.Parcel {
	out := make([]job.Parcel, len(rows))
	for i, r := range rows {
		out[i] = r.job().Parcel()
	}
	return out
}
