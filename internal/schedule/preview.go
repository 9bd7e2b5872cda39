package schedule

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// Preview answers the next n planned times after the given time, or after now where that is zero:
// fewer where the schedule ends. The schedule need not have been created; only its timing is looked
// at.
func (s *Service) Preview(ctx context.Context, sch *job.Schedule, after time.Time, n int) ([]time.Time, error) {
	created := sch.CreatedAt
	if after.IsZero() || created.IsZero() {
		now, err := s.deps.Ledger.Now(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the clock: %w", err)
		}
		if after.IsZero() {
			after = now
		}
		if created.IsZero() {
			created = now
		}
	}
	look := *sch
	look.CreatedAt = created
	t, wrong := s.readTiming(&look)
	if err := invalid(wrong); err != nil {
		return nil, err
	}
	times := make([]time.Time, 0, n)
	for p := t.next(after); len(times) < n && !p.IsZero(); p = t.next(p) {
		times = append(times, p)
	}
	return times, nil
}

// Zone is the location that a schedule's zone names; UTC where this process does not know it.
func Zone(name string) *time.Location {
	loc, err := zone(name)
	if err != nil {
		return time.UTC
	}
	return loc
}
