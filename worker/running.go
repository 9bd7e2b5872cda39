package worker

import (
	"context"
	"errors"
	"sync"

	"github.com/waybill/waybill/internal/job"
)

// Why a handler's context ended.
var (
	errTimeout  = errors.New("timed out")
	errDeadline = errors.New("its deadline passed")
	errCanceled = errors.New("canceled")
	errStopping = errors.New("the worker stops")
	errLost     = errors.New("the job was given to another worker")
)

// runningAttempts knows what this process holds, from before the claim until after the settlement.
type runningAttempts struct {
	mu       sync.Mutex
	claiming map[job.ID]int
	attempts map[job.AttemptKey]context.CancelCauseFunc
	gone     chan struct{} // closed when something is held no more; nil: nothing waits for that
}

func newRunningAttempts() *runningAttempts {
	return &runningAttempts{claiming: map[job.ID]int{}, attempts: map[job.AttemptKey]context.CancelCauseFunc{}}
}

// claim notes that an answer to a claim is awaited: the ledger may show the job as ours before we
// know it.
func (r *runningAttempts) claim(id job.ID) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.claiming[id]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.claiming[id]--; r.claiming[id] == 0 {
			delete(r.claiming, id)
			r.changed()
		}
	}
}

func (r *runningAttempts) changed() {
	if r.gone != nil {
		close(r.gone)
		r.gone = nil
	}
}

func (r *runningAttempts) add(a job.AttemptKey, cancel context.CancelCauseFunc) (remove func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts[a] = cancel
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.attempts, a)
		r.changed()
	}
}

func (r *runningAttempts) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.attempts)
}

// held lists the attempts, as they stand before a heartbeat.
func (r *runningAttempts) held() map[job.AttemptKey]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := make(map[job.AttemptKey]bool, len(r.attempts))
	for a := range r.attempts {
		held[a] = true
	}
	return held
}

// knows reports whether an attempt is held, or its job's claim is being answered.
func (r *runningAttempts) knows(a job.AttemptKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attempts[a] != nil || r.claiming[a.JobID] > 0
}

// end ends the context of one attempt; one that is gone is no error.
func (r *runningAttempts) end(a job.AttemptKey, cause error) {
	r.mu.Lock()
	cancel := r.attempts[a]
	r.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
}

func (r *runningAttempts) endAll(cause error) {
	for a := range r.held() {
		r.end(a, cause)
	}
}

// wait returns true when nothing is held, false when ctx ends first.
func (r *runningAttempts) wait(ctx context.Context) bool {
	for {
		r.mu.Lock()
		if r.gone == nil {
			r.gone = make(chan struct{})
		}
		n, gone := len(r.attempts)+len(r.claiming), r.gone
		r.mu.Unlock()
		if n == 0 {
			return true
		}
		select {
		case <-gone:
		case <-ctx.Done():
			return false
		}
	}
}
