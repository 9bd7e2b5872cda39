package tasks

import (
	"context"

	"github.com/waybill/waybill/internal/job"
)

type (
	infoKey     struct{}
	progressKey struct{}
)

// Info is the job that is being run, for its id, attempt, failures and labels: read only. It is nil outside of Type.Run.
func Info(ctx context.Context) *job.Job {
	j, _ := ctx.Value(infoKey{}).(*job.Job)
	return j
}

// WithProgress is for the runner: report is called with what the handler says through Progress, on the handler's goroutines.
func WithProgress(ctx context.Context, report func(job.Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, report)
}

// Progress tells how far the work is: percent from 0 to 100 (what lies outside is brought inside) and a short message. It
// is a courtesy for people who watch; where nobody listens it does nothing.
func Progress(ctx context.Context, percent float64, message string) {
	report, ok := ctx.Value(progressKey{}).(func(job.Progress))
	if !ok || report == nil {
		return
	}
	if !(percent >= 0) { // NaN too, which JSON cannot carry
		percent = 0
	}
	report(job.Progress{Percent: min(percent, 100), Message: job.CleanText(message, job.MaxText)})
}
