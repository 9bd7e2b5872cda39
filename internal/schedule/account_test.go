package schedule

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/store"
)

// account holds the ledger to the promise: each schedule has exactly one row and one job for every
// planned time until where it stands, and none was early. It answers all ticks.
func account(t *testing.T, s *store.Store, schedules []*job.Schedule) []job.Tick {
	t.Helper()
	var all []job.Tick
	jobs := map[job.ID]bool{}
	for _, made := range schedules {
		now, err := s.Schedule(t.Context(), made.ID)
		if err != nil {
			t.Fatal(err)
		}
		ticks, err := s.Ticks(t.Context(), job.TickFilter{ScheduleID: made.ID, Limit: 1_000_000})
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(ticks)
		read, err := readTiming(made.Timing, made.CreatedAt)
		if err != nil {
			t.Fatal(err)
		}
		planned := made.NextAt
		for _, tick := range ticks {
			switch {
			case !tick.PlannedAt.Equal(planned):
				t.Fatalf("%s: a row for %v, want one for %v", made.Name, tick.PlannedAt, planned)
			case tick.JobID.IsZero() || jobs[tick.JobID]:
				t.Fatalf("%s: no job of its own for %+v", made.Name, tick)
			case tick.DecidedAt.Before(tick.PlannedAt):
				t.Fatalf("%s: early by %v: %+v", made.Name, tick.PlannedAt.Sub(tick.DecidedAt), tick)
			}
			jobs[tick.JobID] = true
			planned = read.next(planned)
		}
		if !now.NextAt.IsZero() && !now.NextAt.Equal(planned) {
			t.Fatalf("%s: rows until before %v, but it stands at %v", made.Name, planned, now.NextAt)
		}
		all = append(all, ticks...)
	}
	for _, j := range everyJob(t, s) {
		if !jobs[j.ID] {
			t.Fatalf("job %s belongs to no row", j.ID)
		}
		delete(jobs, j.ID)
	}
	if len(jobs) > 0 {
		t.Fatalf("%d rows name jobs that are not there", len(jobs))
	}
	return all
}

func everyJob(t *testing.T, s *store.Store) (all []*job.Job) {
	t.Helper()
	for f := (job.Filter{Limit: 5000}); ; f.Before = all[len(all)-1].ID {
		page, err := s.Jobs(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, page...); len(page) < f.Limit {
			return all
		}
	}
}

// Three schedulers decide the same schedules, and one of them is torn out of its transaction again
// and again. `make schedules-soak` does the same with processes and kill -9.
func TestSeveralSchedulersDecideEachTickOnceWhoeverDies(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	benches := []*bench{newBench(t, url), newBench(t, url), newBench(t, url)}
	var made []*job.Schedule
	for i := range 60 {
		made = append(
			made,
			benches[0].create(every(time.Duration(1+i%3)*time.Second), missed(job.MissedAll), func(s *job.Schedule) {
				s.Name = job.NewID().String()
				s.StartAt = time.Now().Add(time.Duration(i%3) * time.Second).Truncate(time.Second)
			}),
		)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i, b := range benches {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				life, die := context.WithTimeout(ctx, time.Duration(40+37*(n%7))*time.Millisecond)
				if i > 0 {
					life = ctx
				}
				if err := b.Run(life); err != nil {
					t.Error(err)
				}
				die()
			}
		})
	}
	testenv.Eventually(t, 30*time.Second, func() bool {
		ticks, err := benches[0].store.Ticks(t.Context(), job.TickFilter{ScheduleID: made[0].ID, Limit: 100})
		return err == nil && len(ticks) >= 6
	}, "six ticks of a schedule of every second")
	stop()
	wg.Wait()
	ticks := account(t, benches[0].store, made)
	if len(ticks) < 60 {
		t.Errorf("only %d ticks", len(ticks))
	}
}
