package asynqredis

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/batch"
)

// BatchingServerClient is a Redis client for asynq's server. asynq dequeues and finishes its tasks
// one by one, a script for each. This client runs one script for all tasks that there are at the
// moment. It recognises asynq's scripts by their keys and passes on every other command, so that a
// version of asynq with other scripts would be slower, not wrong.
type BatchingServerClient struct {
	redis.UniversalClient // for commands that are passed on
	cfg                   ServerClientConfig
	busy                  atomic.Int64 // tasks that asynq was given and that are not done

	// Of the goroutine that dequeues alone.
	dequeued map[string][]dequeuedTask // tasks that Redis gave and asynq was not given yet, by queue
	empty    map[string]bool           // queues found empty in a row

	mu            sync.Mutex
	finishers     map[string]*batch.Batcher[finishedTask, struct{}]
	requeued      map[string]bool // tasks that went back to their queue, and that asynq will call finished
	requeuedCount atomic.Int64    // how many of them; saves the lock where there are none
}

// ServerClientConfig says how a BatchingServerClient dequeues. All fields are needed but the
// functions.
type ServerClientConfig struct {
	Scripts  redis.UniversalClient // for the batching scripts; a client that does not pipeline
	Notifier *QueueNotifier
	Queues   int // how many queues the server serves
	Slots    int // tasks that the server works on at once
	// MayDequeue is how many tasks may be dequeued at once. At 0 no task is dequeued, and those
	// that are dequeued and not begun are requeued. Nil: MaxDequeueBatch.
	MayDequeue func() int
	// Yields reports whether other workers shall move due retries to the queue first. Nil: never.
	Yields func() bool
}

type dequeuedTask struct{ id, message string }

type finishedTask struct {
	id, key, day, expiry string
}

const (
	// MaxDequeueBatch is how many tasks one script dequeues or finishes. That many block Redis for
	// about half a millisecond.
	MaxDequeueBatch = 128
	// yieldDelay is how much later than other workers one that yields moves due retries.
	yieldDelay = time.Second
)

// NewBatchingServerClient makes one. Commands that it passes on go through the client given, which
// may pipeline.
func NewBatchingServerClient(c redis.UniversalClient, cfg ServerClientConfig) *BatchingServerClient {
	if cfg.MayDequeue == nil {
		cfg.MayDequeue = func() int { return MaxDequeueBatch }
	}
	if cfg.Yields == nil {
		cfg.Yields = func() bool { return false }
	}
	return &BatchingServerClient{
		UniversalClient: c,
		cfg:             cfg,
		dequeued:        map[string][]dequeuedTask{},
		empty:           map[string]bool{},
		finishers:       map[string]*batch.Batcher[finishedTask, struct{}]{},
		requeued:        map[string]bool{},
	}
}

// EvalSha recognises three of asynq's scripts by their keys: dequeue (pending, paused, active,
// lease), forward (scheduled or retry, pending) and done (active, lease, task, processed today,
// processed).
func (c *BatchingServerClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	switch {
	case len(keys) == 4 && len(args) == 2 && strings.HasSuffix(keys[0], ":pending") &&
		strings.HasSuffix(keys[1], ":paused"):
		return c.dequeue(ctx, keys, args)
	case len(keys) == 2 && strings.HasSuffix(keys[1], ":pending") &&
		(strings.HasSuffix(keys[0], ":scheduled") || strings.HasSuffix(keys[0], ":retry")):
		return c.forward(ctx, sha, keys, args)
	case len(keys) == 5 && len(args) == 3 && strings.HasSuffix(keys[0], ":active") &&
		strings.HasSuffix(keys[4], ":processed"):
		return c.finish(ctx, keys, args)
	default:
		return c.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
}

func answered(ctx context.Context, value any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetVal(value)
	return cmd
}

func failedWith(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(err)
	return cmd
}

// queueOf reads the queue's name out of a key like asynq:{default}:pending.
func queueOf(key string) string {
	_, rest, _ := strings.Cut(key, "{")
	name, _, _ := strings.Cut(rest, "}")
	return name
}
