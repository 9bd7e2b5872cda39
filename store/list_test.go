package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// Every combination of filters, page by page, against a filter of our own over everything.
func TestEveryListHoldsWhatItsFilterSaysAndNothingElse(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		owners, w := []job.ID{job.NewID(), job.NewID()}, job.NewID()
		queues, types := []string{"default", "low", "critical"}, []string{"debug.echo", "debug.sleep"}
		ends := []job.State{
			job.Pending,
			job.Scheduled,
			job.Active,
			job.Completed,
			job.Archived,
			job.Canceled,
			job.Retry,
			job.Pending,
			job.Completed,
		}
		var subs []job.Submission
		for i := range 70 {
			subs = append(subs, submission(func(s *job.Submission) {
				s.OwnerID, s.Queue, s.Type = owners[i/3%2], queues[i*7%11%3], types[i/5%2]
				s.Labels = map[string]string{"parity": fmt.Sprint(i % 2)}
				if ends[i%len(ends)] == job.Scheduled {
					s.RunAt = time.Now().Add(time.Hour)
				}
			}))
		}
		for i, j := range create(t, s, subs...) {
			switch state := ends[i%len(ends)]; state {
			case job.Pending, job.Scheduled:
			case job.Active:
				mustClaim(t, s, j, w)
			case job.Canceled:
				if _, err := s.Cancel(t.Context(), j.ID); err != nil {
					t.Fatal(err)
				}
			default:
				set := settlement(mustClaim(t, s, j, w), w, state)
				set.Failed = state == job.Retry
				settle(t, s, set)
			}
		}
		all, err := s.Jobs(t.Context(), job.Filter{Limit: 200})
		if err != nil || len(all) != len(subs) {
			t.Fatalf("%d jobs, %v", len(all), err)
		}
		middle := all[40].CreatedAt.Add(-time.Microsecond)
		lists := 0
		for _, owner := range append(owners, job.ID{}) {
			for _, queue := range append(queues, "", "none") {
				for _, kind := range append(types, "") {
					for _, state := range append(slices.Clone(ends[:7]), job.Held, "") {
						for _, label := range []string{"", "1"} {
							for _, after := range []time.Time{{}, middle, time.Now().Add(time.Hour)} {
								f := job.Filter{
									OwnerID:      owner,
									Queue:        queue,
									Type:         kind,
									State:        state,
									CreatedAfter: after,
									Limit:        4,
								}
								if label != "" {
									f.Labels = map[string]string{"parity": label}
								}
								var want []job.ID
								for _, j := range all {
									if (owner.IsZero() || j.OwnerID == owner) && (queue == "" || j.Queue == queue) &&
										(kind == "" || j.Type == kind) &&
										(state == "" || j.State == state) &&
										(label == "" || j.Labels["parity"] == label) &&
										j.CreatedAt.After(after) {
										want = append(want, j.ID)
									}
								}
								if got := pages(t, s, f); !slices.Equal(got, want) {
									t.Fatalf("%+v: %v, want %v", f, got, want)
								}
								lists++
							}
						}
					}
				}
			}
		}
		if lists != 3*5*3*9*2*3 {
			t.Errorf("%d lists were read", lists)
		}
	})
}

// pages reads all that f lets through.
func pages(t *testing.T, s *Store, f job.Filter) (ids []job.ID) {
	t.Helper()
	for {
		page, err := s.Jobs(t.Context(), f)
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		for _, j := range page {
			ids = append(ids, j.ID)
			f.Before = j.ID
		}
		if len(page) < f.Limit {
			return ids
		}
	}
}
