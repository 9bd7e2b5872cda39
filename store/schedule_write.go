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

// writeDecisions writes ticks, then the jobs of those ticks that were not decided before, then what
// is to be canceled, then where the schedules stand.
func (s *Store) writeDecisions(
	ctx context.Context,
	tx bun.Tx,
	now time.Time,
	decisions []job.ScheduleDecision,
) (out job.Decided, err error) {
	subs, err := writeTicks(ctx, tx, now, decisions, &out)
	if err != nil {
		return out, err
	}
	if err := s.createWithin(ctx, tx, subs, &out); err != nil {
		return out, err
	}
	if err := s.cancelWithin(ctx, tx, decisions, &out); err != nil {
		return out, err
	}
	if err := moveSchedules(ctx, tx, decisions); err != nil {
		return out, err
	}
	for i := range decisions {
		if err := s.changeSettings(ctx, tx, &decisions[i]); err != nil {
			return out, err
		}
		if err := recordPause(ctx, tx, &decisions[i].Schedule, now); err != nil {
			return out, err
		}
		out.Schedules = append(out.Schedules, decisions[i].Schedule)
	}
	return out, nil
}

// writeTicks answers the jobs of the ticks that were written.
func writeTicks(
	ctx context.Context,
	tx bun.Tx,
	now time.Time,
	decisions []job.ScheduleDecision,
	out *job.Decided,
) ([]job.Submission, error) {
	subs := map[job.ID]*job.Submission{}
	var first, again []tickRow
	for _, d := range decisions {
		for _, t := range d.Ticks {
			row := tickRow{
				ScheduleID: d.Schedule.ID,
				PlannedAt:  t.PlannedAt.UTC(),
				Outcome:    string(t.Outcome),
				DecidedAt:  now,
				RequestKey: t.Key,
			}
			if t.Job != nil {
				row.JobID, subs[t.Job.ID] = t.Job.ID, t.Job
			}
			if t.Redo {
				again = append(again, row)
			} else {
				first = append(first, row)
			}
		}
	}
	written, err := insertTicks(ctx, tx, first, "CONFLICT DO NOTHING")
	if err != nil {
		return nil, err
	}
	rewritten, err := insertTicks(
		ctx,
		tx,
		again,
		"CONFLICT (schedule_id, planned_at) DO UPDATE SET outcome = EXCLUDED.outcome, job_id = EXCLUDED.job_id, "+
			"decided_at = EXCLUDED.decided_at WHERE t.job_id IS NULL",
	)
	if err != nil {
		return nil, err
	}
	var jobs []job.Submission
	for _, row := range append(written, rewritten...) {
		out.Ticks = append(out.Ticks, row.tick())
		if sub := subs[row.JobID]; sub != nil {
			jobs = append(jobs, *sub)
		}
	}
	return jobs, nil
}

func insertTicks(ctx context.Context, tx bun.Tx, rows []tickRow, onConflict string) (written []tickRow, err error) {
	for some := range slices.Chunk(rows, 1000) {
		var back []tickRow
		err := tx.NewInsert().Model(&some).On(onConflict).Returning("?Columns").Scan(ctx, &back)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		written = append(written, back...)
	}
	return written, nil
}

func (s *Store) createWithin(ctx context.Context, tx bun.Tx, subs []job.Submission, out *job.Decided) error {
	if len(subs) == 0 {
		return nil
	}
	at, err := s.engine.insertWithin(ctx, tx, subs)
	if err != nil {
		return err
	}
	made := make([]job.Created, len(subs))
	fill(made, subs, inserted{at: at, all: true})
	for _, m := range made {
		out.Created = append(out.Created, m.Job)
	}
	return nil
}

// cancelWithin is Cancel for jobs of schedules. Those that are finished stay as they are.
func (s *Store) cancelWithin(ctx context.Context, tx bun.Tx, decisions []job.ScheduleDecision, out *job.Decided) error {
	var ids []job.ID
	for _, d := range decisions {
		ids = append(ids, d.Cancel...)
	}
	if len(ids) == 0 {
		return nil
	}
	done, _, err := s.cancelJobs(ctx, tx, ids)
	if err != nil {
		return err
	}
	rows, err := loadJobs(ctx, tx, done)
	if err != nil {
		return err
	}
	for _, r := range rows {
		out.Canceled = append(out.Canceled, r.job())
	}
	return nil
}

// scheduleMove is what a decision changes of a schedule.
type scheduleMove struct {
	ID          job.ID    `bun:"id,type:uuid"`
	NextAt      time.Time `bun:"next_at,nullzero"`
	BufferedAt  time.Time `bun:"buffered_at,nullzero"`
	OpenFrom    job.ID    `bun:"open_from,type:uuid"`
	PausedAt    time.Time `bun:"paused_at,nullzero"`
	PausedBy    string    `bun:"paused_by,nullzero"`
	PauseReason string    `bun:"pause_reason,nullzero"`
}

// moveSchedules says for all schedules in one statement where they stand.
func moveSchedules(ctx context.Context, tx bun.Tx, decisions []job.ScheduleDecision) error {
	moves := make([]scheduleMove, 0, len(decisions))
	for i := range decisions {
		if d := &decisions[i]; !d.Settings {
			s := &d.Schedule
			moves = append(
				moves,
				scheduleMove{
					s.ID,
					utc(s.NextAt),
					utc(s.BufferedAt),
					s.OpenFrom,
					utc(s.PausedAt),
					s.PausedBy,
					s.PauseReason,
				},
			)
		}
	}
	if len(moves) == 0 {
		return nil
	}
	_, err := tx.NewUpdate().With("v", tx.NewValues(&moves)).Table("schedules").TableExpr("v").
		Set("next_at = v.next_at").Set("buffered_at = v.buffered_at").Set("open_from = v.open_from").
		Set("paused_at = v.paused_at").Set("paused_by = v.paused_by").Set("pause_reason = v.pause_reason").
		Where("schedules.id = v.id").Exec(ctx)
	return err
}

func (s *Store) changeSettings(ctx context.Context, tx bun.Tx, d *job.ScheduleDecision) error {
	if !d.Settings {
		return nil
	}
	_, err := tx.NewUpdate().Model(newScheduleRow(&d.Schedule)).WherePK().Exec(ctx)
	if s.engine.duplicate(err) { // the name is all that can be one; nothing of the transaction stays
		return nameTaken()
	}
	return err
}

// recordPause is the audit entry of a schedule that was paused by no person, in the transaction
// that paused it.
func recordPause(ctx context.Context, tx bun.Tx, sch *job.Schedule, now time.Time) error {
	if sch.PausedBy != job.ByItself || !sch.PausedAt.Equal(now) {
		return nil
	}
	_, err := tx.NewInsert().
		Model(&auditRow{ID: job.NewID(), At: now, Actor: sch.PausedBy, Action: "schedule.pause",
			Target: sch.ID.String(),
			Detail: map[string]string{
				"owner_id": sch.OwnerID.String(),
				"name":     sch.Name,
				"reason":   sch.PauseReason,
			}}).
		Exec(ctx)
	return err
}
