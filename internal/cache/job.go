// Package cache keeps copies, in this process and in Redis, that spare the ledger a question. A
// copy is never the truth: only what cannot change is kept, so that no copy has to be taken back,
// and everything works the same, slower, without Redis.
package cache

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/job"
)

const (
	prefix       = "waybill:job:"
	keepFor      = 5 * time.Minute
	maxBytes     = 64 << 10              // a larger job is read from the ledger
	redisTimeout = 50 * time.Millisecond // a cache that is slower than that is none
	backAfter    = time.Second           // when a Redis that did not answer is asked again
)

// Jobs keeps completed jobs: the one state that is final. Archived and canceled jobs can be
// retried, so they are not kept; nor are those whose payload or result Redis must not see.
type Jobs struct {
	redis   redis.UniversalClient
	private func(taskType string) bool
	log     *slog.Logger
	recent  *localCache
	began   time.Time
	down    atomic.Int64 // nanoseconds since began, by the monotonic clock, until when Redis is not asked
}

// NewJobs makes the cache; private names the task types that are never kept.
func NewJobs(c redis.UniversalClient, private func(string) bool, log *slog.Logger) *Jobs {
	return &Jobs{redis: c, private: private, log: log, recent: newLocalCache(time.Now), began: time.Now()}
}

// copied is a job with its JSON as plain bytes: encoding/json would change white space inside
// json.RawMessage.
type copied struct {
	Job     job.Job
	Payload []byte
	Result  []byte
}

// Job answers the copy of a completed job, or nil.
func (c *Jobs) Job(ctx context.Context, id job.ID) *job.Job {
	j, missing := c.recent.get(id)
	if j != nil || missing || c.isDown() {
		return j
	}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	b, err := c.redis.Get(ctx, prefix+id.String()).Bytes()
	if err != nil {
		c.failed(err)
		return nil
	}
	var k copied
	if err := json.Unmarshal(b, &k); err != nil || k.Job.ID != id || k.Job.State != job.Completed {
		return nil // not written by us
	}
	k.Job.Payload, k.Job.Result = k.Payload, k.Result
	c.recent.keep(&k.Job)
	return &k.Job
}

// Keep copies j, as the ledger has it, if it is completed. It does not wait.
func (c *Jobs) Keep(j *job.Job) {
	if j.State != job.Completed || c.private(j.Type) || len(j.Payload)+len(j.Result) > maxBytes {
		c.recent.missing(j.ID)
		return
	}
	c.recent.keep(j)
	if c.isDown() {
		return
	}
	k := copied{Job: *j, Payload: j.Payload, Result: j.Result}
	k.Job.Payload, k.Job.Result = nil, nil
	b, err := json.Marshal(k)
	if err != nil {
		c.log.Warn("job cannot be copied to the cache", "job_id", j.ID, "err", err)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
		defer cancel()
		if err := c.redis.Set(ctx, prefix+j.ID.String(), b, keepFor).Err(); err != nil {
			c.failed(err)
		}
	}()
}

func (c *Jobs) isDown() bool { return int64(time.Since(c.began)) < c.down.Load() }

func (c *Jobs) failed(err error) {
	if err != redis.Nil {
		c.down.Store(int64(time.Since(c.began) + backAfter))
	}
}
