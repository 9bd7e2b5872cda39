package schedule

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// limit gives the bench a quota of its own whose clock stands still until the test moves it.
func (b *bench) limit(most int) *time.Time {
	clock := time.Now()
	b.quota = newQuota(most, b.store, testenv.Logger(b.t))
	b.quota.now = func() time.Time { return clock }
	return &clock
}

func TestPlannedTimesMakeNoJobsBeyondTheirOwnersQuota(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		clock := b.limit(4)
		const m, c = job.Missed, job.CaughtUp
		begin := time.Now().Truncate(time.Second).Add(-time.Hour)
		s := b.create(every(time.Minute), missed(job.MissedAll), func(s *job.Schedule) { s.StartAt = begin })
		want := func(rows ...job.Outcome) {
			t.Helper()
			if got := outcomes(b.ticks(s)); !slices.Equal(got, rows) {
				t.Fatalf("%v, want %v", got, rows)
			}
		}
		plan := func(from, to int) { // from minute to minute
			t.Helper()
			if _, err := b.Change(t.Context(), s.ID, func(s *job.Schedule) error {
				s.StartAt, s.EndAt = begin.Add(time.Duration(from)*time.Minute),
					begin.Add(time.Duration(to)*time.Minute)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			b.rewind(s, 2*time.Hour)
			b.settle()
		}
		plan(0, 5)
		want(c, c, c, c, m, m)
		// his neighbour has a quota of his own
		other := b.create(every(time.Minute), missed(job.MissedAll))
		b.rewind(other, 0)
		if _, _, err := b.Trigger(t.Context(), other.ID, ""); err != nil {
			t.Fatal(err)
		}
		for _, tick := range b.ticks(s)[:3] {
			b.finish(tick.JobID)
		}
		*clock = clock.Add(recountEvery)
		plan(6, 10)
		want(c, c, c, c, m, m, c, c, c, m, m)
	})
}

// What a process remembers of yesterday decides nothing today.
func TestAQuotaThatSeemsFullIsCountedBeforeATimeIsMissed(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		clock := b.limit(2)
		first := b.create(every(time.Minute))
		second := b.create(every(time.Minute), func(s *job.Schedule) { s.OwnerID, s.Name = first.OwnerID, "other" })
		var jobs []job.ID
		for range 2 {
			tick, _, err := b.Trigger(t.Context(), first.ID, "")
			if err != nil {
				t.Fatal(err)
			}
			jobs = append(jobs, tick.JobID)
		}
		b.rewind(first, time.Minute)
		b.settle()
		if !slices.Contains(outcomes(b.ticks(first)), job.Missed) {
			t.Fatalf("there was room: %v", b.ticks(first))
		}
		for _, id := range jobs {
			b.finish(id)
		}
		*clock = clock.Add(24 * time.Hour)
		b.rewind(second, time.Minute)
		if n, err := b.decideDue(t.Context()); n != 1 || err != nil || len(b.ticks(second)) != 0 {
			t.Fatalf("not left for after the count: %d, %v, %v", n, err, b.ticks(second))
		}
		b.settle()
		if got := b.ticks(second); len(got) != 1 || got[0].JobID.IsZero() {
			t.Errorf("%+v", got)
		}
	})
}

func TestJobsAreNotCountedFarBelowTheQuota(t *testing.T) {
	t.Parallel()
	b := newBench(t, "sqlite:"+filepath.Join(t.TempDir(), "waybill.db"))
	b.limit(2_000_000)
	owner, left := job.NewID(), fullBudget()
	b.quota.created(slices.Repeat([]*job.Job{{OwnerID: owner}}, uncounted))
	if !b.quota.admit(owner, left) || left.rooms[owner] != 2_000_000-uncounted {
		t.Errorf("not admitted at once: %v", left.rooms)
	}
	b.quota.created([]*job.Job{{OwnerID: owner}})
	if left = fullBudget(); b.quota.admit(owner, left) {
		t.Error("never counted")
	}
	if err := b.quota.count(t.Context()); err != nil || !b.quota.admit(owner, left) || left.rooms[owner] != 2_000_000 {
		t.Errorf("counted: %v, %v", left.rooms, err)
	}
}
