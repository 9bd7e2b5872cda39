// Package taskstest runs one handler in a test, without a server: the payload is encoded and
// decoded as on the way through the API and the worker, the middlewares run, and the outcome is
// what the worker would record. Package server/servertest runs a whole deployment instead.
//
// The package imports the standard library and package tasks only.
package taskstest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/tasks"
)

// States of an Outcome, as the worker records them.
const (
	Completed = "completed" // the handler answered a result
	Retry     = "retry"     // it failed, and the job is tried again
	Scheduled = "scheduled" // it was snoozed
	Archived  = "archived"  // it failed for good: no retries are left, or the error is permanent
)

// Outcome is what came of one attempt.
type Outcome[R any] struct {
	State    string
	Result   R
	Err      error         // what the handler returned; a panic is an error with its text
	Stack    string        // of a panic
	RetryIn  time.Duration // with Retry: what tasks.RetryAfter said; 0: by the type's backoff
	Snoozed  time.Duration // with Scheduled
	Progress []Progress    // in order
}

// Progress is one call of tasks.Progress.
type Progress struct {
	Percent float64
	Message string
}

// Option changes the attempt that a handler is run for.
type Option func(*attempt)

type attempt struct {
	ctx  context.Context
	info tasks.Info
	log  *slog.Logger
	mw   []tasks.Middleware
}

// Context runs the handler under ctx in place of the test's own, for one that is canceled.
func Context(ctx context.Context) Option { return func(a *attempt) { a.ctx = ctx } }

// Info lets set change what the handler is told of its job: attempt, failures, labels …
func Info(set func(*tasks.Info)) Option { return func(a *attempt) { set(&a.info) } }

// Logger is what tasks.Log answers. Without it lines go to the test's log.
func Logger(l *slog.Logger) Option { return func(a *attempt) { a.log = l } }

// Use wraps the handler as the server does; the first is the outermost.
func Use(mw ...tasks.Middleware) Option { return func(a *attempt) { a.mw = append(a.mw, mw...) } }

// Run runs one attempt of h with payload. It fails the test where the type or the payload could not
// be submitted; what the handler does is in the Outcome.
func Run[P, R any](t testing.TB, h tasks.Handler[P, R], payload P, opts ...Option) Outcome[R] {
	t.Helper()
	spec := h.Spec()
	if spec.Run == nil {
		t.Fatalf("%s has no handler", spec.Name)
	}
	raw, err := tasks.Encode(payload)
	if err != nil {
		t.Fatalf("encode the payload of %s: %v", spec.Name, err)
	}
	if spec.Check != nil {
		if fields, err := spec.Check(raw); err != nil || len(fields) > 0 {
			t.Fatalf("the payload would be refused: %v %v", fields, err)
		}
	}
	a := newAttempt(t, spec)
	for _, o := range opts {
		o(a)
	}
	var out Outcome[R]
	var mu sync.Mutex // a handler may report from several goroutines
	ctx := tasks.NewContext(a.ctx, tasks.Runtime{
		Progress: func(percent float64, message string) {
			mu.Lock()
			defer mu.Unlock()
			out.Progress = append(out.Progress, Progress{percent, message})
		},
		Logger: func() *slog.Logger { return a.log },
	})
	result, err := call(ctx, tasks.Chain(spec.Run, a.mw...), a.info, raw, &out.Stack)
	out.decide(a.info, result, err)
	return out
}

func newAttempt(t testing.TB, spec tasks.Spec) *attempt {
	a := &attempt{ctx: t.Context(), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	a.info = tasks.Info{Type: spec.Name, Queue: "default", Attempt: 1, MaxRetries: 25, CreatedAt: time.Now()}
	switch {
	case spec.MaxRetries == tasks.NoRetries:
		a.info.MaxRetries = 0
	case spec.MaxRetries > 0:
		a.info.MaxRetries = spec.MaxRetries
	}
	if spec.Queue != "" {
		a.info.Queue = spec.Queue
	}
	_, _ = rand.Read(a.info.ID[:]) // never fails
	return a
}

// call guards against a panic, as the worker does.
func call(
	ctx context.Context,
	run tasks.RawFunc,
	info tasks.Info,
	payload json.RawMessage,
	stack *string,
) (result json.RawMessage, err error) {
	defer func() {
		if v := recover(); v != nil {
			err, *stack = fmt.Errorf("panic: %v", v), string(debug.Stack())
		}
	}()
	return run(ctx, info, payload)
}

func (o *Outcome[R]) decide(info tasks.Info, result json.RawMessage, err error) {
	o.Err = err
	if err == nil {
		o.State, o.Err = Completed, decode(result, &o.Result)
		return
	}
	if d, ok := tasks.SnoozeFor(err); ok {
		o.State, o.Snoozed = Scheduled, d
		return
	}
	if tasks.IsPermanent(err) || info.Failures+1 > info.MaxRetries {
		o.State = Archived
		return
	}
	o.State = Retry
	o.RetryIn, _ = tasks.RetryDelay(err)
}

func decode(raw json.RawMessage, result any) error {
	switch r := result.(type) {
	case *json.RawMessage:
		*r = raw
		return nil
	case *tasks.None:
		return nil
	}
	if raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return errors.Join(errors.New("the result cannot be decoded into its own type"), err)
	}
	return nil
}
