package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// newTestSchedule is a valid one whose planned time is now; change what the test is about.
func newTestSchedule(t *testing.T, s *Store, change ...func(*job.Schedule)) *job.Schedule {
	t.Helper()
	now, err := s.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sub := submission()
	sub.ID, sub.OwnerID = job.ID{}, job.ID{}
	sch := &job.Schedule{
		ID:           job.NewID(),
		OwnerID:      job.NewID(),
		Name:         "nightly",
		Timing:       job.Timing{Cron: "0 2 * * *", Timezone: "Europe/Berlin"},
		Missed:       job.MissedLatest,
		MissedWindow: time.Hour,
		Overlap:      job.OverlapAllow,
		Job:          sub,
		Revision:     1,
		CreatedAt:    now,
		UpdatedAt:    now,
		NextAt:       now,
	}
	sch.Job.Labels = map[string]string{"a": "b"}
	for _, c := range change {
		c(sch)
	}
	if err := s.CreateSchedule(t.Context(), sch); err != nil {
		t.Fatal(err)
	}
	return sch
}

// decideOnce gives what is due a job for its planned time.
func decideOnce(t *testing.T, s *Store, next time.Time) *job.Decided {
	t.Helper()
	out, err := s.DecideSchedules(
		t.Context(),
		10,
		func(_ time.Time, due *job.DueSchedule) (job.ScheduleDecision, bool) {
			sub := due.Job
			sub.ID, sub.OwnerID = job.NewID(), due.OwnerID
			d := job.ScheduleDecision{
				Schedule: due.Schedule,
				Ticks:    []job.PlannedTick{{PlannedAt: due.NextAt, Outcome: job.Fired, Job: &sub}},
			}
			d.Schedule.NextAt = next
			return d, true
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAScheduleComesBackAsItWasWritten(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		made := newTestSchedule(t, s, func(s *job.Schedule) {
			s.Job.Payload, s.Jitter = json.RawMessage(`{"b":1.0,  "a":2}`), 90*time.Second
			s.StartAt, s.EndAt = time.Unix(1_800_000_000, 0).UTC(), time.Unix(1_900_000_000, 0).UTC()
		})
		got, err := s.Schedule(t.Context(), made.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != made.Name || got.Timing != made.Timing || got.Jitter != made.Jitter ||
			got.Missed != made.Missed || got.MissedWindow != made.MissedWindow ||
			got.Overlap != made.Overlap || !got.NextAt.Equal(made.NextAt) || got.Job.Policy != made.Job.Policy ||
			string(got.Job.Payload) != string(made.Job.Payload) ||
			got.Job.Labels["a"] != "b" || !got.PausedAt.IsZero() ||
			!got.BufferedAt.IsZero() {
			t.Errorf("got  %+v\nmade %+v", got, made)
		}
	})
}

func TestATickThatWasDecidedIsNotDecidedAgain(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		made := newTestSchedule(t, s)
		first := decideOnce(t, s, made.NextAt) // it stands where it stood: as if a clock had gone back
		again := decideOnce(t, s, made.NextAt.Add(time.Hour))
		if len(first.Ticks) != 1 || len(first.Created) != 1 || len(again.Ticks) != 0 || len(again.Created) != 0 {
			t.Errorf("first %+v\nagain %+v", first, again)
		}
		if jobs, err := s.Jobs(t.Context(), job.Filter{Limit: 10}); err != nil || len(jobs) != 1 ||
			jobs[0].Labels["a"] != "b" {
			t.Errorf("%+v, %v", jobs, err)
		}
		if last := decideOnce(t, s, time.Time{}); len(last.Schedules) != 0 {
			t.Errorf("decided what is not due: %+v", last)
		}
	})
}

func TestATickAndItsJobAreWrittenTogetherOrNotAtAll(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		made := newTestSchedule(t, s)
		_, err := s.DecideSchedules(
			t.Context(),
			10,
			func(_ time.Time, due *job.DueSchedule) (job.ScheduleDecision, bool) {
				sub := due.Job
				sub.ID, sub.OwnerID, sub.Timeout = job.NewID(), due.OwnerID, time.Millisecond // refused by a CHECK
				return job.ScheduleDecision{
					Schedule: due.Schedule,
					Ticks:    []job.PlannedTick{{PlannedAt: due.NextAt, Outcome: job.Fired, Job: &sub}},
				}, true
			},
		)
		if err == nil {
			t.Fatal("no error")
		}
		if ticks, err := s.Ticks(t.Context(), job.TickFilter{ScheduleID: made.ID, Limit: 10}); err != nil ||
			len(ticks) != 0 {
			t.Errorf("%+v, %v", ticks, err)
		}
	})
}

func TestTheNameOfADeletedScheduleIsFreeAndItsTicksStayUntilTheyArePurged(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		made := newTestSchedule(t, s)
		decideOnce(t, s, made.NextAt.Add(time.Hour))
		twin := *made
		twin.ID = job.NewID()
		if err := s.CreateSchedule(ctx, &twin); !errors.Is(err, job.ErrConflict) {
			t.Errorf("the same name: %v", err)
		}
		_, err := s.ChangeSchedule(
			ctx,
			made.ID,
			func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, error) {
				due.NextAt, due.DeletedAt = time.Time{}, now
				return job.ScheduleDecision{Schedule: due.Schedule, Settings: true}, nil
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CreateSchedule(ctx, &twin); err != nil {
			t.Errorf("the name is free: %v", err)
		}
		count := func() int {
			ticks, err := s.Ticks(ctx, job.TickFilter{ScheduleID: made.ID, Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			return len(ticks)
		}
		if err := s.PurgeTicks(ctx, made.NextAt.Add(-time.Minute)); err != nil || count() != 1 {
			t.Errorf("purged what is young: %v, %d left", err, count())
		}
		if err := s.PurgeTicks(ctx, time.Now().Add(time.Minute)); err != nil || count() != 0 {
			t.Errorf("not purged: %v, %d left", err, count())
		}
		n, err := s.db.NewSelect().Table("schedules").Count(ctx)
		if err != nil || n != 1 {
			t.Errorf("%d rows of schedules, %v, want the twin's", n, err)
		}
	})
}

func TestOneOfTwoThatTakeANameAtTheSameMomentIsToldThatItIsTaken(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		owner := job.NewID()
		var rivals [8]*job.Schedule
		for i := range rivals {
			rivals[i] = newTestSchedule(
				t,
				s,
				func(s *job.Schedule) { s.OwnerID, s.Name = owner, fmt.Sprintf("rival %d", i) },
			)
		}
		errs := make(chan error, len(rivals))
		start := make(chan struct{})
		for _, r := range rivals {
			go func() {
				<-start
				_, err := s.ChangeSchedule(
					t.Context(),
					r.ID,
					func(_ time.Time, due *job.DueSchedule) (job.ScheduleDecision, error) {
						due.Name = "wanted"
						return job.ScheduleDecision{Schedule: due.Schedule, Settings: true}, nil
					},
				)
				errs <- err
			}()
		}
		close(start)
		won := 0
		for range rivals {
			switch err := <-errs; {
			case err == nil:
				won++
			case !errors.Is(err, job.ErrConflict):
				t.Errorf("the loser is told: %v", err)
			}
		}
		if won != 1 {
			t.Errorf("%d have the name", won)
		}
	})
}

func TestTheAgendaNamesTheOldestPlannedTime(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		if next, buffered, now, err := s.ScheduleAgenda(t.Context()); err != nil || !next.IsZero() || buffered ||
			now.IsZero() {
			t.Errorf("empty: %v %v %v %v", next, buffered, now, err)
		}
		made := newTestSchedule(t, s)
		newTestSchedule(t, s, func(s *job.Schedule) { s.NextAt = made.NextAt.Add(time.Minute) })
		if next, buffered, _, err := s.ScheduleAgenda(t.Context()); err != nil || !next.Equal(made.NextAt) || buffered {
			t.Errorf("%v %v %v, want %v", next, buffered, err, made.NextAt)
		}
	})
}

func TestTheLastPlannedTimesAreThoseOfTheNewestTicks(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		made := newTestSchedule(t, s)
		earlier := made.NextAt.Add(-time.Minute)
		decideOnce(t, s, earlier)
		decideOnce(t, s, made.NextAt.Add(time.Hour))
		idle := newTestSchedule(t, s, func(s *job.Schedule) { s.Name, s.NextAt = "idle", time.Now().Add(time.Hour) })
		last, err := s.LastPlanned(t.Context(), []job.ID{made.ID, idle.ID, job.NewID()})
		if err != nil || len(last) != 1 || !last[made.ID].Equal(made.NextAt) {
			t.Errorf("%v, %v, want %v", last, err, made.NextAt)
		}
		if none, err := s.LastPlanned(t.Context(), nil); err != nil || len(none) != 0 {
			t.Errorf("of no schedule: %v, %v", none, err)
		}
	})
}
