package auth

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/job"
)

const (
	noteEvery  = time.Minute // a key that is used all the time is written down once in this
	maxPending = 10_000      // keys that wait to be written down
	touchBatch = 500         // keys in one statement
)

// lastUsedRecorder notes what was used, and writes it down later, off the way of the request that
// used it.
type lastUsedRecorder struct {
	now   func() time.Time
	write func(ctx context.Context, ids []job.ID, at time.Time) error
	noted *cache[job.ID, struct{}]

	mu      sync.Mutex
	pending map[job.ID]struct{}
}

func newLastUsedRecorder(
	now, pace func() time.Time,
	write func(context.Context, []job.ID, time.Time) error,
) *lastUsedRecorder {
	return &lastUsedRecorder{
		now:     now,
		write:   write,
		noted:   newCache[job.ID, struct{}](maxCached, pace),
		pending: map[job.ID]struct{}{},
	}
}

// note costs next to nothing when id was noted within the last minute.
func (u *lastUsedRecorder) note(id job.ID) {
	if _, ok := u.noted.get(id); ok {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.pending) < maxPending { // beyond that the next use is early enough
		u.noted.put(id, struct{}{}, noteEvery)
		u.pending[id] = struct{}{}
	}
}

// flush writes down what was noted. What cannot be written is noted again when it is used again.
func (u *lastUsedRecorder) flush(ctx context.Context) error {
	u.mu.Lock()
	ids := make([]job.ID, 0, len(u.pending))
	for id := range u.pending {
		ids = append(ids, id)
	}
	clear(u.pending)
	u.mu.Unlock()
	// In one order, so that two processes that write the same keys don't wait for each other in a
	// circle.
	slices.SortFunc(ids, func(a, b job.ID) int { return slices.Compare(a[:], b[:]) })
	at := u.now().UTC().Truncate(time.Second)
	for batch := range slices.Chunk(ids, touchBatch) {
		if err := u.write(ctx, batch, at); err != nil {
			for _, id := range ids {
				u.noted.drop(id)
			}
			return err
		}
	}
	return nil
}
