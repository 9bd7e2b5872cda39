package schedule

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/loop"
)

const (
	lookEvery  = time.Second            // for schedules that other processes made or changed
	checkEvery = 250 * time.Millisecond // whether the jobs that a buffered time waits for are finished
	atOnce     = 200                    // schedules in one transaction
	wakeSpread = 20 * time.Millisecond  // so that the processes of a deployment don't all ask at the same moment
)

// Run decides what is due until ctx ends. A ledger that does not answer is asked again: what was
// due meanwhile is decided then, by the schedules' policies for missed times.
func (s *Service) Run(ctx context.Context) error {
	failing := false
	for wait := time.Duration(0); loop.Sleep(ctx, wait+rand.N(wakeSpread)); {
		var err error
		wait, err = s.pass(ctx)
		if err != nil {
			wait = lookEvery
			if ctx.Err() == nil && !failing {
				s.deps.Log.WarnContext(ctx, "scheduling failed, it goes on when the ledger answers", "err", err)
			}
		}
		failing = err != nil
	}
	return nil
}

// pass decides what is due, if anything is, and answers how long nothing will be.
func (s *Service) pass(ctx context.Context) (time.Duration, error) {
	next, buffered, now, err := s.deps.Ledger.ScheduleAgenda(ctx)
	if err != nil {
		return 0, err
	}
	due := !next.IsZero() && !next.After(now)
	if due || buffered {
		n, err := s.decideDue(ctx)
		if err != nil || n > 0 {
			return 0, err // there may be more
		}
	}
	switch {
	case due, buffered: // what is due is in other hands
		return checkEvery, nil
	case next.IsZero():
		return lookEvery, nil
	}
	return min(next.Sub(now), lookEvery), nil
}

// decideDue is one transaction; it answers how many schedules it moved on, or will when their
// owners' jobs are counted.
func (s *Service) decideDue(ctx context.Context) (int, error) {
	if err := s.quota.count(ctx); err != nil {
		return 0, err
	}
	left, later := fullBudget(), 0
	out, err := s.commit(
		s.deps.Ledger.DecideSchedules(
			ctx,
			atOnce,
			func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, bool) {
				if left.spent() {
					return job.ScheduleDecision{}, false
				}
				if !s.quota.admit(due.OwnerID, left) {
					later++
					return job.ScheduleDecision{}, false
				}
				return s.plan.decide(due, now, left), true
			},
		),
	)
	if err != nil {
		return 0, err
	}
	for i := range out.Schedules {
		if sch := &out.Schedules[i]; sch.PausedBy == job.ByItself {
			s.deps.Log.WarnContext(
				ctx,
				"schedule paused, its job could not be run",
				"schedule_id",
				sch.ID,
				"type",
				sch.Job.Type,
				"reason",
				sch.PauseReason,
			)
		}
	}
	return len(out.Schedules) + later, nil
}
