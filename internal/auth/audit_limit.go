package auth

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/account"
)

// Bounds on audit entries that strangers can cause at will: for each source, and for the whole
// process.
var (
	entriesOfOne = Limit{Every: time.Minute, Burst: 30}
	entriesOfAll = Limit{Every: 200 * time.Millisecond, Burst: 1500}
)

// auditLimit decides which entries are written. It counts those that are not, and the next one that
// is tells how many.
type auditLimit struct {
	now     func() time.Time
	sources *cache[string, time.Time]

	mu      sync.Mutex
	all     time.Time
	skipped int
}

func newAuditLimit(now func() time.Time) *auditLimit {
	return &auditLimit{now: now, sources: newCache[string, time.Time](maxCached, now)}
}

// take reports whether an entry that source caused is written, and how many were not since the last
// one.
func (l *auditLimit) take(source string) (skipped int, ok bool) {
	var wait time.Duration
	now := l.now()
	l.sources.update(source, entriesOfOne.full(), func(empty time.Time) time.Time {
		empty, wait = entriesOfOne.take(empty, now)
		return empty
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if wait <= 0 {
		l.all, wait = entriesOfAll.take(l.all, now)
	}
	if wait > 0 {
		l.skipped++
		return 0, false
	}
	skipped, l.skipped = l.skipped, 0
	return skipped, true
}

// recordBounded is Record for what strangers can cause at will.
func (s *Service) recordBounded(ctx context.Context, l *auditLimit, source string, e account.AuditEntry) {
	skipped, ok := l.take(source)
	if !ok {
		return
	}
	if skipped > 0 {
		if e.Detail == nil {
			e.Detail = map[string]string{}
		}
		e.Detail["not_recorded"] = strconv.Itoa(skipped)
	}
	s.Record(ctx, e)
}

// RecordRefused writes down that the actor of e was refused something. Entries of one actor are
// bounded.
func (s *Service) RecordRefused(ctx context.Context, e account.AuditEntry) {
	e.Action = RequestRefused
	s.recordBounded(ctx, s.refusals, e.ActorID.String(), e)
}
