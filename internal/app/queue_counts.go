package app

import (
	"context"
	"sync"
	"time"

	"github.com/waybill/waybill/api"
	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
)

const (
	countsHold    = 2 * time.Second  // how old figures may be at least
	countsShare   = 20               // figures are held this many times as long as it took to count them
	countsTimeout = 10 * time.Second // for the ledger
	redisTimeout  = time.Second
)

// queueCounts counts jobs for all who ask at once: no request counts for itself, and however many
// jobs there are, counting takes no more than a twentieth of one database connection's time.
type queueCounts struct {
	ledger *instrumentedLedger
	stats  *asynqredis.Stats
	queues []string
	log    logger

	counting sync.Mutex // held by who counts
	mu       sync.Mutex
	last     *api.QueueFigures
	until    time.Time
}

// Queues reads the pauses, which are never old.
func (f *queueCounts) Queues(ctx context.Context) ([]job.Queue, error) { return f.ledger.Queues(ctx) }

// QueueFigures returns the counts of the last time. If they are too old, the request that finds
// them so counts again; requests that come meanwhile get the old ones, if there are any.
func (f *queueCounts) QueueFigures(ctx context.Context) (*api.QueueFigures, error) {
	last, fresh := f.known()
	if fresh {
		return last, nil
	}
	if last == nil {
		f.counting.Lock()
	} else if !f.counting.TryLock() {
		return last, nil
	}
	defer f.counting.Unlock()
	if last, fresh = f.known(); fresh { // another request counted meanwhile
		return last, nil
	}
	began := time.Now()
	next, err := f.count(context.WithoutCancel(ctx)) // for others too
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last, f.until = next, time.Now().Add(max(countsHold, countsShare*time.Since(began)))
	return next, nil
}

func (f *queueCounts) known() (last *api.QueueFigures, fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, time.Now().Before(f.until)
}

func (f *queueCounts) count(ctx context.Context) (out *api.QueueFigures, err error) {
	ctx, cancel := context.WithTimeout(ctx, countsTimeout)
	defer cancel()
	out = &api.QueueFigures{}
	if out.At, err = f.ledger.Now(ctx); err != nil {
		return nil, err
	}
	if out.Open, err = f.ledger.OpenCounts(ctx); err != nil {
		return nil, err
	}
	if out.Archived, err = f.ledger.ArchivedCounts(ctx); err != nil {
		return nil, err
	}
	if out.Workers, err = f.ledger.Workers(ctx); err != nil {
		return nil, err
	}
	out.Redis = f.redis(ctx)
	return out, nil
}

// redis answers nothing where Redis does not: the ledger's figures stand without it.
func (f *queueCounts) redis(ctx context.Context) map[string]api.RedisQueue {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	list, err := f.stats.Queues(ctx, f.queues)
	if err != nil {
		f.log.DebugContext(ctx, "redis gives no figures", "err", err)
		return nil
	}
	out := make(map[string]api.RedisQueue, len(list))
	for _, q := range list {
		out[q.Queue] = api.RedisQueue{
			Pending:   q.Pending,
			Active:    q.Active,
			Scheduled: q.Scheduled,
			Retry:     q.Retry,
			Archived:  q.Archived,
			Completed: q.Completed,
			Paused:    q.Paused,
		}
	}
	return out
}
