package store

import (
	"context"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

const (
	// HeartbeatInterval is how often a worker process beats.
	HeartbeatInterval = time.Second
	// heartbeatGap is the silence after which a worker's own standing as a judge begins again.
	heartbeatGap = 4 * time.Second
	// StaleAfter is the silence after which a worker is dead to a judge who was heard all that
	// time.
	StaleAfter = 10 * time.Second
)

type workerRow struct {
	bun.BaseModel `bun:"table:workers,alias:w"`

	ID           job.ID    `bun:"id,pk"`
	Host         string    `bun:"host"`
	PID          int       `bun:"pid"`
	Queues       string    `bun:"queues"`
	Slots        int       `bun:"slots"`
	StartedAt    time.Time `bun:"started_at"`
	BeatAt       time.Time `bun:"beat_at"`
	BeatingSince time.Time `bun:"beating_since"`
	Stopping     bool      `bun:"stopping"`
}

// Heartbeat writes a worker process's heartbeat and answers what the ledger believes it runs, with
// the cancels asked for.
func (s *Store) Heartbeat(ctx context.Context, b job.Heartbeat) (job.HeartbeatReply, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return job.HeartbeatReply{}, err
	}
	row := &workerRow{
		ID:           b.WorkerID,
		Host:         job.CleanText(b.Host, 255),
		PID:          b.PID,
		Queues:       strings.Join(b.Queues, ","),
		Slots:        b.Slots,
		StartedAt:    now,
		BeatAt:       now,
		BeatingSince: now,
		Stopping:     b.Stopping,
	}
	// The last beat lies ahead of this one where the database's clock stepped back.
	_, err = s.db.NewInsert().Model(row).On("CONFLICT (id) DO UPDATE").
		Set("beating_since = CASE WHEN w.beat_at < ? OR w.beat_at > ? THEN EXCLUDED.beating_since ELSE "+
			"w.beating_since END", now.Add(-heartbeatGap), now).
		Set("beat_at = EXCLUDED.beat_at").Set("stopping = EXCLUDED.stopping").Exec(ctx)
	if err != nil {
		return job.HeartbeatReply{}, s.wrap("beat", err)
	}
	var rows []openJob
	err = s.db.NewSelect().Model(&rows).Column("id", "attempt", "cancel_requested_at").
		Where("state = ?", job.Active).Where("worker_id = ?", b.WorkerID).Scan(ctx)
	if err != nil {
		return job.HeartbeatReply{}, s.wrap("select a worker's jobs", err)
	}
	orders := job.HeartbeatReply{Held: make([]job.HeldAttempt, len(rows))}
	for i, r := range rows {
		orders.Held[i] = job.HeldAttempt{
			AttemptKey:      job.AttemptKey{JobID: r.ID, Attempt: r.Attempt},
			CancelRequested: !r.CancelRequestedAt.IsZero(),
		}
	}
	return orders, nil
}

// RemoveWorker deletes a worker's heartbeat row. Jobs that it still holds can be taken back at
// once.
func (s *Store) RemoveWorker(ctx context.Context, worker job.ID) error {
	_, err := s.db.NewDelete().Model((*workerRow)(nil)).Where("id = ?", worker).Exec(ctx)
	return s.wrap("remove heartbeat", err)
}

// Workers lists the heartbeat rows, oldest first.
func (s *Store) Workers(ctx context.Context) ([]job.Worker, error) {
	var rows []workerRow
	if err := s.db.NewSelect().Model(&rows).OrderExpr("id").Limit(10_000).Scan(ctx); err != nil {
		return nil, s.wrap("select workers", err)
	}
	out := make([]job.Worker, len(rows))
	for i, r := range rows {
		out[i] = job.Worker{
			ID:        r.ID,
			Host:      r.Host,
			PID:       r.PID,
			Queues:    strings.Split(r.Queues, ","),
			Slots:     r.Slots,
			StartedAt: r.StartedAt,
			BeatAt:    r.BeatAt,
			Stopping:  r.Stopping,
		}
	}
	return out, nil
}
