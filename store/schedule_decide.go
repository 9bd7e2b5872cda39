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

// DecideSchedules locks up to limit schedules that are due, or whose buffered time may be released; schedules that another process
// holds are left to it. judge decides on each (false: not in this transaction), and what it decides is written in one commit: ticks, jobs,
// canceled jobs, the next times. Of two processes that decided the same tick, one writes nothing for it.
func (s *Store) DecideSchedules(ctx context.Context, limit int, judge func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, bool)) (*job.Decided, error) {
	out := new(job.Decided)
	err := s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		rows, err := s.lockDue(ctx, tx, limit)
		if err != nil || len(rows) == 0 {
			return err
		}
		open, err := s.openJobs(ctx, tx, rows)
		if err != nil {
			return err
		}
		var decisions []job.ScheduleDecision
		for _, r := range rows {
			if d, ok := judge(utc(r.Now), &job.DueSchedule{Schedule: r.schedule(), Open: open[r.ID]}); ok {
				decisions = append(decisions, d)
			}
		}
		*out, err = s.writeDecisions(ctx, tx, rows[0].Now, decisions)
		return err
	})
	return out, s.wrap("decide schedules", err)
}

// ChangeSchedule locks one schedule and writes what judge makes of it, like DecideSchedules. An error of judge changes nothing.
func (s *Store) ChangeSchedule(ctx context.Context, id job.ID, judge func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, error)) (*job.Decided, error) {
	out := new(job.Decided)
	err := s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		row := new(scheduleRow)
		q := s.selectSchedules(tx, row).Where("s.id = ?", id).Where("s.deleted_at IS NULL")
		if s.engine.forUpdate() != "" {
			q = q.For("UPDATE")
		}
		if err := q.Scan(ctx); errors.Is(err, sql.ErrNoRows) {
			return job.NotFound("schedule")
		} else if err != nil {
			return err
		}
		open, err := s.openJobs(ctx, tx, []*scheduleRow{row})
		if err != nil {
			return err
		}
		d, err := judge(utc(row.Now), &job.DueSchedule{Schedule: row.schedule(), Open: open[id]})
		if err != nil {
			return err
		}
		*out, err = s.writeDecisions(ctx, tx, row.Now, []job.ScheduleDecision{d})
		return err
	})
	return out, s.wrap("change schedule", err)
}

func (s *Store) selectSchedules(tx bun.Tx, model any) *bun.SelectQuery {
	return tx.NewSelect().Model(model).ColumnExpr("s.*").ColumnExpr("? AS now", s.clock())
}

func (s *Store) lockDue(ctx context.Context, tx bun.Tx, limit int) ([]*scheduleRow, error) {
	var due, released []*scheduleRow
	err := s.locking(s.selectSchedules(tx, &due).Where("s.next_at <= ?", s.clock()).OrderExpr("s.next_at")).Limit(int64(limit)).Scan(ctx)
	if err != nil {
		return nil, err
	}
	waits := "EXISTS (SELECT 1 FROM schedule_ticks t JOIN open_jobs o ON o.id = t.job_id " +
		"WHERE t.schedule_id = s.id AND t.job_id >= s.open_from)"
	err = s.locking(s.selectSchedules(tx, &released).Where("s.buffered_at IS NOT NULL").Where("NOT " + waits)).Limit(int64(limit)).Scan(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range released {
		if !slices.ContainsFunc(due, func(d *scheduleRow) bool { return d.ID == r.ID }) {
			due = append(due, r)
		}
	}
	return due, nil
}

func (s *Store) locking(q *bun.SelectQuery) *bun.SelectQuery {
	if clause := s.engine.forUpdate(); clause != "" {
		q = q.For(clause)
	}
	return q
}

// openJobs finds the jobs of these schedules that are not finished, oldest first, where the overlap policy asks for them.
func (s *Store) openJobs(ctx context.Context, tx bun.Tx, rows []*scheduleRow) (map[job.ID][]job.ID, error) {
	var ids []job.ID
	for _, r := range rows {
		if r.Overlap != string(job.OverlapAllow) && !r.OpenFrom.IsZero() {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var ticks []tickRow
	err := tx.NewSelect().Model(&ticks).Column("t.schedule_id", "t.job_id").
		Join("JOIN schedules AS s ON s.id = t.schedule_id").Join("JOIN open_jobs AS o ON o.id = t.job_id").
		Where("t.schedule_id IN (?)", bun.List(ids)).Where("t.job_id >= s.open_from").OrderExpr("t.job_id").Scan(ctx)
	if err != nil {
		return nil, err
	}
	open := make(map[job.ID][]job.ID, len(ids))
	for _, t := range ticks {
		open[t.ScheduleID] = append(open[t.ScheduleID], t.JobID)
	}
	return open, nil
}
