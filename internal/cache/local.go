package cache

import (
	"sync"
	"time"

	"github.com/waybill/waybill/internal/job"
)

const (
	recentBytes = 1 << 20         // of one of the two generations
	entry       = 16 << 10        // a larger job is left to Redis
	jobBytes    = 1 << 10         // what a job takes beside its payload and result, or more
	noteBytes   = 128             // what a place in the map takes
	missingFor  = 2 * time.Second // how long Redis is not asked for a copy that it did not have
)

// localCache is what this process read lately. A client that waits for a job asks for it again and
// again: while the job is open, Redis need not be asked for a copy that does not exist yet, and
// when it is completed, not at all. The cache has two generations: when the young one is full it
// becomes the old one, and the old one is dropped.
type localCache struct {
	now func() time.Time

	mu         sync.Mutex
	bytes      int // in young
	young, old map[job.ID]entries
}

type entries struct {
	job   *job.Job // nil: Redis had no copy
	until time.Time
}

func newLocalCache(now func() time.Time) *localCache {
	return &localCache{now: now, young: map[job.ID]entries{}}
}

// get answers a completed job, or whether Redis had no copy of it a moment ago, or neither.
func (r *localCache) get(id job.ID) (j *job.Job, missing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.young[id]
	if !ok {
		m, ok = r.old[id]
	}
	switch {
	case !ok || !r.now().Before(m.until):
		return nil, false
	case m.job == nil:
		return nil, true
	}
	own := *m.job // the caller's, but for what its slices and maps hold
	return &own, false
}

// keep remembers a completed job, for as long as Redis would.
func (r *localCache) keep(j *job.Job) {
	size := len(j.Payload) + len(j.Result)
	if size <= entry {
		own := *j
		r.put(j.ID, entries{job: &own, until: r.now().Add(keepFor)}, size+jobBytes)
	}
}

// missing remembers that Redis has no copy.
func (r *localCache) missing(id job.ID) { r.put(id, entries{until: r.now().Add(missingFor)}, 0) }

func (r *localCache) put(id job.ID, m entries, size int) {
	size += noteBytes
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes += size; r.bytes > recentBytes {
		r.young, r.old, r.bytes = make(map[job.ID]entries), r.young, size
	}
	r.young[id] = m
}
