// Package dispatch sends recorded jobs to their queues in Redis, where asynq delivers them. What it
// misses, because Redis is down or full or its buffer is, the reconciler finds and sends.
package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/clock"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/redisx"
)

// Config bounds a Dispatcher.
type Config struct {
	Private func(taskType string) bool // payloads that Redis must not see; nil: none
	// Messages that may wait to be sent; default 20,000. What does not fit is left to the reconciler.
	Buffer  int
	Senders int                    // messages on their way at once; default 128
	Mark    *redisx.DeploymentMark // whose this Redis is; nil: not asked. Nothing is sent to another deployment's
	Clock   asynqredis.Clock       // the ledger's time; nil: the process's own
}

// Dispatcher sends messages to Redis. Nothing that a caller of it does waits for Redis.
type Dispatcher struct {
	cfg    Config
	redis  redis.UniversalClient
	client *asynq.Client
	insp   *asynq.Inspector
	log    *slog.Logger
	memory *memoryGuard
	clock  asynqredis.Clock
	began  time.Time // when the Dispatcher was made, by the monotonic clock

	messages  chan *job.Message // pointers, since the room for all of them is there from the start
	asyncOps  chan func(context.Context)
	downUntil atomic.Int64 // nanoseconds since began; Redis did not answer, messages are left to the reconciler until then
	missed    atomic.Int64
	sent      atomic.Int64
}

const (
	maxTaskPayload = 1 << 10 // bytes of a payload that asynqmon may show
	timeoutMargin  = 10 * time.Minute
	pauseDown      = 500 * time.Millisecond
	// Redis must have answered for this long before it is logged again that it does not.
	quietFor = 10 * time.Second
)

// New makes a Dispatcher over a client from Connect. Run must run for anything to be sent.
func New(cfg Config, client redis.UniversalClient, log *slog.Logger) (*Dispatcher, error) {
	if client == nil || log == nil {
		return nil, errors.New("dispatch: a Redis client and a logger are needed")
	}
	if cfg.Buffer <= 0 {
		cfg.Buffer = 20_000
	}
	if cfg.Senders <= 0 {
		cfg.Senders = asynqredis.MaxEnqueueBatch
	}
	if cfg.Private == nil {
		cfg.Private = func(string) bool { return false }
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.New()
	}
	timed := asynqredis.WithClock(asynqredis.NewBatchingEnqueueClient(client), cfg.Clock)
	d := &Dispatcher{
		cfg:    cfg,
		redis:  client,
		client: asynq.NewClientFromRedisClient(timed),
		insp:   asynq.NewInspectorFromRedisClient(client),
		log:    log,
		memory: newMemoryGuard(
			client,
			log,
		),
		clock:    cfg.Clock,
		began:    time.Now(),
		messages: make(chan *job.Message, cfg.Buffer),
		asyncOps: make(chan func(context.Context), 1000),
	}
	d.downUntil.Store(-2 * int64(quietFor))
	return d, nil
}

// Run sends until ctx ends, and then what is still waiting, for as long as Redis takes it.
func (d *Dispatcher) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	work := context.WithoutCancel(ctx)
	for range d.cfg.Senders {
		wg.Go(func() { d.sendLoop(work, ctx.Done()) })
	}
	wg.Go(func() { d.asyncOpLoop(work, ctx.Done()) })
	wg.Go(func() { d.memory.run(ctx) })
	wg.Wait()
	return nil
}

func (d *Dispatcher) sendLoop(ctx context.Context, done <-chan struct{}) {
	for {
		select {
		case p := <-d.messages:
			d.trySend(ctx, *p)
			continue
		case <-done:
		}
		select { // the rest, then leave
		case p := <-d.messages:
			d.trySend(ctx, *p)
		default:
			return
		}
	}
}

func (d *Dispatcher) asyncOpLoop(ctx context.Context, done <-chan struct{}) {
	for {
		select {
		case f := <-d.asyncOps:
			short, cancel := context.WithTimeout(ctx, 2*time.Second)
			f(short)
			cancel()
		case <-done:
			return
		}
	}
}

// Send takes messages to be sent soon. It never waits and never fails: their rows are committed, and
// what is missed here (no room, Redis down or full) the reconciler sends.
func (d *Dispatcher) Send(messages ...job.Message) {
	for _, p := range messages {
		p.Payload = d.taskPayload(p) // so that no large payload waits here
		if d.Full() || d.down() {
			d.missed.Add(1)
			continue
		}
		select {
		case d.messages <- &p:
		default:
			d.missed.Add(1)
		}
	}
}

func (d *Dispatcher) down() bool {
	return d.cfg.Mark.Err() != nil || int64(time.Since(d.began)) < d.downUntil.Load()
}

// Full reports that Redis nears its memory limit: sending has stopped, so that workers can still
// drain it.
func (d *Dispatcher) Full() bool { return d.memory.full.Load() }

func (d *Dispatcher) trySend(ctx context.Context, p job.Message) {
	if d.down() || d.Full() {
		d.missed.Add(1)
		return
	}
	if err := d.SendNow(ctx, p); err != nil { // the client's own timeouts bound it
		d.missed.Add(1)
		now := time.Since(d.began)
		if d.downUntil.Swap(int64(now+pauseDown)) < int64(now-quietFor) {
			d.log.WarnContext(ctx, "sending failed, jobs stay in the ledger until the reconciler sends them", "err", err)
		}
	}
}

// SendNow sends one message and waits for Redis. A delivery that Redis knows is not sent twice and
// is no error.
func (d *Dispatcher) SendNow(ctx context.Context, p job.Message) error {
	if err := d.cfg.Mark.Err(); err != nil {
		return err
	}
	opts := []asynq.Option{
		asynq.TaskID(job.TaskID(p.JobID, p.Delivery)),
		asynq.Queue(p.Queue),
		asynq.Timeout(job.MaxTimeout + timeoutMargin),
		asynq.MaxRetry(p.MaxRetries + 1),
	} // one more than ours, so that asynq never archives on its own account
	if d.waits(p) {
		opts = append(opts, asynq.ProcessIn(time.Hour)) // any time ahead: asynq compares it with the process's clock
		ctx = asynqredis.ScheduleAt(ctx, p.RunAt)
	}
	var headers map[string]string
	if p.Traceparent != "" {
		headers = map[string]string{"traceparent": p.Traceparent}
	}
	task := asynq.NewTaskWithHeaders(p.Type, d.taskPayload(p), headers)
	_, err := d.client.EnqueueContext(ctx, task, opts...)
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) && !errors.Is(err, asynq.ErrDuplicateTask) {
		d.memory.onError(err)
		return fmt.Errorf("enqueue job %s: %w", p.JobID, err)
	}
	d.sent.Add(1)
	return nil
}

// waits reports whether a message's job may not run yet. A pending job may, whatever any clock
// shows.
func (d *Dispatcher) waits(p job.Message) bool {
	return p.State != job.Pending && p.RunAt.After(d.clock.Earliest())
}

// taskPayload is what asynqmon shows of a payload; the handler gets the ledger's. A small payload
// is shown whole. Of a larger one only the size is: asynq writes the payloads of running tasks to
// Redis again every 5 seconds.
func (d *Dispatcher) taskPayload(p job.Message) json.RawMessage {
	switch {
	case d.cfg.Private(p.Type):
		return json.RawMessage(`{"waybill":"private: see the ledger"}`)
	case len(p.Payload) > maxTaskPayload:
		return json.RawMessage(fmt.Sprintf(`{"waybill":"%d bytes: see the ledger"}`, len(p.Payload)))
	default:
		return p.Payload
	}
}

// Withdraw takes a message's task out of Redis soon, if no worker has it. A task that stays is
// dropped when it is claimed.
func (d *Dispatcher) Withdraw(p job.Message) {
	d.async(func(context.Context) {
		err := d.insp.DeleteTask(p.Queue, job.TaskID(p.JobID, p.Delivery))
		if err != nil && !errors.Is(err, asynq.ErrTaskNotFound) && !errors.Is(err, asynq.ErrQueueNotFound) {
			d.log.Debug(
				"withdrawing failed, the task will be dropped when it is claimed",
				"job_id",
				p.JobID,
				"err",
				err,
			)
		}
	})
}

// SignalCancel tells the workers at once what their heartbeat tells them within a second.
func (d *Dispatcher) SignalCancel(id job.ID) {
	d.async(func(ctx context.Context) { _ = d.redis.Publish(ctx, asynqredis.CancelChannel, id.String()).Err() })
}

// wakeUp wakes idle workers soon. A lost message costs the time until a worker's next poll.
func (d *Dispatcher) wakeUp(queue string) {
	d.async(func(ctx context.Context) { _ = d.redis.Publish(ctx, asynqredis.WakeUpChannel, queue).Err() })
}

func (d *Dispatcher) async(f func(context.Context)) {
	select {
	case d.asyncOps <- f:
	default: // both only speed up what happens anyway
	}
}

// Missed is how many messages were left to the reconciler so far, and Sent how many Redis took.
func (d *Dispatcher) Missed() int64 { return d.missed.Load() }

// Sent is how many messages Redis took so far, those it knew already included.
func (d *Dispatcher) Sent() int64 { return d.sent.Load() }

// Waiting is how many messages wait to be sent.
func (d *Dispatcher) Waiting() int { return len(d.messages) }
