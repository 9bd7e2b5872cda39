package dispatch

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/job"
)

// restore puts back what Redis holds beside tasks, all of it derived from the ledger: the list of queues (a client that runs registers its
// queues only once, so that asynqmon would not find them after FLUSHALL) and the pauses.
func (a *Audit) restore(ctx context.Context) error {
	names := make([]any, len(a.cfg.Queues))
	for i, q := range a.cfg.Queues {
		names[i] = q
	}
	if err := a.redis.SAdd(ctx, "asynq:queues", names...).Err(); err != nil {
		return err
	}
	kept, err := a.ledger.Queues(ctx)
	if err != nil {
		return err
	}
	byName := map[string]job.Queue{}
	for _, q := range kept {
		byName[q.Name] = q
	}
	for _, name := range a.cfg.Queues {
		if err := a.restorePause(ctx, name, byName[name]); err != nil {
			return err
		}
	}
	return nil
}

// restorePause makes Redis pause what the ledger has paused. A pause in Redis that the ledger does not know was set there by hand, and the ledger
// follows; unless it is older than the last resume, whose word did not reach Redis.
func (a *Audit) restorePause(ctx context.Context, name string, q job.Queue) error {
	key := "asynq:{" + name + "}:paused"
	if !q.PausedAt.IsZero() {
		return a.redis.SetNX(ctx, key, a.d.clock.Now().Unix(), 0).Err()
	}
	text, err := a.redis.Get(ctx, key).Result()
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
		return a.redis.Del(ctx, key).Err()
	}
	a.adopted.Add(1)
	a.log.WarnContext(ctx, "a queue was paused in redis, the ledger follows", "queue", name)
	return a.ledger.Pause(ctx, name, "redis", "paused in Redis by hand")
}
