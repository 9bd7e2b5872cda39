package store

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// Observer is told what each commit did to jobs, exactly once for each job and change, so that
// metrics agree with the ledger for every caller of the store. Settlements of attempts are left
// out: the worker counts them, together with how long the handler ran. Its methods are called after
// the commit, possibly by many goroutines at once, and must not block.
type Observer interface {
	// Created is told of n jobs of a kind that were written down; repetitions of a known
	// Idempotency-Key are none.
	Created(taskType, queue string, n int)
	// Finished is told of a job that got its outcome without an attempt being settled: canceled or
	// archived.
	Finished(taskType, queue string, state job.State)
	// Reopened is told of a finished job that is open again.
	Reopened(taskType, queue string)
}

// silent is the Observer of a store whose Config names none.
type silent struct{}

func (silent) Created(string, string, int)        {}
func (silent) Finished(string, string, job.State) {}
func (silent) Reopened(string, string)            {}

// observeCreated counts jobs of one kind together: the jobs of a batch mostly are of one kind, and
// finding a counter takes longer than counting.
func (s *Store) observeCreated(made []job.Created) {
	var first *job.Job
	n := 0
	for i := range made {
		j := made[i].Job
		if j == nil || made[i].Replayed {
			continue
		}
		if n > 0 && (j.Type != first.Type || j.Queue != first.Queue) {
			s.observer.Created(first.Type, first.Queue, n)
			n = 0
		}
		first = j
		n++
	}
	if n > 0 {
		s.observer.Created(first.Type, first.Queue, n)
	}
}

// observeFinished counts those of the jobs that the commit finished.
func (s *Store) observeFinished(jobs []*job.Job) {
	for _, j := range jobs {
		if j.State.Finished() {
			s.observer.Finished(j.Type, j.Queue, j.State)
		}
	}
}

func (s *Store) observeDecided(d *job.Decided) {
	for _, j := range d.Created {
		s.observer.Created(j.Type, j.Queue, 1)
	}
	s.observeFinished(d.Canceled)
}

// change is what a transaction did to one job.
type change struct {
	done     bool      // the job fitted; false: nothing was changed
	ended    job.State // the outcome that the job got, if it got one
	reopened bool      // its outcome was taken back
	kind     jobKind   // set where ended or reopened is
}

// jobKind is what jobs are counted by.
type jobKind struct {
	Type  string `bun:"type"`
	Queue string `bun:"queue"`
}

// read fills in the kind, within the transaction: a job that was changed may be gone by the time of
// a later look.
func (c *change) read(ctx context.Context, tx bun.Tx, id job.ID) error {
	if c.ended == "" && !c.reopened {
		return nil
	}
	return tx.NewSelect().Table("submissions").Column("type", "queue").Where("id = ?", id).Scan(ctx, &c.kind)
}

func (s *Store) observe(c change) {
	switch {
	case c.ended != "":
		s.observer.Finished(c.kind.Type, c.kind.Queue, c.ended)
	case c.reopened:
		s.observer.Reopened(c.kind.Type, c.kind.Queue)
	}
}
