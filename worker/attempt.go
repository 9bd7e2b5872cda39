package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

// handlerResult is how a handler came back: with a result, an error, a panic, or not at all.
type handlerResult struct {
	result    json.RawMessage
	err       error
	stack     string // of a panic
	cause     error  // why its context ended; nil: it did not
	abandoned bool   // it did not return in time; its goroutine may still run
}

// run is one attempt: handler, settlement, answer. claimed is called once the attempt is known by
// its own name.
func (p *Pool) run(j *job.Job, claimed func()) error {
	ctx, cancel := context.WithCancelCause(p.base)
	defer cancel(nil)
	remove := p.running.add(job.AttemptKey{JobID: j.ID, Attempt: j.Attempt}, cancel)
	defer remove()
	claimed()
	p.deps.Observer.Claimed(j)
	if p.stopping.Load() { // claimed on the last moment: not worth beginning
		return p.settle(j, handlerResult{err: errStopping, cause: errStopping}, 0)
	}
	began := time.Now()
	end := p.attempt(ctx, j)
	p.progress.drop(job.AttemptKey{JobID: j.ID, Attempt: j.Attempt})
	if end.stack != "" {
		p.log.Error(
			"handler panicked",
			"job_id",
			j.ID,
			"type",
			j.Type,
			"attempt",
			j.Attempt,
			"err",
			end.err,
			"stack",
			end.stack,
		)
	}
	return p.settle(j, end, time.Since(began))
}

// attempt calls the handler and waits for it, but no longer than its context and the grace period
// allow.
func (p *Pool) attempt(ctx context.Context, j *job.Job) handlerResult {
	left := j.Deadline.Sub(p.deps.Clock.Now())
	if !j.Deadline.IsZero() && left <= 0 {
		return handlerResult{err: errDeadline, cause: errDeadline}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, j.Timeout, errTimeout)
	defer cancel()
	if !j.Deadline.IsZero() {
		ctx, cancel = context.WithTimeoutCause(ctx, left, errDeadline)
		defer cancel()
	}
	a := job.AttemptKey{JobID: j.ID, Attempt: j.Attempt}
	ctx = tasks.NewContext(ctx, tasks.Runtime{
		Progress: func(percent float64, message string) {
			p.progress.put(a, job.Progress{Percent: percent, Message: job.CleanText(message, job.MaxText)})
		},
		Logger: func() *slog.Logger {
			return p.log.With("job_id", j.ID, "type", j.Type, "attempt", j.Attempt)
		},
	})
	back := make(chan handlerResult, 1)
	go callHandler(ctx, p.deps.Handler, j, back)
	select {
	case e := <-back:
		e.cause = context.Cause(ctx)
		return e
	case <-ctx.Done():
	}
	return p.waitGrace(ctx, j, back)
}

// waitGrace gives a handler whose context ended the time to return. One that does not is left to
// itself, and counted.
func (p *Pool) waitGrace(ctx context.Context, j *job.Job, back <-chan handlerResult) handlerResult {
	cause := context.Cause(ctx)
	timer := time.NewTimer(p.cfg.CancelGrace)
	defer timer.Stop()
	select {
	case e := <-back:
		e.cause = cause
		return e
	case <-timer.C:
		p.deps.Observer.Abandoned(j)
		p.log.Error(
			"handler ignores its context, it was left to itself",
			"job_id",
			j.ID,
			"type",
			j.Type,
			"attempt",
			j.Attempt,
			"cause",
			cause,
		)
		return handlerResult{err: cause, cause: cause, abandoned: true}
	}
}

// callHandler calls the handler and sends how it came back; a panic is an error with its stack. It
// sends from a deferred call: a handler that ends its goroutine (runtime.Goexit) runs nothing but
// those, and must not leave the caller waiting.
func callHandler(ctx context.Context, h Handler, j *job.Job, back chan<- handlerResult) {
	e := handlerResult{err: errors.New("the handler ended its goroutine")}
	defer func() {
		if v := recover(); v != nil {
			e = handlerResult{err: fmt.Errorf("panic: %v", v), stack: string(debug.Stack())}
		}
		back <- e
	}()
	result, err := h(ctx, j)
	e = handlerResult{result: result, err: err}
}
