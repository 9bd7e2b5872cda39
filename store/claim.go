package store

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// How long a task is put off whose job another worker has: long enough to cost nothing, short
// enough to follow its end.
const busyRetryAfter = 10 * time.Second

// Claim decides for each task that asynq gave to a worker whether its job may run: one conditional
// update for all of them. State and delivery must match; otherwise the task is dropped or
// postponed. Results are in the order of the requests. With an error, those that have a decision
// hold all the same: their jobs are the worker's.
func (s *Store) Claim(ctx context.Context, reqs []job.ClaimRequest) ([]job.Claim, error) {
	claims := make([]job.Claim, len(reqs))
	place := make(map[job.ID]int, len(reqs))
	unique := make([]job.ClaimRequest, 0, len(reqs))
	for i, r := range reqs {
		if _, twice := place[r.JobID]; twice {
			claims[i] = job.Claim{Decision: job.Postpone, Wait: busyRetryAfter} // the other one gets the say
			continue
		}
		place[r.JobID] = i
		unique = append(unique, r)
	}
	// See lockOpen.
	slices.SortFunc(unique, func(a, b job.ClaimRequest) int { return bytes.Compare(a.JobID[:], b.JobID[:]) })
	jobs, err := s.engine.claimJobs(ctx, unique)
	if err != nil {
		return nil, s.wrap("claim jobs", err)
	}
	for _, j := range jobs {
		i := place[j.ID]
		j.Worker = reqs[i].WorkerID.String()
		claims[i] = job.Claim{Decision: job.Run, Job: j}
	}
	return claims, s.explainRefusals(ctx, reqs, claims)
}

// explainRefusals fills in the claims that did not hold: the job's row says why.
func (s *Store) explainRefusals(ctx context.Context, reqs []job.ClaimRequest, claims []job.Claim) error {
	var ids []job.ID
	for i := range claims {
		if claims[i].Decision == 0 {
			ids = append(ids, reqs[i].JobID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, now, err := s.currentStates(ctx, ids)
	if err != nil {
		return err
	}
	for i, r := range reqs {
		if claims[i].Decision == 0 {
			claims[i] = refuse(rows[r.JobID], r.Delivery, now)
		}
	}
	return nil
}

func refuse(row *jobRow, delivery int, now time.Time) job.Claim {
	switch {
	case row == nil, row.State.Finished(), row.State == job.Held, row.Delivery != delivery:
		return job.Claim{Decision: job.Drop}
	case row.State == job.Active:
		return job.Claim{Decision: job.Postpone, Wait: busyRetryAfter}
	case row.State == job.Pending: // it came to be so between the two statements
		return job.Claim{Decision: job.Postpone}
	default: // too early; or it came to be due between the two statements
		return job.Claim{Decision: job.Postpone, Wait: max(row.RunAt.Sub(now), 0)}
	}
}

// currentStates reads where jobs stand, and the database's clock.
func (s *Store) currentStates(ctx context.Context, ids []job.ID) (map[job.ID]*jobRow, time.Time, error) {
	var list []*jobRow
	err := s.db.NewSelect().
		Model(&list).
		Column("id", "state", "delivery", "run_at", "attempt", "settled_attempt", "worker_id").
		Where("id IN (?)", bun.List(ids)).
		Scan(ctx)
	if err != nil {
		return nil, time.Time{}, s.wrap("select jobs", err)
	}
	rows := make(map[job.ID]*jobRow, len(list))
	for _, r := range list {
		rows[r.ID] = r
	}
	// A job that was refused as too early is put off by the clock: it must be known as it is now,
	// also right after a step.
	now, err := s.Now(ctx)
	return rows, now, err
}
