package worker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/waybill/waybill/internal/job"
)

const (
	// attemptLogRate and attemptLogBurst bound the lines that failures write, so that a type that
	// always fails does not fill a disk.
	attemptLogRate  = 50 // lines a second
	attemptLogBurst = 500
	maxLoggedError  = 300 // bytes of an error
)

// attemptLog writes one line for each attempt that ended. It holds no payload and no result.
type attemptLog struct {
	log     *slog.Logger
	limit   *rate.Limiter
	skipped atomic.Int64
}

func newAttemptLog(log *slog.Logger) *attemptLog {
	return &attemptLog{log: log, limit: rate.NewLimiter(attemptLogRate, attemptLogBurst)}
}

// settled writes down what became of an attempt: a failure that is tried again as a warning, an
// archived job as an error, a canceled one for information, all else for debugging.
func (w *attemptLog) settled(j *job.Job, done job.Settled, set *job.Settlement, took time.Duration) {
	ctx := context.Background()
	level, text := slog.LevelDebug, "attempt ended"
	switch {
	case done.State == job.Archived:
		level, text = slog.LevelError, "job archived"
	case set.Failed:
		level, text = slog.LevelWarn, "attempt failed"
	case done.State == job.Canceled:
		level, text = slog.LevelInfo, "job canceled"
	}
	if !w.log.Enabled(ctx, level) {
		return
	}
	if level >= slog.LevelWarn && !w.limit.Allow() {
		w.skipped.Add(1)
		return
	}
	attrs := []slog.Attr{
		slog.String("job_id", j.ID.String()),
		slog.String("type", j.Type),
		slog.String("queue", j.Queue),
		slog.Int("attempt", j.Attempt),
		slog.String("state", string(done.State)),
		slog.Duration("took", took),
	}
	if set.Error != nil {
		attrs = append(attrs, slog.String("err", job.CleanText(set.Error.Message, maxLoggedError)))
	}
	if done.State == job.Retry {
		attrs = append(attrs, slog.Time("next", done.RunAt))
	}
	if n := w.skipped.Swap(0); n > 0 {
		attrs = append(attrs, slog.Int64("lines_left_out", n))
	}
	w.log.LogAttrs(ctx, level, text, attrs...)
}
