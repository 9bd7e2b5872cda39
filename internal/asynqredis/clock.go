// Package asynqredis is a Redis client for asynq that writes the ledger's time where asynq writes
// the process's own.
//
// asynq offers no clock: its client, its server and its inspector take every time from time.Now,
// and the processes of a deployment then compare theirs in Redis. A task that one process puts off
// by ten seconds would wait for minutes where another one, whose clock is behind, moves due tasks.
package asynqredis

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Clock tells the ledger's time.
type Clock interface {
	Now() time.Time
	// Earliest is the earliest time that the ledger's clock may show.
	Earliest() time.Time
}

// Client knows asynq's scripts by the shape of their keys and arguments, and changes the times
// among these. A script that it does not know goes through as it is.
type Client struct {
	redis.UniversalClient
	clock Clock

	mu  sync.Mutex
	due map[string]int64 // when tasks that are about to be put off are due, by id, in Unix seconds
}

// maxDue bounds the tasks that are noted as put off while asynq never did so, since it lost them.
const maxDue = 100_000

// WithClock wraps the client that asynq is given.
func WithClock(c redis.UniversalClient, clock Clock) *Client {
	return &Client{UniversalClient: c, clock: clock, due: map[string]int64{}}
}

// EvalSha runs a script with the ledger's times.
func (c *Client) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	cmd := c.UniversalClient.EvalSha(ctx, sha, keys, c.retime(ctx, keys, args)...)
	// Else Eval comes next, with the same arguments.
	if isRetry(keys, args) && !redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		c.forget(args[0])
	}
	return cmd
}

// Eval is EvalSha for a script that Redis does not have yet.
func (c *Client) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	cmd := c.UniversalClient.Eval(ctx, script, keys, c.retime(ctx, keys, args)...)
	if isRetry(keys, args) {
		c.forget(args[0])
	}
	return cmd
}

// ZAddXX extends the leases of tasks, as the only times that asynq writes without a script.
func (c *Client) ZAddXX(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	if strings.HasSuffix(key, ":lease") {
		own := make([]redis.Z, len(members))
		for i, m := range members {
			own[i] = redis.Z{Score: float64(c.shifted(int64(m.Score))), Member: m.Member}
		}
		members = own
	}
	return c.UniversalClient.ZAddXX(ctx, key, members...)
}

// retime answers the arguments of a script with the ledger's times in their places.
func (c *Client) retime(ctx context.Context, keys []string, args []any) []any {
	if len(keys) == 0 || len(args) < 2 {
		return args
	}
	in := func(i int, suffix string) bool { return strings.HasSuffix(keys[i], suffix) }
	switch {
	case len(keys) == 2 && len(args) == 3 && in(1, ":pending"): // enqueue: message, id, now in nanoseconds
		return with(args, 2, c.clock.Now().UnixNano())
	case len(keys) == 2 && len(args) == 3 && in(1, ":scheduled"): // schedule: message, when, id
		return with(args, 1, c.scheduledAt(ctx, args[1]))
	case len(keys) == 2 && len(args) == 4 && in(1, ":pending"): // forward: now, prefix, now in nanoseconds, prefix
		return with(with(args, 0, c.clock.Earliest().Unix()), 2, c.clock.Now().UnixNano())
	case len(keys) == 4 && len(args) == 2 && in(3, ":lease"): // dequeue: end of the lease, prefix
		return with(args, 0, c.shift(args[0]))
	case isRetry(keys, args): // id, message, when, …
		return with(args, 2, c.retryAt(args[0], args[2]))
	case len(keys) == 9 && len(args) == 7 && in(3, ":archived"): // archive: id, message, now, oldest to keep, …
		return with(with(args, 2, c.shift(args[2])), 3, c.shift(args[3]))
	case len(keys) == 1 && (in(0, ":lease") || in(0, ":completed")): // expired leases, expired tasks: now, prefix, …
		return with(args, 0, c.shift(args[0]))
	}
	return args
}

// isRetry knows the script by which asynq puts a task off.
func isRetry(keys []string, args []any) bool {
	return len(keys) == 8 && len(args) == 6 && strings.HasSuffix(keys[3], ":retry")
}

// with is args with another one at i. The caller's are left as they are: asynq uses them again
// where Redis does not know the script.
func with(args []any, i int, value any) []any {
	own := make([]any, len(args))
	copy(own, args)
	own[i] = value
	return own
}

// shift turns a time of this process, in Unix seconds, into the ledger's.
func (c *Client) shift(value any) any {
	at, ok := value.(int64)
	if !ok {
		return value
	}
	return c.shifted(at)
}

func (c *Client) shifted(at int64) int64 {
	return at + int64(time.Until(c.clock.Now()).Round(time.Second)/time.Second)
}

// dueKey is the context's key for when a task is due.
type dueKey struct{}

// ScheduleAt lets the task that is enqueued with the context be due at a time of the ledger. asynq
// must be told to schedule it, for any time ahead.
func ScheduleAt(ctx context.Context, at time.Time) context.Context {
	return context.WithValue(ctx, dueKey{}, wholeSecond(at))
}

func (c *Client) scheduledAt(ctx context.Context, asked any) any {
	if at, ok := ctx.Value(dueKey{}).(int64); ok {
		return at
	}
	return c.shift(asked)
}

// RetryAt lets the task that is about to be put off, with whatever delay asynq is told, be due at a
// time of the ledger.
func (c *Client) RetryAt(taskID string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.due) >= maxDue {
		clear(c.due)
	}
	c.due[taskID] = wholeSecond(at)
}

func (c *Client) retryAt(id, asked any) any {
	name, _ := id.(string)
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.due[name]; ok {
		return at
	}
	return c.shift(asked)
}

func (c *Client) forget(id any) {
	name, _ := id.(string)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.due, name)
}

// wholeSecond rounds up: scores are whole seconds, and no job may start before its time.
func wholeSecond(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}
