package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// recorder is what the clients know: what they asked for, every answer of 2xx, and every answer
// that was none and should have been better.
type recorder struct {
	mu         sync.Mutex
	orders     map[string]*order
	complaints []string
	refusals   int           // 503 and 429
	broken     int           // requests without an answer
	slowest    time.Duration // answer to a submission
}

func newRecorder() *recorder { return &recorder{orders: map[string]*order{}} }

func (b *recorder) add(list ...*order) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range list {
		b.orders[o.ref] = o
	}
}

// promised writes down that a submission was answered with this id.
func (b *recorder) promised(o *order, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(o.ids) == 0 {
		o.answeredAt = time.Now()
	}
	o.ids = append(o.ids, id)
}

func (b *recorder) cancelSent(o *order) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o.cancels = true
}

// read writes down what an answer said of a job's state.
func (b *recorder) read(o *order, state job.State, cancel bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cancel && state == job.Canceled && o.canceledAt.IsZero() {
		o.canceledAt = time.Now()
	}
	if state.Finished() {
		if o.seen != "" && o.seen != state {
			b.complaints = append(
				b.complaints,
				fmt.Sprintf("job %s was answered as %s and later as %s", o.ids[0], o.seen, state),
			)
		}
		o.seen = state
	}
}

func (b *recorder) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text := fmt.Sprintf(format, args...); len(b.complaints) < 50 && !slices.Contains(b.complaints, text) {
		b.complaints = append(b.complaints, text)
	}
}

func (b *recorder) count(refusals, broken int, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusals += refusals
	b.broken += broken
	b.slowest = max(b.slowest, took)
}

func (b *recorder) snapshot() (orders []order, complaints []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.orders {
		c := *o
		c.ids = slices.Clone(o.ids)
		orders = append(orders, c)
	}
	slices.SortFunc(orders, func(x, y order) int { return strings.Compare(x.ref, y.ref) })
	return orders, slices.Clone(b.complaints)
}
