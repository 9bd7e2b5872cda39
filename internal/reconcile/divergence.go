package reconcile

import (
	"sync/atomic"
	"time"
)

// showFor is how long a difference stays in the metrics after it was found and repaired, so that a
// scrape sees it.
const showFor = 30 * time.Second

// divergence is the number of differences of one kind, for the metrics.
type divergence struct {
	now    atomic.Int64 // at the last look
	lately atomic.Int64 // found by a walk that does not look at everything each time
	until  atomic.Int64 // Unix nanoseconds; when lately is no longer shown
}

func newDivergences() map[string]*divergence {
	m := map[string]*divergence{}
	for _, kind := range []string{KindMissing, KindStuck, KindArchivedInRedis, KindGarbage, KindKey} {
		m[kind] = &divergence{}
	}
	return m
}

// set says what a look at everything found.
func (s *divergence) set(n int64) { s.now.Store(n) }

// add adds what a look at a part found.
func (s *divergence) add(n int) {
	if n == 0 {
		return
	}
	if s.over() {
		s.lately.Store(0)
	}
	s.lately.Add(int64(n))
	s.until.Store(time.Now().Add(showFor).UnixNano())
}

func (s *divergence) over() bool { return time.Now().UnixNano() > s.until.Load() }

func (s *divergence) clear() {
	s.now.Store(0)
	s.until.Store(0)
}

func (s *divergence) load() int64 {
	if s.over() {
		return s.now.Load()
	}
	return s.now.Load() + s.lately.Load()
}

func (r *Reconciler) recordFound(queue string, f found) {
	kinds := r.divergent[queue]
	kinds[KindMissing].add(len(f.missing))
	kinds[KindStuck].add(len(f.stuck))
	kinds[KindArchivedInRedis].add(len(f.archivedInRedis))
}
