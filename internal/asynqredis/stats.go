package asynqredis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/job"
)

// QueueStats is what Redis holds of a queue. What users are told comes from the ledger.
type QueueStats struct {
	Queue     string
	Pending   int64
	Active    int64
	Scheduled int64
	Retry     int64
	Archived  int64
	Completed int64
	Processed int64 // since Redis was empty
	Failed    int64 // since Redis was empty
	Paused    bool
	Latency   time.Duration // the age of the oldest pending task; 0 if none is pending
}

// Stats reads what Redis holds.
type Stats struct {
	redis redis.UniversalClient
	clock Clock
}

// NewStats makes one. The clock is that by which tasks were enqueued.
func NewStats(c redis.UniversalClient, clock Clock) *Stats { return &Stats{redis: c, clock: clock} }

// Size is how many tasks the queue holds, finished ones that Redis still shows included.
func (f QueueStats) Size() int64 {
	return f.Pending + f.Active + f.Scheduled + f.Retry + f.Archived + f.Completed
}

// Queues reads the statistics of these queues and of all others that asynq knows, by name: three
// round trips, whatever the queues hold, and no task is decoded, so that a broken one breaks
// nothing. Names that are not ones of ours are left out.
func (s *Stats) Queues(ctx context.Context, queues []string) ([]QueueStats, error) {
	known, err := s.redis.SMembers(ctx, QueuesKey).Result()
	if err != nil {
		return nil, fmt.Errorf("read the names of the queues: %w", err)
	}
	queues = slices.Concat(queues, slices.DeleteFunc(known, func(q string) bool { return !queueName(q) }))
	slices.Sort(queues)
	queues = slices.Compact(queues)
	out, oldest, err := s.counts(ctx, queues)
	if err != nil {
		return nil, err
	}
	return out, s.addLatency(ctx, out, oldest)
}

// queueName keeps what others may have put among asynq's queues out of our labels and keys.
func queueName(q string) bool {
	for _, r := range q {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-' {
			return false
		}
	}
	return q != "" && len(q) <= job.MaxQueueName
}

type countReplies struct {
	pending, active, scheduled, retry, archived, completed, paused *redis.IntCmd
	processed, failed, oldest                                      *redis.StringCmd
}

// counts asks for everything in one pipeline. It answers the id of each queue's oldest pending
// task, too.
func (s *Stats) counts(ctx context.Context, queues []string) (out []QueueStats, oldest []string, err error) {
	replies := make([]countReplies, len(queues))
	err = s.pipeline(ctx, func(p redis.Pipeliner) {
		for i, q := range queues {
			k := QueuePrefix(q)
			replies[i] = countReplies{
				pending: p.LLen(
					ctx,
					k+"pending",
				), active: p.LLen(ctx, k+"active"), scheduled: p.ZCard(ctx, k+"scheduled"),
				retry: p.ZCard(
					ctx,
					k+"retry",
				), archived: p.ZCard(ctx, k+"archived"), completed: p.ZCard(ctx, k+"completed"),
				paused: p.Exists(ctx, k+"paused"), processed: p.Get(ctx, k+"processed"), failed: p.Get(ctx, k+"failed"),
				oldest: p.LIndex(ctx, k+"pending", -1),
			}
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the queues' figures: %w", err)
	}
	out, oldest = make([]QueueStats, len(queues)), make([]string, len(queues))
	for i, r := range replies {
		out[i] = QueueStats{
			Queue:     queues[i],
			Pending:   r.pending.Val(),
			Active:    r.active.Val(),
			Scheduled: r.scheduled.Val(),
			Retry:     r.retry.Val(),
			Archived:  r.archived.Val(),
			Completed: r.completed.Val(),
			Paused:    r.paused.Val() > 0,
			Processed: number(r.processed),
			Failed:    number(r.failed),
		}
		oldest[i] = r.oldest.Val()
	}
	return out, oldest, nil
}

func (s *Stats) addLatency(ctx context.Context, out []QueueStats, oldest []string) error {
	since := make([]*redis.StringCmd, len(out))
	err := s.pipeline(ctx, func(p redis.Pipeliner) {
		for i, f := range out {
			if oldest[i] != "" {
				since[i] = p.HGet(ctx, TaskKey(f.Queue, oldest[i]), "pending_since")
			}
		}
	})
	if err != nil {
		return fmt.Errorf("read the age of the oldest tasks: %w", err)
	}
	now := s.clock.Now()
	for i, reply := range since {
		if reply != nil && number(reply) > 0 { // else a worker has taken it meanwhile
			out[i].Latency = max(0, now.Sub(time.Unix(0, number(reply))))
		}
	}
	return nil
}

// sampled is how many tasks of each of a queue's lists stand for the others.
const sampled = 10

// QueueMemory estimates how many bytes each of these queues takes in Redis, from samples. It costs
// Redis more than Figures: ask seldom.
func (s *Stats) QueueMemory(ctx context.Context, figures []QueueStats) (map[string]int64, error) {
	out := make(map[string]int64, len(figures))
	for _, f := range figures {
		n, err := s.queueMemory(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("estimate a queue's memory: %w", err)
		}
		out[f.Queue] = n
	}
	return out, nil
}

func (s *Stats) queueMemory(ctx context.Context, f QueueStats) (total int64, err error) {
	lists := map[string]int64{
		"pending":   f.Pending,
		"active":    f.Active,
		"scheduled": f.Scheduled,
		"retry":     f.Retry,
		"archived":  f.Archived,
		"completed": f.Completed,
	}
	own, members := map[string]*redis.IntCmd{}, map[string]*redis.StringSliceCmd{}
	err = s.pipeline(ctx, func(p redis.Pipeliner) {
		for name, n := range lists {
			key := QueuePrefix(f.Queue) + name
			switch {
			case n == 0:
				continue
			case name == "pending" || name == "active":
				members[name] = p.LRange(ctx, key, 0, sampled-1)
			default:
				members[name] = p.ZRange(ctx, key, 0, sampled-1)
			}
			own[name] = p.MemoryUsage(ctx, key)
		}
	})
	if err != nil {
		return 0, err
	}
	for name, m := range members {
		each, err := s.taskMemory(ctx, f.Queue, m.Val())
		if err != nil {
			return 0, err
		}
		total += own[name].Val() + each*lists[name]
	}
	return total, nil
}

// taskMemory is the mean of some tasks' sizes, in bytes; those that are gone meanwhile don't count.
func (s *Stats) taskMemory(ctx context.Context, queue string, ids []string) (mean int64, err error) {
	var sizes []*redis.IntCmd
	err = s.pipeline(ctx, func(p redis.Pipeliner) {
		for _, id := range ids {
			sizes = append(sizes, p.MemoryUsage(ctx, TaskKey(queue, id)))
		}
	})
	n := int64(0)
	for _, size := range sizes {
		if size.Val() > 0 {
			mean += size.Val()
			n++
		}
	}
	return mean / max(n, 1), err
}

// pipeline sends what fill asks for in one round trip. What is not there is no error.
func (s *Stats) pipeline(ctx context.Context, fill func(redis.Pipeliner)) error {
	p := s.redis.Pipeline()
	fill(p)
	if p.Len() == 0 {
		return nil
	}
	cmds, err := p.Exec(ctx)
	if err == nil || !errors.Is(err, redis.Nil) {
		return err
	}
	for _, c := range cmds { // Exec answers the first error only
		if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	return nil
}

func number(c *redis.StringCmd) int64 {
	n, _ := strconv.ParseInt(c.Val(), 10, 64)
	return n
}
