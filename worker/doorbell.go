package worker

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// asynq polls: each of its servers asks Redis for every queue, sleeps, and asks again, so that an idle worker either costs Redis much or picks
// work up late. The doorbell stands between: a queue that was found empty is not asked again until its bell rings (dispatch publishes
// one message after it sent something) or pollEvery has passed, whichever server of this process found it empty.
const (
	pollEvery    = time.Second            // a bell can be lost; a poll finds what it announced
	forwardEvery = 500 * time.Millisecond // how often due tasks are moved to their queues, for the whole process
	errorPause   = 250 * time.Millisecond // before asking a Redis again that does not answer
)

// doorbell is shared by all lanes of a process.
type doorbell struct {
	mu     sync.Mutex
	queues map[string]*gate
	zsets  map[string]time.Time // when due tasks of a sorted set were last moved
	wake   chan struct{}        // closed and replaced at every ring
	closed bool
}

type gate struct {
	rings   uint64 // bells so far
	empty   bool   // found empty, and no bell since
	emptyAt time.Time
}

func newDoorbell() *doorbell {
	return &doorbell{queues: map[string]*gate{}, zsets: map[string]time.Time{}, wake: make(chan struct{})}
}

func (d *doorbell) gate(queue string) *gate {
	g := d.queues[queue]
	if g == nil {
		g = &gate{}
		d.queues[queue] = g
	}
	return g
}

// ring says that a queue may have work; the empty name stands for all of them.
func (d *doorbell) ring(queue string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, g := range d.queues {
		if queue == "" || queue == name {
			g.rings++
			g.empty = false
		}
	}
	d.wakeAll()
}

func (d *doorbell) wakeAll() {
	close(d.wake)
	d.wake = make(chan struct{})
}

// close lets nobody wait any more: the process stops.
func (d *doorbell) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.wakeAll()
}

// worthAsking reports whether a queue may have work, and how often its bell rang before that.
func (d *doorbell) worthAsking(queue string) (rings uint64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.gate(queue)
	if g.empty && time.Since(g.emptyAt) < pollEvery {
		return 0, false
	}
	if g.empty {
		g.emptyAt = time.Now() // this caller asks for all
	}
	return g.rings, true
}

// foundEmpty shuts the gate, unless the bell rang since the asking began.
func (d *doorbell) foundEmpty(queue string, rings uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.gate(queue); g.rings == rings {
		g.empty, g.emptyAt = true, time.Now()
	}
}

// wait returns when a bell rings or the next poll is due. A bell that rang after the asking began is not missed: wake is taken
// under the lock that also sees whether every gate is still shut.
func (d *doorbell) wait(queues map[string]bool) {
	d.mu.Lock()
	wake, next := d.wake, pollEvery
	for name := range queues {
		g := d.gate(name)
		if !g.empty || d.closed {
			d.mu.Unlock()
			return
		}
		next = min(next, pollEvery-time.Since(g.emptyAt))
	}
	d.mu.Unlock()
	timer := time.NewTimer(max(next, time.Millisecond))
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	}
}

// mayForward lets one lane in forwardEvery move the due tasks of a sorted set.
func (d *doorbell) mayForward(zset string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.zsets[zset]) < forwardEvery {
		return false
	}
	d.zsets[zset] = time.Now()
	return true
}

// forwardAgain lets the next one through at once: a script moves a hundred at most.
func (d *doorbell) forwardAgain(zset string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.zsets, zset)
}

// lane is the Redis client of one asynq server. Its processor asks from one goroutine, so that dry needs no lock.
type lane struct {
	redis.UniversalClient
	bell *doorbell
	dry  map[string]bool // queues found empty in a row
	want int             // how many queues this lane asks
}

func newLane(c redis.UniversalClient, bell *doorbell, queues int) *lane {
	return &lane{UniversalClient: c, bell: bell, dry: map[string]bool{}, want: queues}
}

// EvalSha knows two of asynq's scripts by their keys: taking a task (pending, paused, active, lease) and moving due ones
// (scheduled or retry, pending). Everything else goes through.
func (l *lane) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	switch {
	case len(keys) == 4 && strings.HasSuffix(keys[0], ":pending") && strings.HasSuffix(keys[1], ":paused"):
		return l.take(ctx, sha, keys, args)
	case len(keys) == 2 && strings.HasSuffix(keys[1], ":pending") && (strings.HasSuffix(keys[0], ":scheduled") || strings.HasSuffix(keys[0], ":retry")):
		return l.forward(ctx, sha, keys, args)
	default:
		return l.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
}

func (l *lane) take(ctx context.Context, sha string, keys []string, args []any) *redis.Cmd {
	queue := queueOf(keys[0])
	rings, ask := l.bell.worthAsking(queue)
	if !ask {
		l.isDry(queue)
		return nothing(ctx)
	}
	cmd := l.UniversalClient.EvalSha(ctx, sha, keys, args...)
	switch err := cmd.Err(); {
	case err == nil:
		clear(l.dry)
	case err == redis.Nil:
		l.bell.foundEmpty(queue, rings)
		l.isDry(queue)
	case redis.HasErrorPrefix(err, "NOSCRIPT"): // the caller sends the script itself
	default:
		time.Sleep(errorPause) // asynq would ask again at once
	}
	return cmd
}

// isDry notes an empty queue, and once all are empty in a row, waits.
func (l *lane) isDry(queue string) {
	l.dry[queue] = true
	if len(l.dry) >= l.want {
		l.bell.wait(l.dry)
		clear(l.dry)
	}
}

func (l *lane) forward(ctx context.Context, sha string, keys []string, args []any) *redis.Cmd {
	if !l.bell.mayForward(keys[0]) {
		cmd := redis.NewCmd(ctx)
		cmd.SetVal(int64(0))
		return cmd
	}
	cmd := l.UniversalClient.EvalSha(ctx, sha, keys, args...)
	if n, err := cmd.Int(); err == nil && n > 0 {
		l.bell.forwardAgain(keys[0])
		l.bell.ring(queueOf(keys[0]))
	}
	return cmd
}

func nothing(ctx context.Context) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(redis.Nil)
	return cmd
}

// queueOf reads the queue's name out of a key like asynq:{default}:pending.
func queueOf(key string) string {
	_, rest, _ := strings.Cut(key, "{")
	name, _, _ := strings.Cut(rest, "}")
	return name
}
