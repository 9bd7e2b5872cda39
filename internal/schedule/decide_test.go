package schedule

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill/waybill/internal/job"
)

// Whenever processes are there or not, whatever the policies, however much one transaction takes:
// one row for each planned time, in order, none early, and only what the policies allow.
func TestEveryPlannedTimeGetsOneRowWhateverHappens(t *testing.T) {
	t.Parallel()
	created := at(t, "2026-03-28T22:00:00Z")
	rapid.Check(t, func(t *rapid.T) {
		s := spec()
		s.ID, s.CreatedAt, s.Timing = job.NewID(), created, drawTiming(t)
		s.Missed = rapid.SampledFrom(job.MissedPolicies).Draw(t, "missed")
		s.Overlap = rapid.SampledFrom(job.OverlapPolicies).Draw(t, "overlap")
		s.MissedWindow = time.Duration(rapid.IntRange(0, 3600).Draw(t, "window")) * time.Second
		read, err := readTiming(s.Timing, created)
		if err != nil {
			t.Skip(err.Error())
		}
		s.NextAt = read.next(created)
		want, now, open := s.NextAt, created, []job.ID(nil)
		for range 12 {
			now = now.Add(
				time.Duration(
					rapid.SampledFrom([]int{0, 1, 5, 9, 11, 60, 3000, 90_000}).Draw(t, "seconds"),
				) * time.Second,
			)
			if rapid.Bool().Draw(t, "finished") {
				open = nil
			}
			left := &budget{ticks: rapid.IntRange(1, 300).Draw(t, "budget"), bytes: 1 << 20}
			room := rapid.SampledFrom([]int{0, 1, 3, 1000}).Draw(t, "room")
			left.rooms = map[job.ID]int{s.OwnerID: room}
			d := newDecision(&job.DueSchedule{Schedule: s, Open: open}, read, now, left)
			released := s.BufferedAt
			out := d.decide()
			for _, tick := range out.Ticks {
				if tick.Job != nil {
					room--
				}
				if tick.Redo {
					if !tick.PlannedAt.Equal(released) {
						t.Fatalf("released %v, %v was waiting", tick.PlannedAt, released)
					}
					continue
				}
				if !tick.PlannedAt.Equal(want) || tick.PlannedAt.After(now) {
					t.Fatalf("a row for %v at %v, want one for %v", tick.PlannedAt, now, want)
				}
				want = read.next(want)
				holdToPolicies(t, &s, tick, want, now, room <= 0)
			}
			if !out.Schedule.NextAt.Equal(want) {
				t.Fatalf("it stands at %v, want %v", out.Schedule.NextAt, want)
			}
			if left.rooms[s.OwnerID] != room || room < -1 { // a time that was accepted into the buffer is not given up
				t.Fatalf("it counts room for %d more jobs, there is some for %d", left.rooms[s.OwnerID], room)
			}
			s, open = out.Schedule, d.open
		}
	})
}

func holdToPolicies(t *rapid.T, s *job.Schedule, tick job.PlannedTick, next, now time.Time, full bool) {
	late := now.Sub(tick.PlannedAt)
	legal := map[job.Outcome]bool{
		job.Fired: late <= onTime,
		job.CaughtUp: late > onTime && late <= s.MissedWindow &&
			(s.Missed == job.MissedAll || s.Missed == job.MissedLatest && now.Sub(next) <= onTime),
		job.Missed:         late > onTime || full,
		job.SkippedOverlap: s.Overlap == job.OverlapSkip || s.Overlap == job.OverlapBuffer,
		job.Buffered:       s.Overlap == job.OverlapBuffer,
	}
	if !legal[tick.Outcome] {
		t.Fatalf("%s, %v late, with %s within %v and %s", tick.Outcome, late, s.Missed, s.MissedWindow, s.Overlap)
	}
	if hasJob := tick.Job != nil; hasJob != slices.Contains([]job.Outcome{job.Fired, job.CaughtUp}, tick.Outcome) {
		t.Fatalf("%s with a job: %v", tick.Outcome, hasJob)
	}
}

func TestJitterIsTheSameForEverybodyAndStaysBelowItsLimit(t *testing.T) {
	t.Parallel()
	id, planned := job.NewID(), at(t, "2026-01-01T00:00:00Z")
	seen := map[time.Duration]bool{}
	for range 200 {
		planned = planned.Add(time.Minute)
		d := jitter(id, planned, 30*time.Second)
		if d < 0 || d >= 30*time.Second || d != jitter(id, planned.In(Zone("Asia/Kathmandu")), 30*time.Second) {
			t.Fatalf("%v at %v", d, planned)
		}
		seen[d] = true
	}
	if len(seen) < 150 {
		t.Errorf("only %d different delays of 200", len(seen))
	}
}

func TestPlaceholdersBecomeThePlannedTime(t *testing.T) {
	t.Parallel()
	s := spec(func(s *job.Schedule) {
		s.Job.Payload = []byte(
			`{"url": "https://example.com/?at={{planned_at}}",  "day":"{{planned_date}}", "other": "{{name}}"}`,
		)
	})
	got := renderTemplate(&s, Zone("Australia/Lord_Howe"), at(t, "2026-03-31T14:00:00Z"))
	if want := `{"url": "https://example.com/?at=2026-03-31T14:00:00Z",  "day":"2026-04-01", "other": "{{name}}"}`; string(
		got.Payload,
	) != want {
		t.Errorf("%s", got.Payload)
	}
	if got.Labels[job.ScheduleLabel] != s.Name || s.Job.Labels[job.ScheduleLabel] != "" {
		t.Errorf("labels of the job %v, of the template %v", got.Labels, s.Job.Labels)
	}
}
