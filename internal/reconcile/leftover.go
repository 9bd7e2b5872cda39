package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/redisx"
)

// leftoverScan is how many keys of Redis one pass looks at. At a pass a second a million keys take
// about 80 minutes.
const leftoverScan = 200

// scanCursors says for each master of Redis where its scan goes on.
type scanCursors struct {
	mu   sync.Mutex
	next map[string]uint64
}

// leftovers looks at a few keys of Redis and deletes the tasks whose job is finished or has a newer
// task: a job that was canceled long before it was due, or a task whose list was deleted by hand. A
// task that a worker has is left to its worker, and after it to expiredLeases.
func (r *Reconciler) leftovers(ctx context.Context) error {
	return redisx.ForEachMaster(ctx, r.redis, func(ctx context.Context, server *redis.Client) error {
		keys, err := r.scanned.scan(ctx, server)
		if err != nil {
			return fmt.Errorf("look for tasks without a job: %w", err)
		}
		var errs []error
		for _, queue := range r.cfg.Queues {
			errs = append(errs, r.removeLeftovers(ctx, queue, taskIDsOf(queue, keys)))
		}
		return errors.Join(errs...)
	})
}

// scan reads the next keys of one master.
func (s *scanCursors) scan(ctx context.Context, server *redis.Client) ([]string, error) {
	addr := server.Options().Addr
	s.mu.Lock()
	from := s.next[addr]
	s.mu.Unlock()
	keys, next, err := server.Scan(ctx, from, asynqredis.TaskKey("*", "*"), leftoverScan).Result()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next[addr] = next
	return keys, nil
}

// taskIDsOf picks the tasks of a queue out of a list of keys, each once.
func taskIDsOf(queue string, keys []string) (ids []string) {
	prefix := asynqredis.TaskKey(queue, "")
	for _, key := range keys {
		id, ok := strings.CutPrefix(key, prefix)
		if _, _, err := job.ParseTaskID(id); ok && err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (r *Reconciler) removeLeftovers(ctx context.Context, queue string, ids []string) error {
	open, err := r.openDeliveries(ctx, ids)
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool {
		jobID, delivery, _ := job.ParseTaskID(id) // taskIDsOf took only those that can be read
		d, ok := open[jobID]
		return ok && d.Number <= delivery
	})
	return r.runDeleteTasks(ctx, queue, ids, true)
}
