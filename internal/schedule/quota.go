package schedule

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/job"
)

const (
	recountEvery = 5 * time.Second // how long a count holds that is near the limit
	// Jobs that an owner's schedules may make before this process counts for the first time.
	uncounted = 1000
	maxOwners = 10_000 // whose jobs are estimated at once
)

// quota bounds the jobs that an owner may have open, so that a schedule whose jobs are not run does
// not fill the ledger. Counting costs more than deciding, so each process estimates: it counts only
// owners that may be near the limit, and never within a transaction. What other processes made
// since the last count may exceed the limit by as much.
type quota struct {
	max  int // 0: no limit
	jobs ledger
	now  func() time.Time
	log  *slog.Logger

	mu     sync.Mutex
	owners map[job.ID]*usage
	asked  map[job.ID]bool // whose jobs must be counted before more is decided
}

type usage struct {
	open    int       // the last count, and what was made here since
	counted time.Time // zero: never
	full    bool      // so said the last count
}

func newQuota(max int, jobs ledger, log *slog.Logger) *quota {
	return &quota{max: max, jobs: jobs, now: time.Now, log: log, owners: map[job.ID]*usage{}, asked: map[job.ID]bool{}}
}

// admit lets a transaction decide for owner, and notes in left how many jobs there is room for. It
// answers false where that is not known: leave the owner's schedules alone, call count, and come
// again.
func (q *quota) admit(owner job.ID, left *budget) bool {
	if _, known := left.rooms[owner]; known || q.max == 0 {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.owners[owner]
	if u == nil {
		u = &usage{} // it is kept as soon as a job is made
	}
	if trusted := min(q.max/2, uncounted); u.open > trusted && u.counted.IsZero() ||
		u.open > q.max/2 && q.now().Sub(u.counted) >= recountEvery {
		q.asked[owner] = true
		return false
	}
	if left.rooms == nil {
		left.rooms = map[job.ID]int{}
	}
	left.rooms[owner] = q.max - u.open
	return true
}

// count asks the ledger for the owners that admit could not answer for.
func (q *quota) count(ctx context.Context) error {
	q.mu.Lock()
	asked := make([]job.ID, 0, len(q.asked))
	for owner := range q.asked {
		asked = append(asked, owner)
	}
	q.mu.Unlock()
	for _, owner := range asked {
		if err := q.countOne(ctx, owner); err != nil {
			return err
		}
	}
	return nil
}

// countOne counts what was made meanwhile on top: rather too many than too few.
func (q *quota) countOne(ctx context.Context, owner job.ID) error {
	q.mu.Lock()
	before := q.usage(owner).open
	q.mu.Unlock()
	counted, err := q.jobs.OpenJobs(ctx, owner, q.max+1)
	if err != nil {
		return fmt.Errorf("count open jobs: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.usage(owner)
	u.open += counted - before
	u.counted = q.now()
	delete(q.asked, owner)
	if full := counted >= q.max; full != u.full {
		u.full = full
		q.report(ctx, owner, full)
	}
	return nil
}

// report is once for all the times that are missed.
func (q *quota) report(ctx context.Context, owner job.ID, full bool) {
	if full {
		q.log.WarnContext(
			ctx,
			"a user has too many open jobs, planned times of his schedules are missed",
			"owner_id",
			owner,
			"limit",
			q.max,
		)
		return
	}
	q.log.InfoContext(ctx, "the user's schedules make jobs again", "owner_id", owner)
}

// created notes jobs that were written down.
func (q *quota) created(jobs []*job.Job) {
	if q.max == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range jobs {
		q.usage(j.OwnerID).open++
	}
}

// usage is called with mu held.
func (q *quota) usage(owner job.ID) *usage {
	u := q.owners[owner]
	if u == nil {
		if len(q.owners) >= maxOwners {
			clear(q.owners)
		}
		u = &usage{}
		q.owners[owner] = u
	}
	return u
}
