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

// DecideSchedules locks up to limit schedules that are due, or whose buffered time may be released;
// schedules that another process holds are left to it. judge decides on each (false: not in this
// transaction), and what it decides is written in one commit: ticks, jobs, canceled jobs, the next
// times. Of two processes that decided the same tick, one writes nothing for it.
func (s *Store) DecideSchedules(
	ctx context.Context,
	limit int,
	judge func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, bool),
) (*job.Decided, error) {
	out, due, err := s.decide(ctx, limit, nil, judge)
	if job.FaultOf(err) == job.FaultNone || len(due) < 2 {
		return out, err
	}
	err = oneByOne(due, err, func(id job.ID) error {
		one, _, err := s.decide(ctx, 1, []job.ID{id}, judge)
		out.Add(one)
		return err
	})
	if len(out.Schedules) > 0 && err != nil {
		s.log.ErrorContext(ctx, "a schedule cannot be decided, the others go on", "err", err)
		err = nil // what was decided must be sent
	}
	return out, err
}

// decide is one transaction, over all schedules or only those given. With an error, it answers
// which schedules it was about.
func (s *Store) decide(
	ctx context.Context,
	limit int,
	only []job.ID,
	judge func(time.Time, *job.DueSchedule) (job.ScheduleDecision, bool),
) (out *job.Decided, due []job.ID, err error) {
	out = new(job.Decided)
	err = s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		*out, due = job.Decided{}, nil
		rows, err := s.lockDue(ctx, tx, limit, only)
		if err != nil || len(rows) == 0 {
			return err
		}
		open, err := s.openJobs(ctx, tx, rows)
		if err != nil {
			return err
		}
		var decisions []job.ScheduleDecision
		for _, r := range rows {
			due = append(due, r.ID)
			if d, ok := judge(utc(r.Now),
				&job.DueSchedule{Schedule: r.schedule(), Open: open[r.ID], OwnerDisabled: r.OwnerDisabled}); ok {
				decisions = append(decisions, d)
			}
		}
		*out, err = s.writeDecisions(ctx, tx, rows[0].Now, decisions)
		return err
	})
	if err != nil {
		return new(job.Decided), due, s.wrap("decide schedules", err)
	}
	s.observeDecided(out)
	return out, due, nil
}

// ChangeSchedule locks one schedule and writes what judge makes of it, like DecideSchedules. An
// error of judge changes nothing.
func (s *Store) ChangeSchedule(
	ctx context.Context,
	id job.ID,
	judge func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, error),
) (*job.Decided, error) {
	out := new(job.Decided)
	err := s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
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
		d, err := judge(
			utc(row.Now),
			&job.DueSchedule{Schedule: row.schedule(), Open: open[id], OwnerDisabled: row.OwnerDisabled},
		)
		if err != nil {
			return err
		}
		*out, err = s.writeDecisions(ctx, tx, row.Now, []job.ScheduleDecision{d})
		return err
	})
	if err != nil {
		return out, s.wrap("change schedule", err)
	}
	s.observeDecided(out)
	return out, nil
}

// ownerDisabled is asked with every decision: a schedule submits for as long as its owner may.
const ownerDisabled = "EXISTS (SELECT 1 FROM users u WHERE u.id = s.owner_id AND u.disabled_at IS NOT NULL) AS " +
	"owner_disabled"

func (s *Store) selectSchedules(tx bun.Tx, model any) *bun.SelectQuery {
	return tx.NewSelect().
		Model(model).
		ColumnExpr("?TableColumns").
		ColumnExpr("? AS now", s.clock()).
		ColumnExpr(ownerDisabled)
}

func (s *Store) lockDue(ctx context.Context, tx bun.Tx, limit int, only []job.ID) ([]*scheduleRow, error) {
	var due, released []*scheduleRow
	among := func(q *bun.SelectQuery) *bun.SelectQuery {
		if only != nil {
			q = q.Where("s.id IN (?)", bun.List(only))
		}
		return s.locking(q).Limit(int64(limit))
	}
	err := among(s.selectSchedules(tx, &due).Where("s.next_at <= ?", s.clock()).OrderExpr("s.next_at")).Scan(ctx)
	if err != nil {
		return nil, err
	}
	waits := "EXISTS (SELECT 1 FROM schedule_ticks t JOIN open_jobs o ON o.id = t.job_id " +
		"WHERE t.schedule_id = s.id AND t.job_id >= s.open_from)"
	err = among(s.selectSchedules(tx, &released).Where("s.buffered_at IS NOT NULL").Where("NOT " + waits)).Scan(ctx)
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

// openJobs finds the jobs of these schedules that are not finished, oldest first, where the overlap
// policy asks for them.
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
