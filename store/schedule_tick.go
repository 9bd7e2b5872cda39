package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

type tickRow struct {
	bun.BaseModel `bun:"table:schedule_ticks,alias:t"`

	ScheduleID job.ID    `bun:"schedule_id,pk,type:uuid"`
	PlannedAt  time.Time `bun:"planned_at,pk"`
	Outcome    string    `bun:"outcome"`
	JobID      job.ID    `bun:"job_id,type:uuid"`
	DecidedAt  time.Time `bun:"decided_at"`
	RequestKey string    `bun:"request_key,nullzero"`
}

func (r *tickRow) tick() job.Tick {
	return job.Tick{
		ScheduleID: r.ScheduleID,
		PlannedAt:  utc(r.PlannedAt),
		Outcome:    job.Outcome(r.Outcome),
		JobID:      r.JobID,
		DecidedAt:  utc(r.DecidedAt),
	}
}

// Ticks reads a page of one schedule's ticks, newest planned time first.
func (s *Store) Ticks(ctx context.Context, f job.TickFilter) ([]job.Tick, error) {
	var rows []tickRow
	q := s.db.NewSelect().
		Model(&rows).
		Where("schedule_id = ?", f.ScheduleID).
		OrderExpr("planned_at DESC").
		Limit(int64(f.Limit))
	if f.Outcome != "" {
		q = q.Where("outcome = ?", f.Outcome)
	}
	if !f.From.IsZero() {
		q = q.Where("planned_at >= ?", f.From.UTC())
	}
	if !f.Before.IsZero() {
		q = q.Where("planned_at < ?", f.Before.UTC())
	}
	if f.WithJob {
		q = q.Where("job_id IS NOT NULL")
	}
	if f.Key != "" {
		q = q.Where("request_key = ?", f.Key)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, s.wrap("select ticks", err)
	}
	ticks := make([]job.Tick, len(rows))
	for i := range rows {
		ticks[i] = rows[i].tick()
	}
	return ticks, nil
}

// ScheduleAgenda reads what the schedules wait for, in one cheap query: the oldest planned time
// that is not decided (zero: none), whether any planned time waits for earlier jobs, and the
// database's clock.
func (s *Store) ScheduleAgenda(ctx context.Context) (next time.Time, buffered bool, now time.Time, err error) {
	var row struct {
		Now      time.Time    `bun:"now"`
		Next     bun.NullTime `bun:"next"`
		Buffered bool         `bun:"buffered"`
	}
	err = s.db.NewSelect().ColumnExpr("? AS now", s.clock()).
		ColumnExpr("(SELECT min(next_at) FROM schedules WHERE next_at IS NOT NULL) AS next").
		ColumnExpr("EXISTS (SELECT 1 FROM schedules WHERE buffered_at IS NOT NULL) AS buffered").Scan(ctx, &row)
	return utc(row.Next.Time), row.Buffered, utc(row.Now), s.wrap("read the agenda of schedules", err)
}

const purgeSchedules = 100 // schedules whose ticks one statement deletes

// PurgeTicks deletes ticks planned before the given time, and schedules that were deleted and have
// no ticks left.
func (s *Store) PurgeTicks(ctx context.Context, before time.Time) error {
	for after := (job.ID{}); ; {
		var ids []job.ID
		err := s.db.NewSelect().
			Table("schedules").
			Column("id").
			Where("id > ?", after.String()).
			OrderExpr("id").
			Limit(purgeSchedules).
			Scan(ctx, &ids)
		if err != nil || len(ids) == 0 {
			return s.wrap("select schedules", err)
		}
		after = ids[len(ids)-1]
		if err := s.purgeTicks(ctx, ids, before.UTC()); err != nil {
			return s.wrap("purge ticks", err)
		}
	}
}

func (s *Store) purgeTicks(ctx context.Context, ids []job.ID, before time.Time) error {
	for {
		old := s.db.NewSelect().
			Table("schedule_ticks").
			Column("schedule_id", "planned_at").
			Where("schedule_id IN (?)", bun.List(ids)).
			Where("planned_at < ?", before).
			Limit(purgeBatch)
		res, err := s.db.NewDelete().Table("schedule_ticks").Where("(schedule_id, planned_at) IN (?)", old).Exec(ctx)
		if err != nil {
			return err
		}
		if n, _ := res.RowsAffected(); n < purgeBatch {
			break
		}
	}
	_, err := s.db.NewDelete().Table("schedules").Where("id IN (?)", bun.List(ids)).Where("deleted_at < ?", before).
		Where("NOT EXISTS (SELECT 1 FROM schedule_ticks t WHERE t.schedule_id = schedules.id)").Exec(ctx)
	return err
}

// LastPlanned reads the last planned time of each schedule that has been decided. Schedules without
// one are left out.
func (s *Store) LastPlanned(ctx context.Context, ids []job.ID) (map[job.ID]time.Time, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []struct {
		ID        job.ID    `bun:"id"`
		PlannedAt time.Time `bun:"planned_at,nullzero"`
	}
	newest := s.db.NewSelect().Table("schedule_ticks").Column("planned_at").Where("schedule_id = s.id").
		Order("planned_at DESC").Limit(1)
	err := s.db.NewSelect().TableExpr("schedules AS s").ColumnExpr("s.id").ColumnExpr("(?) AS planned_at", newest).
		Where("s.id IN (?)", bun.List(ids)).Scan(ctx, &rows)
	if err != nil {
		return nil, s.wrap("select the last planned times", err)
	}
	last := make(map[job.ID]time.Time, len(rows))
	for _, r := range rows {
		if !r.PlannedAt.IsZero() {
			last[r.ID] = r.PlannedAt
		}
	}
	return last, nil
}
