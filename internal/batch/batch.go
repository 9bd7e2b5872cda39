// Package batch is group commit: many callers share one round trip. While one flush runs, the calls
// that arrive collect for the next; a second flush starts beside it only once enough have collected
// to be worth a round trip of their own. There is no timer, so that a lone call is not delayed.
package batch

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// Flush answers one Result for each input, in order. An error is that of the whole batch.
type Flush[In, Out any] func(ctx context.Context, in []In) ([]Result[Out], error)

// Result is what became of one input.
type Result[Out any] struct {
	Value Out
	Err   error
}

// Config bounds a Batcher.
type Config struct {
	Max         int           // inputs in one flush; default 500
	Concurrency int           // flushes on their way at once; default 2
	Worth       int           // inputs that make a flush beside another one worth its cost; default 64
	Waiting     int           // callers that may wait; more are refused with job.CodeUnavailable; default 20,000
	Timeout     time.Duration // of one flush; default 20 s
	Observe     func(n int)   // called with the size of each flush; may be nil
}

// Batcher is safe for concurrent use.
type Batcher[In, Out any] struct {
	cfg   Config
	flush Flush[In, Out]

	mu      sync.Mutex
	queue   []call[In, Out]
	spare   []call[In, Out] // room for a queue: that of a flush which has ended
	running int
	idle    sync.Cond
}

type call[In, Out any] struct {
	in  In
	out chan Result[Out] // holds one, so that an answer never waits for a caller who left
}

// New makes a Batcher that hands what it collects to flush.
func New[In, Out any](cfg Config, flush Flush[In, Out]) *Batcher[In, Out] {
	b := &Batcher[In, Out]{cfg: cfg, flush: flush}
	b.cfg.Max = orDefault(cfg.Max, 500)
	b.cfg.Concurrency = orDefault(cfg.Concurrency, 2)
	b.cfg.Worth = orDefault(cfg.Worth, 64)
	b.cfg.Waiting = orDefault(cfg.Waiting, 20_000)
	b.cfg.Timeout = orDefault(cfg.Timeout, 20*time.Second)
	b.idle.L = &b.mu
	return b
}

func orDefault[T int | time.Duration](v, d T) T {
	if v > 0 {
		return v
	}
	return d
}

// Do hands one input over and waits for its result. If ctx ends first, the input is flushed all the
// same and its outcome is unknown to the caller.
func (b *Batcher[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	out := make(chan Result[Out], 1)
	if err := b.enqueue(&in, out); err != nil {
		var none Out
		return none, err
	}
	select {
	case r := <-out:
		return r.Value, r.Err
	case <-ctx.Done():
		var none Out
		return none, ctx.Err()
	}
}

func (b *Batcher[In, Out]) enqueue(in *In, out chan Result[Out]) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) >= b.cfg.Waiting {
		return job.Unavailable("too many requests are waiting for the ledger", nil)
	}
	if b.queue == nil {
		b.queue, b.spare = b.spare, nil
	}
	b.queue = append(b.queue, call[In, Out]{*in, out})
	if b.running == 0 || b.running < b.cfg.Concurrency && len(b.queue) >= b.cfg.Worth {
		b.running++
		go b.drain()
	}
	return nil
}

// Wait returns when everything handed over before is flushed.
func (b *Batcher[In, Out]) Wait() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.running > 0 {
		b.idle.Wait()
	}
}

// drain flushes until nothing is left that is worth it. First it lets those run who are ready to:
// they may be about to call.
func (b *Batcher[In, Out]) drain() {
	for {
		runtime.Gosched()
		calls := b.take()
		if calls == nil {
			return
		}
		if b.cfg.Observe != nil {
			b.cfg.Observe(len(calls))
		}
		b.run(calls)
		b.keep(calls)
	}
}

// keep keeps the room of a flush for the next ones.
func (b *Batcher[In, Out]) keep(calls []call[In, Out]) {
	clear(calls) // inputs are released as early as possible
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spare == nil && cap(calls) <= b.cfg.Max {
		b.spare = calls[:0]
	}
}

func (b *Batcher[In, Out]) take() []call[In, Out] {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.queue), b.cfg.Max)
	if n == 0 || b.running > 1 && n < b.cfg.Worth { // the other flush takes the rest
		b.running--
		b.idle.Broadcast()
		return nil
	}
	calls := b.queue[:n:n]
	if n == len(b.queue) {
		calls, b.queue = b.queue, nil
	} else {
		b.queue = b.queue[n:]
	}
	return calls
}

// run flushes calls. Where the batch as a whole fails for a reason that may lie in one of them, it
// looks for that one.
func (b *Batcher[In, Out]) run(calls []call[In, Out]) {
	results, err := b.try(calls)
	if err == nil {
		answer(calls, results)
		return
	}
	search := &search{hopeful: maxCulprits}
	b.split(calls, err, search)
}

// maxCulprits is how many inputs in a row may fail alone before the reason is taken to be none of
// theirs: a ledger that refuses everything is not asked about each input.
const maxCulprits = 3

// search is for the inputs that a batch failed for.
type search struct{ hopeful int }

// split tries halves, until each culprit is alone: no input fails for another one's sake.
func (b *Batcher[In, Out]) split(calls []call[In, Out], err error, s *search) {
	switch {
	case len(calls) == 1:
		b.alone(calls, err, s)
		return
	case !divisible(err):
		refuseAll(calls, err)
		return
	}
	for _, half := range [][]call[In, Out]{calls[:len(calls)/2], calls[len(calls)/2:]} {
		if s.hopeful == 0 {
			refuseAll(half, job.Unavailable("the ledger cannot do this now", err)) // nothing is proven of these
			continue
		}
		results, err := b.try(half)
		if err == nil {
			s.hopeful = maxCulprits
			answer(half, results)
			continue
		}
		b.split(half, err, s)
	}
}

// alone has an input that failed by itself tried once more before its content is blamed.
func (b *Batcher[In, Out]) alone(one []call[In, Out], err error, s *search) {
	if job.FaultOf(err) == job.FaultContent {
		results, again := b.try(one)
		if again == nil {
			answer(one, results)
			return
		}
		err = again
	}
	s.hopeful--
	refuseAll(one, err)
}

// divisible reports whether a batch that failed with err may succeed without one of its inputs: the
// ledger says so, or the error is a bug of ours that some input may bring about.
func divisible(err error) bool {
	return job.FaultOf(err) != job.FaultNone || !errors.Is(err, job.ErrUnavailable) && !errors.Is(err, errPanic)
}

func answer[In, Out any](calls []call[In, Out], results []Result[Out]) {
	for i, c := range calls {
		c.out <- results[i]
	}
}

func refuseAll[In, Out any](calls []call[In, Out], err error) {
	for _, c := range calls {
		c.out <- Result[Out]{Err: err}
	}
}

var errPanic = errors.New("panic in a flush")

func (b *Batcher[In, Out]) try(calls []call[In, Out]) (results []Result[Out], err error) {
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	in := make([]In, len(calls))
	for i, c := range calls {
		in[i] = c.in
	}
	results, err = b.flush(ctx, in)
	if err == nil && len(results) != len(in) {
		err = fmt.Errorf("%w: %d results for %d inputs", errPanic, len(results), len(in))
	}
	return results, err
}
