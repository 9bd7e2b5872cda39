package app

import (
	"context"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// pollEvery is how often the ledger is asked, in one query, for all jobs that requests wait for.
const (
	pollEvery = 25 * time.Millisecond
	pollBatch = 1000
)

// jobWaiters lets any number of callers wait for jobs to finish at the price of one query for all
// of them.
type jobWaiters struct {
	finished func(ctx context.Context, ids []job.ID) ([]job.ID, error)
	mu       sync.Mutex
	waiting  map[job.ID][]chan struct{}
	polling  bool
}

func newJobWaiters(finished func(context.Context, []job.ID) ([]job.ID, error)) *jobWaiters {
	return &jobWaiters{finished: finished, waiting: map[job.ID][]chan struct{}{}}
}

func (w *jobWaiters) wait(ctx context.Context, id job.ID) error {
	done := make(chan struct{})
	w.mu.Lock()
	w.waiting[id] = append(w.waiting[id], done)
	if !w.polling {
		w.polling = true
		go w.poll()
	}
	w.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		w.leave(id, done)
		return ctx.Err()
	}
}

func (w *jobWaiters) leave(id job.ID, done chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.waiting[id]
	for i, c := range rest {
		if c == done {
			rest = append(rest[:i:i], rest[i+1:]...)
			break
		}
	}
	if len(rest) == 0 {
		delete(w.waiting, id)
	} else {
		w.waiting[id] = rest
	}
}

// poll asks until no request waits. After an error it asks again: the requests have timeouts of
// their own.
func (w *jobWaiters) poll() {
	for pause := pollEvery; ; time.Sleep(pause) {
		ids := w.ids()
		if ids == nil {
			return
		}
		pause = pollEvery
		for len(ids) > 0 {
			some := ids[:min(len(ids), pollBatch)]
			ids = ids[len(some):]
			if err := w.ask(some); err != nil {
				pause = time.Second
			}
		}
	}
}

func (w *jobWaiters) ids() []job.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.polling = false
		return nil
	}
	ids := make([]job.ID, 0, len(w.waiting))
	for id := range w.waiting {
		ids = append(ids, id)
	}
	return ids
}

func (w *jobWaiters) ask(ids []job.ID) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	finished, err := w.finished(ctx, ids)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range finished {
		for _, c := range w.waiting[id] {
			close(c)
		}
		delete(w.waiting, id)
	}
	return nil
}
