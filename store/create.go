package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// Create writes each submission down, in one commit for all: when it returns without an error, the
// promise is made. Submissions stand for themselves: one whose Idempotency-Key is known answers the
// job of then (Replayed), or job.CodeKeyReused in its place in errs where the fingerprints differ,
// or why its job could not be read. err is that of the database, and then nothing is known to be
// written: repeat with the same key.
func (s *Store) Create(ctx context.Context, subs []job.Submission) (made []job.Created, errs []error, err error) {
	rows, err := s.engine.insertJobs(ctx, subs, false)
	if err != nil {
		return nil, nil, s.wrap("insert jobs", err)
	}
	made, errs = make([]job.Created, len(subs)), make([]error, len(subs))
	missing := fill(made, subs, rows)
	s.observeCreated(made)
	if len(missing) == 0 {
		return made, errs, nil
	}
	known, err := s.byKey(ctx, subs, missing)
	for _, i := range missing {
		if err != nil { // those that were written stand all the same
			errs[i] = err
			continue
		}
		made[i], errs[i] = repeatedSubmission(known[ownedKey{subs[i].OwnerID, subs[i].IdempotencyKey}], &subs[i])
	}
	return made, errs, nil
}

// CreateAll writes all submissions or none. With Idempotency-Keys, a repetition answers the jobs of
// then, all Replayed.
func (s *Store) CreateAll(ctx context.Context, subs []job.Submission) ([]job.Created, error) {
	rows, err := s.engine.insertJobs(ctx, subs, true)
	if err != nil {
		return nil, s.wrap("insert jobs", err)
	}
	made := make([]job.Created, len(subs))
	missing := fill(made, subs, rows)
	s.observeCreated(made)
	if len(missing) == 0 {
		return made, nil
	}
	known, err := s.byKey(ctx, subs, missing)
	if err != nil {
		return nil, err
	}
	if len(known) > 0 && len(known) < len(subs) {
		return nil, idempotencyReuse("the Idempotency-Key was used for a batch of which only a part is left")
	}
	for i := range subs { // one known key undid all the others: every single one must be a repetition
		if made[i], err = repeatedSubmission(known[ownedKey{subs[i].OwnerID, subs[i].IdempotencyKey}],
			&subs[i]); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// fill lays the jobs that were written beside what was asked for, and answers the places that
// stayed empty.
func fill(made []job.Created, subs []job.Submission, rows inserted) (missing []int) {
	for i := range subs {
		if rows.all || rows.ids[subs[i].ID] {
			made[i].Job = rows.job(&subs[i])
		} else {
			missing = append(missing, i)
		}
	}
	return missing
}

// job is what insertJobs made of a submission.
func (r *inserted) job(s *job.Submission) *job.Job {
	state, runAt := firstState(s, r.at)
	return &job.Job{
		ID:          s.ID,
		OwnerID:     s.OwnerID,
		Type:        s.Type,
		Queue:       s.Queue,
		Payload:     s.Payload,
		Labels:      s.Labels,
		Policy:      s.Policy,
		State:       state,
		RunAt:       runAt,
		Delivery:    1,
		CreatedAt:   r.at,
		Traceparent: s.Traceparent,
	}
}

// firstState is where a job that is submitted at a moment begins, and when it may run.
func firstState(s *job.Submission, at time.Time) (job.State, time.Time) {
	runAt := s.RunAt.UTC().Truncate(time.Microsecond)
	if s.RunAt.IsZero() {
		runAt = at.Add(s.Delay.Truncate(time.Microsecond))
	}
	if runAt.After(at) {
		return job.Scheduled, runAt
	}
	return job.Pending, at
}

func repeatedSubmission(row *jobRow, s *job.Submission) (job.Created, error) {
	switch {
	case row == nil: // its owner's key was there a moment ago: the job went with its retention
		return job.Created{}, job.Unavailable("the Idempotency-Key is just being released", nil)
	case !bytes.Equal(row.Fingerprint, s.Fingerprint):
		return job.Created{}, idempotencyReuse("the Idempotency-Key was used with another request")
	default:
		return job.Created{Job: row.job(), Replayed: true}, nil
	}
}

func idempotencyReuse(message string) error {
	return &job.Error{Code: job.CodeKeyReused, Message: message}
}

type ownedKey struct {
	owner job.ID
	key   string
}

// byKey finds the jobs that the submissions at these places made before.
func (s *Store) byKey(ctx context.Context, subs []job.Submission, places []int) (map[ownedKey]*jobRow, error) {
	keys := map[job.ID][]string{}
	for _, i := range places {
		keys[subs[i].OwnerID] = append(keys[subs[i].OwnerID], subs[i].IdempotencyKey)
	}
	known := map[ownedKey]*jobRow{}
	for owner, list := range keys {
		var rows []*jobRow
		err := s.db.NewSelect().
			Model(&rows).
			Where("owner_id = ?", owner).
			Where("idempotency_key IN (?)", bun.List(list)).
			Scan(ctx)
		if err != nil {
			return nil, s.wrap("select jobs by idempotency key", err)
		}
		for _, row := range rows {
			known[ownedKey{owner, row.IdempotencyKey}] = row
		}
	}
	return known, s.addErrors(ctx, known)
}

func (s *Store) addErrors(ctx context.Context, known map[ownedKey]*jobRow) error {
	for _, row := range known {
		errs, err := s.jobErrors(ctx, row.ID)
		if err != nil {
			return err
		}
		row.errors = errs
	}
	return nil
}

func labelsJSON(labels map[string]string) *string {
	if len(labels) == 0 {
		return nil
	}
	b, err := json.Marshal(labels)
	if err != nil {
		panic(fmt.Sprintf("a map of strings has no JSON: %v", err)) // cannot happen
	}
	s := string(b)
	return &s
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
