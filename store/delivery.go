package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// deliveryRow are the states in which a task in Redis should stand for a job. It is the predicate
// of the index open_jobs_dispatch, to the letter.
const deliveryRow = "state IN ('pending', 'scheduled', 'retry', 'active')"

// OpenDeliveries reads open jobs of a queue in the order in which their deliveries were decided,
// after one position (from its time on, where it has no id) and before a time.
func (s *Store) OpenDeliveries(
	ctx context.Context,
	queue string,
	after job.Position,
	before time.Time,
	limit int,
) ([]job.OpenDelivery, error) {
	list, err := s.engine.deliveries(ctx, queue, after, before, limit)
	return list, s.wrap("select deliveries", err)
}

// DueDeliveries is OpenDeliveries for jobs that wait and whose time came before the given one. It
// reads past all others, so that it costs a walk over the queue's open jobs if few of them are due.
func (s *Store) DueDeliveries(
	ctx context.Context,
	queue string,
	after job.Position,
	before time.Time,
	limit int,
) ([]job.OpenDelivery, error) {
	list, err := s.engine.dueDeliveries(ctx, queue, after, before, limit)
	return list, s.wrap("select due deliveries", err)
}

// DeliveriesOf reads where jobs stand; those that are unknown, finished or held are left out.
func (s *Store) DeliveriesOf(ctx context.Context, ids []job.ID) ([]job.OpenDelivery, error) {
	var rows []openJob
	err := s.db.NewSelect().Model(&rows).Column("id", "dispatch_at", "delivery", "state", "run_at").
		Where(deliveryRow).Where("id IN (?)", bun.List(ids)).Scan(ctx)
	if err != nil {
		return nil, s.wrap("select deliveries", err)
	}
	return deliveries(rows), nil
}

func deliveries(rows []openJob) []job.OpenDelivery {
	out := make([]job.OpenDelivery, len(rows))
	for i, r := range rows {
		out[i] = job.OpenDelivery{
			Position: job.Position{DispatchAt: r.DispatchAt, ID: r.ID},
			Number:   r.Delivery,
			State:    r.State,
			RunAt:    r.RunAt,
		}
	}
	return out
}

// SettledBefore is a time before which every dispatch_at is visible: no transaction that began
// earlier is still open.
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

// Messages reads what dispatch needs to carry these jobs; those that are finished or held are left
// out.
func (s *Store) Messages(ctx context.Context, ids []job.ID) ([]job.Message, error) {
	var rows []*jobRow
	err := s.db.NewSelect().Model(&rows).ExcludeColumn("result", "labels").Where("j.id IN (?)", bun.List(ids)).
		Where("open_" + deliveryRow).Scan(ctx)
	if err != nil {
		return nil, s.wrap("select messages", err)
	}
	return messages(rows), nil
}

// Redeliver decides a new delivery for waiting jobs whose task in Redis can no longer come to run.
// A job that moved on meanwhile, or that another transaction is changing, is left alone.
func (s *Store) Redeliver(ctx context.Context, stuck []job.OpenDelivery) ([]job.Message, error) {
	var moved []job.ID
	for some := range slices.Chunk(stuck, redeliverBatch) {
		ids, err := s.redeliver(ctx, some)
		if err != nil {
			return nil, s.wrap("redeliver", err)
		}
		moved = append(moved, ids...)
	}
	if len(moved) == 0 {
		return nil, nil
	}
	return s.Messages(ctx, moved)
}

// redeliverBatch bounds how many rows one statement changes, and so how long it holds them.
const redeliverBatch = 500

func (s *Store) redeliver(ctx context.Context, stuck []job.OpenDelivery) (moved []job.ID, err error) {
	pairs := make([]any, len(stuck))
	for i, d := range stuck {
		pairs[i] = bun.Tuple([]any{d.ID, d.Number})
	}
	some := s.db.NewSelect().Table("open_jobs").Column("id").Where("(id, delivery) IN (?)", bun.List(pairs)).
		Where("state IN (?)", bun.List(job.WaitingStates)).OrderExpr("id")
	if s.engine.forUpdate() != "" {
		some = some.For("UPDATE SKIP LOCKED")
	}
	err = s.db.NewUpdate().Table("open_jobs").Set("delivery = delivery + 1").Set("dispatch_at = ?", s.clock()).
		Where("id IN (?)", some).Returning("id").Scan(ctx, &moved)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return moved, err
}

func messages(rows []*jobRow) []job.Message {
	out := make([]job.Message, len(rows))
	for i, r := range rows {
		out[i] = r.job().Message()
	}
	return out
}
