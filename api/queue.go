package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

const maxReason = 255 // bytes of why a queue is paused

// queueLedger is what is known of queues.
type queueLedger interface {
	// Queues lists what the ledger keeps of queues beyond their jobs; a queue that was never paused
	// may be missing.
	Queues(ctx context.Context) ([]job.Queue, error)
	// QueueFigures are counted for all callers at once and may be some seconds old.
	QueueFigures(ctx context.Context) (*QueueFigures, error)
}

// QueueFigures are the counts of all queues at one moment.
type QueueFigures struct {
	At       time.Time         // by the ledger's clock
	Open     []job.QueueCounts // a queue without open jobs may be missing
	Archived map[string]int    // jobs
	Workers  []job.Worker      // by their heartbeats
	Redis    map[string]RedisQueue
}

// RedisQueue is how many tasks stand in each of a queue's lists in Redis.
type RedisQueue struct {
	Pending   int64 `json:"pending"`
	Active    int64 `json:"active"`
	Scheduled int64 `json:"scheduled"`
	Retry     int64 `json:"retry"`
	Archived  int64 `json:"archived"`
	Completed int64 `json:"completed"`
	Paused    bool  `json:"paused"`
}

const readBackTimeout = time.Second

type queueHandler struct {
	names   []string
	ledger  queueLedger
	actions *monitorActions
}

func newQueueHandler(cfg Config, deps Deps) *queueHandler {
	return &queueHandler{
		names:   slices.Sorted(slices.Values(cfg.Queues)),
		ledger:  deps.Queues,
		actions: newMonitorActions(cfg, deps),
	}
}

func (h *queueHandler) routes() []route {
	const read, act = account.ScopeQueuesRead, account.ScopeQueuesAct
	return []route{
		{Method: "GET", Path: "/v1/queues", Role: account.RoleViewer, Scope: read, Handler: h.list},
		{
			Method:  "POST",
			Path:    "/v1/queues/:name/pause",
			Role:    account.RoleOperator,
			Scope:   act,
			Handler: h.pause,
			MaxBody: smallBody,
		},
		{
			Method:  "POST",
			Path:    "/v1/queues/:name/resume",
			Role:    account.RoleOperator,
			Scope:   act,
			Handler: h.resume,
			MaxBody: smallBody,
		},
	}
}

// queueBody is a queue as it is answered. Jobs are counted in the ledger; what Redis holds stands
// apart, and is null where Redis does not answer.
type queueBody struct {
	Name        string     `json:"name"`
	Paused      bool       `json:"paused"`
	PausedAt    *time.Time `json:"paused_at"`
	PausedBy    *string    `json:"paused_by"`
	PauseReason *string    `json:"pause_reason"`

	Pending   int  `json:"pending"`
	Scheduled int  `json:"scheduled"`
	Retry     int  `json:"retry"`
	Active    int  `json:"active"`
	Held      int  `json:"held"`
	Archived  int  `json:"archived"`
	AtLeast   bool `json:"at_least"`

	OldestPending *float64    `json:"oldest_pending_seconds"`
	Workers       int         `json:"workers"`
	Slots         int         `json:"slots"`
	Redis         *RedisQueue `json:"redis"`
}

type queueList struct {
	Data       []queueBody `json:"data"`
	NextCursor *string     `json:"next_cursor"`
}

func (h *queueHandler) list(c *gin.Context) (any, error) {
	if _, err := query(c); err != nil {
		return nil, err
	}
	data, err := h.bodies(c.Request.Context(), h.names)
	return queueList{Data: data}, err
}

func (h *queueHandler) pause(c *gin.Context) (any, error) {
	name, err := h.named(c)
	if err != nil {
		return nil, err
	}
	var reason string
	if err := bindJSON(c, fields{"reason": func(s *scanner) { s.str(&reason, 1, maxReason) }}); err != nil {
		return nil, err
	}
	if err := required("/reason", reason); err != nil {
		return nil, err
	}
	if err := h.actions.pause(c.Request.Context(), name, caller(c).Email, reason); err != nil {
		return nil, fmt.Errorf("pause queue %s: %w", name, err)
	}
	return h.done(c, "queue.pause", name, map[string]string{"reason": reason})
}

func (h *queueHandler) resume(c *gin.Context) (any, error) {
	name, err := h.named(c)
	if err != nil {
		return nil, err
	}
	if err := h.actions.resume(c.Request.Context(), name); err != nil {
		return nil, fmt.Errorf("resume queue %s: %w", name, err)
	}
	return h.done(c, "queue.resume", name, nil)
}

// named is the queue in the path: one of the deployment's.
func (h *queueHandler) named(c *gin.Context) (string, error) {
	name := c.Param("name")
	if !slices.Contains(h.names, name) {
		return "", job.NotFound("queue")
	}
	return name, nil
}

// done records the action and answers the queue as it is.
func (h *queueHandler) done(c *gin.Context, action, name string, detail map[string]string) (any, error) {
	e := newAuditEntry(c, h.actions.now(), action, name)
	e.Detail = detail
	h.actions.audit.Record(c.Request.Context(), e)
	bodies, err := h.bodies(c.Request.Context(), []string{name})
	if err != nil {
		return nil, err
	}
	h.readBack(c.Request.Context(), &bodies[0])
	return reply{Status: http.StatusOK, Body: bodies[0]}, nil
}

// readBack asks Redis whether it did what was just decided: the figures are of the moment before.
// Where Redis does not answer, it is not known what it holds, and the body says nothing of it.
func (h *queueHandler) readBack(ctx context.Context, b *queueBody) {
	if b.Redis == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readBackTimeout)
	defer cancel()
	paused, err := h.actions.inspector.QueuePaused(ctx, b.Name)
	if err != nil {
		h.actions.log.DebugContext(ctx, "redis does not say whether a queue is paused", "queue", b.Name, "err", err)
		b.Redis = nil
		return
	}
	b.Redis.Paused = paused
}

func (h *queueHandler) bodies(ctx context.Context, names []string) ([]queueBody, error) {
	kept, err := h.ledger.Queues(ctx)
	if err != nil {
		return nil, fmt.Errorf("read queues: %w", err)
	}
	figures, err := h.ledger.QueueFigures(ctx)
	if err != nil {
		return nil, fmt.Errorf("count jobs: %w", err)
	}
	if figures == nil {
		return nil, errors.New("count jobs: no figures, and no error")
	}
	bodies := make([]queueBody, len(names))
	for i, name := range names {
		bodies[i] = queueBody{Name: name, Archived: figures.Archived[name]}
		bodies[i].addPause(kept)
		bodies[i].addOpen(figures.Open)
		bodies[i].addWorkers(figures)
		if r, ok := figures.Redis[name]; ok {
			bodies[i].Redis = &r
		}
	}
	return bodies, nil
}

func (b *queueBody) addPause(kept []job.Queue) {
	for _, q := range kept {
		if q.Name == b.Name && !q.PausedAt.IsZero() {
			at := q.PausedAt.UTC()
			b.Paused, b.PausedAt, b.PausedBy, b.PauseReason = true, &at, &q.PausedBy, &q.Reason
		}
	}
}

func (b *queueBody) addOpen(open []job.QueueCounts) {
	for _, f := range open {
		if f.Queue != b.Name {
			continue
		}
		b.Pending, b.Scheduled, b.Retry = f.Open[job.Pending], f.Open[job.Scheduled], f.Open[job.Retry]
		b.Active, b.Held, b.AtLeast = f.Open[job.Active], f.Open[job.Held], f.Cut
		if f.OldestDue > 0 {
			age := f.OldestDue.Seconds()
			b.OldestPending = &age
		}
	}
}

// workerSilence is how long a worker may say nothing before it is not counted. A heartbeat that
// lies as far ahead is one of before the ledger's clock stepped back.
const workerSilence = 10 * time.Second

func (b *queueBody) addWorkers(f *QueueFigures) {
	for _, w := range f.Workers {
		if !w.Stopping && f.At.Sub(w.BeatAt).Abs() < workerSilence && slices.Contains(w.Queues, b.Name) {
			b.Workers++
			b.Slots += w.Slots
		}
	}
}
