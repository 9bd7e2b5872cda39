package api

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// fakeLedger keeps jobs in memory, by the rules that jobLedger's comments state.
type fakeLedger struct {
	mu       sync.Mutex
	jobs     map[job.ID]*job.Job
	keys     map[string]job.Submission // by owner and idempotency key
	finished map[job.ID]chan struct{}
	counts   int // calls of OpenJobs
	waiting  chan job.ID
	paused   []job.Queue

	err error // what every method answers
}

func newFakeLedger() *fakeLedger {
	return &fakeLedger{
		jobs:     map[job.ID]*job.Job{},
		keys:     map[string]job.Submission{},
		finished: map[job.ID]chan struct{}{},
		waiting:  make(chan job.ID, 10_000),
	}
}

func (l *fakeLedger) Create(ctx context.Context, s job.Submission) (job.Created, error) {
	made, err := l.CreateAll(ctx, []job.Submission{s})
	if err != nil {
		return job.Created{}, err
	}
	return made[0], nil
}

func (l *fakeLedger) CreateAll(_ context.Context, subs []job.Submission) ([]job.Created, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	for _, s := range subs {
		if had, ok := l.keys[s.OwnerID.String()+s.IdempotencyKey]; ok && !bytes.Equal(had.Fingerprint, s.Fingerprint) {
			return nil, &job.Error{Code: job.CodeKeyReused, Message: "this key came with another request before"}
		}
	}
	made := make([]job.Created, len(subs))
	for i, s := range subs {
		made[i] = l.create(s)
	}
	return made, nil
}

func (l *fakeLedger) create(s job.Submission) job.Created {
	key := s.OwnerID.String() + s.IdempotencyKey
	if had, ok := l.keys[key]; ok {
		return job.Created{Job: l.copy(had.ID), Replayed: true}
	}
	if s.IdempotencyKey != "" {
		l.keys[key] = s
	}
	j := &job.Job{
		ID:        s.ID,
		OwnerID:   s.OwnerID,
		Type:      s.Type,
		Queue:     s.Queue,
		Payload:   slices.Clone(s.Payload),
		Labels:    s.Labels,
		Policy:    s.Policy,
		State:     job.Pending,
		RunAt:     s.RunAt,
		Delivery:  1,
		CreatedAt: time.Now(),
	}
	if s.RunAt.IsZero() {
		j.RunAt = j.CreatedAt.Add(s.Delay)
	}
	if j.RunAt.After(j.CreatedAt) {
		j.State = job.Scheduled
	}
	l.jobs[s.ID], l.finished[s.ID] = j, make(chan struct{})
	return job.Created{Job: l.copy(s.ID)}
}

func (l *fakeLedger) copy(id job.ID) *job.Job {
	c := *l.jobs[id]
	return &c
}

func (l *fakeLedger) Job(_ context.Context, id job.ID) (*job.Job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	if l.jobs[id] == nil {
		return nil, job.NotFound("job")
	}
	return l.copy(id), nil
}

func (l *fakeLedger) ListedJobs(_ context.Context, ids []job.ID) (list []*job.Job, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if l.jobs[id] != nil {
			list = append(list, l.copy(id))
		}
	}
	return list, l.err
}

func (l *fakeLedger) Jobs(_ context.Context, f job.Filter) ([]*job.Job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	var list []*job.Job
	for id, j := range l.jobs {
		if l.matches(j, f) {
			list = append(list, l.copy(id))
		}
	}
	slices.SortFunc(list, func(a, b *job.Job) int { return bytes.Compare(b.ID[:], a.ID[:]) })
	return list[:min(len(list), f.Limit)], nil
}

func (l *fakeLedger) matches(j *job.Job, f job.Filter) bool {
	for k, v := range f.Labels {
		if had, ok := j.Labels[k]; !ok || had != v {
			return false
		}
	}
	return (f.OwnerID.IsZero() || f.OwnerID == j.OwnerID) && (f.State == "" || f.State == j.State) &&
		(f.Type == "" || f.Type == j.Type) && (f.Queue == "" || f.Queue == j.Queue) &&
		!j.CreatedAt.Before(f.CreatedAfter) &&
		(f.Before.IsZero() || bytes.Compare(j.ID[:], f.Before[:]) < 0)
}

func (l *fakeLedger) Cancel(_ context.Context, id job.ID) (*job.Job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.jobs[id]
	switch {
	case l.err != nil:
		return nil, l.err
	case j.State == job.Canceled:
	case j.State == job.Active:
		j.CancelRequestedAt = time.Now()
	case j.State.CanBecome(job.Canceled) && !j.State.Finished():
		l.finish(j, job.Canceled)
	default:
		return nil, job.Conflict(j.State, "canceled")
	}
	return l.copy(id), nil
}

func (l *fakeLedger) Retry(_ context.Context, id job.ID) (*job.Job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.jobs[id]
	if l.err != nil {
		return nil, l.err
	}
	if j.State != job.Archived && j.State != job.Canceled && j.State != job.Retry {
		return nil, job.Conflict(j.State, "retried")
	}
	j.State, j.Delivery, j.FinishedAt = job.Pending, j.Delivery+1, time.Time{}
	return l.copy(id), nil
}

// finish ends a job; called with mu held.
func (l *fakeLedger) finish(j *job.Job, s job.State) {
	j.State, j.FinishedAt = s, time.Now()
	close(l.finished[j.ID])
}

// set changes a job behind the API's back.
func (l *fakeLedger) set(id job.ID, change func(*job.Job)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l.jobs[id])
	if l.jobs[id].State.Finished() {
		close(l.finished[id])
	}
}

func (l *fakeLedger) AwaitFinished(ctx context.Context, id job.ID) error {
	l.mu.Lock()
	done := l.finished[id]
	l.mu.Unlock()
	l.waiting <- id
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *fakeLedger) OpenJobs(_ context.Context, owner job.ID, limit int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts++
	n := 0
	for _, j := range l.jobs {
		if j.OwnerID == owner && !j.State.Finished() && n < limit {
			n++
		}
	}
	return n, l.err
}

func (l *fakeLedger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.jobs)
}
