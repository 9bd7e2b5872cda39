package schedule

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// Backfill asks for the jobs of planned times that lie behind and have none.
type Backfill struct {
	From, To time.Time     // From is included, To is not
	Spacing  time.Duration // from one job's run_at to the next one's
	DryRun   bool
}

// Backfilled is what a backfill did, or would do.
type Backfilled struct {
	Planned int // planned times in the range
	Present int // those that have a job
	Made    int // jobs that were made or, in a dry run, would be
	First   time.Time
	Last    time.Time // planned times of the first and the last of these jobs; zero: there are none
	Ends    time.Time // when the last one may run
}

// maxBackfillBytes bounds what the payloads of one backfill take: it is one transaction.
const maxBackfillBytes = 32 << 20

// Backfill makes the jobs of planned times that have none, oldest first, one every b.Spacing so
// that they don't all run at once. Times that are still to be decided, or wait for earlier jobs,
// are left to Run. Repeating it makes nothing twice.
func (s *Service) Backfill(ctx context.Context, id job.ID, b Backfill) (*Backfilled, error) {
	have, err := s.present(ctx, id, b) // the ledger refuses to make a job twice for one planned time
	if err != nil {
		return nil, err
	}
	var done *Backfilled
	out, err := s.commit(
		s.deps.Ledger.ChangeSchedule(ctx, id, func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, error) {
			d, err := s.byHand(now, due)
			if err != nil {
				return job.ScheduleDecision{}, err
			}
			times, err := d.past(b)
			if err != nil {
				return job.ScheduleDecision{}, err
			}
			done = d.backfill(times, have, b)
			if len(due.Job.Payload)*done.Made > maxBackfillBytes {
				return job.ScheduleDecision{}, job.Invalid(
					"/to",
					fmt.Sprintf("makes %d jobs, too much for one backfill: choose a shorter range", done.Made),
				)
			}
			return d.ScheduleDecision, nil
		}),
	)
	if err != nil {
		return nil, err
	}
	if !b.DryRun {
		done.Made = len(out.Ticks)
	}
	return done, nil
}

// past lists the planned times of a range that lies behind.
func (d *decision) past(b Backfill) ([]time.Time, error) {
	if b.To.After(d.now) {
		return nil, job.Invalid("/to", "lies ahead: planned times to come need no backfill")
	}
	to := b.To
	if next := d.Schedule.NextAt; !next.IsZero() && next.Before(to) {
		to = next
	}
	var times []time.Time
	for p := d.timing.next(b.From.Add(-time.Nanosecond)); !p.IsZero() && p.Before(to); p = d.timing.next(p) {
		if len(times) == job.MaxBackfill {
			return nil, job.Invalid(
				"/to",
				fmt.Sprintf("leaves more than %d planned times: choose a shorter range", job.MaxBackfill),
			)
		}
		times = append(times, p)
	}
	return times, nil
}

// present finds the planned times of the range that have a job.
func (s *Service) present(ctx context.Context, id job.ID, b Backfill) (map[int64]bool, error) {
	have := map[int64]bool{}
	f := job.TickFilter{ScheduleID: id, From: b.From, Before: b.To, WithJob: true, Limit: 1000}
	for {
		ticks, err := s.deps.Ledger.Ticks(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("read ticks: %w", err)
		}
		for _, t := range ticks {
			have[t.PlannedAt.UnixMicro()] = true
		}
		if len(ticks) < f.Limit {
			return have, nil
		}
		f.Before = ticks[len(ticks)-1].PlannedAt
	}
}

func (d *decision) backfill(times []time.Time, have map[int64]bool, b Backfill) *Backfilled {
	out := &Backfilled{Planned: len(times)}
	for _, planned := range times {
		if have[planned.UnixMicro()] || planned.Equal(d.Schedule.BufferedAt) {
			out.Present++
			continue
		}
		runAt := d.now.Add(time.Duration(out.Made) * b.Spacing)
		if out.Made == 0 {
			out.First = planned
		}
		out.Made++
		out.Last, out.Ends = planned, runAt
		if !b.DryRun {
			sub := renderTemplate(&d.Schedule, d.timing.loc, planned)
			sub.RunAt = runAt
			d.Ticks = append(
				d.Ticks,
				job.PlannedTick{PlannedAt: planned, Outcome: job.Backfilled, Job: sub, Redo: true},
			)
		}
	}
	return out
}
