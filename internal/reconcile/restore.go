package reconcile

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
)

// restore puts back what Redis holds beside tasks, all of it derived from the ledger: the list of
// queues (a client that runs registers its queues only once, so that asynqmon would not find them
// after FLUSHALL) and the pauses.
func (r *Reconciler) restore(ctx context.Context) error {
	names := make([]any, len(r.cfg.Queues))
	for i, q := range r.cfg.Queues {
		names[i] = q
	}
	if err := r.redis.SAdd(ctx, asynqredis.QueuesKey, names...).Err(); err != nil {
		return err
	}
	kept, err := r.ledger.Queues(ctx)
	if err != nil {
		return err
	}
	byName := map[string]job.Queue{}
	for _, q := range kept {
		byName[q.Name] = q
	}
	for _, name := range r.cfg.Queues {
		if err := r.restorePause(ctx, name, byName[name]); err != nil {
			return err
		}
	}
	return nil
}

// restorePause makes Redis pause what the ledger has paused. A pause in Redis that the ledger does
// not know was set there by hand, and the ledger follows; unless it is older than the last resume,
// whose word did not reach Redis.
func (r *Reconciler) restorePause(ctx context.Context, name string, q job.Queue) error {
	key := asynqredis.PausedKey(name)
	if !q.PausedAt.IsZero() {
		return r.redis.SetNX(ctx, key, r.cfg.Clock.Now().Unix(), 0).Err()
	}
	text, err := r.redis.Get(ctx, key).Result()
	switch {
	case err == redis.Nil:
		return nil
	case err != nil && strings.Contains(err.Error(), "WRONGTYPE"): // checkKeys sets it aside
		return nil
	case err != nil:
		return err
	}
	since, _ := strconv.ParseInt(text, 10, 64)
	if time.Unix(since, 0).Before(q.ResumedAt.Truncate(time.Second)) {
		return r.redis.Del(ctx, key).Err()
	}
	r.adopted.Add(1)
	r.log.WarnContext(ctx, "a queue was paused in redis, the ledger follows", "queue", name)
	return r.ledger.Pause(ctx, name, "redis", "paused in Redis by hand")
}
