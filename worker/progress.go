package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// reportEvery is how often progress is written down: only what was said last in between.
const reportEvery = time.Second

// progressReports collects what handlers say about their progress.
type progressReports struct {
	ledger ledger
	log    *slog.Logger
	mu     sync.Mutex
	last   map[job.AttemptKey]job.Progress
}

func newProgressReports(l ledger, log *slog.Logger) *progressReports {
	return &progressReports{ledger: l, log: log, last: map[job.AttemptKey]job.Progress{}}
}

func (r *progressReports) put(a job.AttemptKey, p job.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[a] = p
}

// drop forgets an attempt that ended: its outcome says more.
func (r *progressReports) drop(a job.AttemptKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, a)
}

func (r *progressReports) run(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.flush(ctx)
		}
	}
}

func (r *progressReports) flush(ctx context.Context) {
	r.mu.Lock()
	list := make([]job.ProgressReport, 0, len(r.last))
	for a, p := range r.last {
		list = append(list, job.ProgressReport{AttemptKey: a, Progress: p})
	}
	clear(r.last)
	r.mu.Unlock()
	if len(list) == 0 {
		return
	}
	if err := r.ledger.ReportProgress(ctx, list); err != nil {
		r.log.DebugContext(ctx, "progress was not written down", "err", err)
	}
}
