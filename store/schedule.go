package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// scheduleRow is a row of schedules as bun reads it.
type scheduleRow struct {
	bun.BaseModel `bun:"table:schedules,alias:s"`

	ID             job.ID    `bun:"id,pk,type:uuid"`
	OwnerID        job.ID    `bun:"owner_id,type:uuid"`
	Name           string    `bun:"name"`
	Cron           string    `bun:"cron,nullzero"`
	EverySeconds   int64     `bun:"every_seconds,nullzero"`
	Timezone       string    `bun:"timezone"`
	StartAt        time.Time `bun:"start_at,nullzero"`
	EndAt          time.Time `bun:"end_at,nullzero"`
	JitterMS       int64     `bun:"jitter_ms"`
	Missed         string    `bun:"missed"`
	MissedWindowMS int64     `bun:"missed_window_ms"`
	Overlap        string    `bun:"overlap"`

	Type          string  `bun:"type"`
	Queue         string  `bun:"queue"`
	Payload       rawJSON `bun:"payload"`
	Labels        rawJSON `bun:"labels"`
	MaxRetries    int     `bun:"max_retries"`
	TimeoutMS     int64   `bun:"timeout_ms"`
	BackoffKind   string  `bun:"backoff_kind"`
	BackoffBaseMS int64   `bun:"backoff_base_ms"`
	BackoffMaxMS  int64   `bun:"backoff_max_ms"`

	Revision    int       `bun:"revision"`
	CreatedAt   time.Time `bun:"created_at"`
	UpdatedAt   time.Time `bun:"updated_at"`
	NextAt      time.Time `bun:"next_at,nullzero"`
	BufferedAt  time.Time `bun:"buffered_at,nullzero"`
	OpenFrom    job.ID    `bun:"open_from,type:uuid"`
	PausedAt    time.Time `bun:"paused_at,nullzero"`
	PausedBy    string    `bun:"paused_by,nullzero"`
	PauseReason string    `bun:"pause_reason,nullzero"`
	DeletedAt   time.Time `bun:"deleted_at,nullzero"`

	Now           time.Time `bun:"now,scanonly"`            // the database's clock, where it was asked for
	OwnerDisabled bool      `bun:"owner_disabled,scanonly"` // where it was asked for
}

func newScheduleRow(s *job.Schedule) *scheduleRow {
	row := &scheduleRow{
		ID:             s.ID,
		OwnerID:        s.OwnerID,
		Name:           s.Name,
		Cron:           s.Cron,
		EverySeconds:   int64(s.Every / time.Second),
		Timezone:       s.Timezone,
		StartAt:        utc(s.StartAt),
		EndAt:          utc(s.EndAt),
		JitterMS:       s.Jitter.Milliseconds(),
		Missed:         string(s.Missed),
		MissedWindowMS: s.MissedWindow.Milliseconds(),
		Overlap:        string(s.Overlap),
		Type:           s.Job.Type,
		Queue:          s.Job.Queue,
		Payload:        rawJSON(s.Job.Payload),
		MaxRetries:     s.Job.MaxRetries,
		TimeoutMS:      s.Job.Timeout.Milliseconds(),
		BackoffKind:    s.Job.Backoff.Kind,
		BackoffBaseMS:  s.Job.Backoff.Base.Milliseconds(),
		BackoffMaxMS:   s.Job.Backoff.Max.Milliseconds(),
		Revision:       s.Revision,
		CreatedAt:      utc(s.CreatedAt),
		UpdatedAt:      utc(s.UpdatedAt),
		NextAt:         utc(s.NextAt),
		BufferedAt:     utc(s.BufferedAt),
		OpenFrom:       s.OpenFrom,
		PausedAt:       utc(s.PausedAt),
		PausedBy:       s.PausedBy,
		PauseReason:    s.PauseReason,
		DeletedAt:      utc(s.DeletedAt),
	}
	if l := labelsJSON(s.Job.Labels); l != nil {
		row.Labels = rawJSON(*l)
	}
	return row
}

func (r *scheduleRow) schedule() job.Schedule {
	s := job.Schedule{ID: r.ID, OwnerID: r.OwnerID, Name: r.Name,
		Timing: job.Timing{
			Cron:     r.Cron,
			Every:    time.Duration(r.EverySeconds) * time.Second,
			Timezone: r.Timezone,
			StartAt:  utc(r.StartAt),
			EndAt:    utc(r.EndAt),
		},
		Jitter: milliseconds(
			r.JitterMS,
		), Missed: job.MissedPolicy(r.Missed), MissedWindow: milliseconds(r.MissedWindowMS),
		Overlap: job.OverlapPolicy(r.Overlap),
		Job: job.Submission{
			Type:    r.Type,
			Queue:   r.Queue,
			Payload: json.RawMessage(r.Payload),
			Policy: job.Policy{MaxRetries: r.MaxRetries,
				Timeout: milliseconds(
					r.TimeoutMS,
				), Backoff: job.Backoff{Kind: r.BackoffKind, Base: milliseconds(r.BackoffBaseMS),
					Max: milliseconds(r.BackoffMaxMS)}},
		},
		CreatedAt: utc(
			r.CreatedAt,
		), UpdatedAt: utc(r.UpdatedAt), Revision: r.Revision, NextAt: utc(r.NextAt), BufferedAt: utc(r.BufferedAt),
		OpenFrom: r.OpenFrom, PausedAt: utc(r.PausedAt), PausedBy: r.PausedBy, PauseReason: r.PauseReason,
		DeletedAt: utc(r.DeletedAt)}
	if len(r.Labels) > 0 {
		_ = json.Unmarshal(r.Labels, &s.Job.Labels) // written by labelsJSON
	}
	return s
}

// CreateSchedule writes a schedule down. It answers job.CodeConflict where its owner has one of
// that name, or as many as he may.
func (s *Store) CreateSchedule(ctx context.Context, sch *job.Schedule) error {
	some := s.db.NewSelect().
		Table("schedules").
		ColumnExpr("1").
		Where("owner_id = ?", sch.OwnerID).
		Where("deleted_at IS NULL").
		Limit(job.MaxSchedules)
	n, err := s.db.NewSelect().TableExpr("(?) AS owned", some).Count(ctx)
	if err != nil {
		return s.wrap("count schedules", err)
	}
	if n >= job.MaxSchedules { // two at once may pass it by one: it is there to bound, not to count
		return &job.Error{
			Code:    job.CodeConflict,
			Message: fmt.Sprintf("a user may have %d schedules", job.MaxSchedules),
		}
	}
	res, err := s.db.NewInsert().
		Model(newScheduleRow(sch)).
		On("CONFLICT (owner_id, name) WHERE deleted_at IS NULL DO NOTHING").
		Returning("NULL").
		Exec(ctx)
	if err != nil {
		return s.wrap("insert schedule", err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return nameTaken()
	}
	return nil
}

// Schedule reads one. One that was deleted is not found.
func (s *Store) Schedule(ctx context.Context, id job.ID) (*job.Schedule, error) {
	row := new(scheduleRow)
	if err := s.db.NewSelect().Model(row).Where("id = ?", id).Where("deleted_at IS NULL").Scan(ctx); err != nil {
		return nil, s.found("schedule", err)
	}
	sch := row.schedule()
	return &sch, nil
}

// Schedules reads a page, newest first, without the payloads of the jobs.
func (s *Store) Schedules(ctx context.Context, f job.ScheduleFilter) ([]*job.Schedule, error) {
	var rows []scheduleRow
	q := s.db.NewSelect().
		Model(&rows).
		ExcludeColumn("payload").
		Where("deleted_at IS NULL").
		OrderExpr("id DESC").
		Limit(int64(f.Limit))
	if !f.OwnerID.IsZero() {
		q = q.Where("owner_id = ?", f.OwnerID)
	}
	if f.Name != "" {
		q = q.Where("name = ?", f.Name)
	}
	if !f.Before.IsZero() {
		q = q.Where("id < ?", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, s.wrap("select schedules", err)
	}
	list := make([]*job.Schedule, len(rows))
	for i := range rows {
		sch := rows[i].schedule()
		list[i] = &sch
	}
	return list, nil
}
