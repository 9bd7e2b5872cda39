package api

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"github.com/waybill/waybill/internal/job"
)

// An order for all tasks of a list ends after this many tasks or this long, whichever comes first,
// and answers how many it did: what is left stays in the list, and the button can be pressed again.
const (
	maxTaskAction     = 10_000
	actionTimeout     = 25 * time.Second
	actionConcurrency = 8
)

// monitorActions does what operators ask for in the monitor: the ledger decides, Redis follows, and
// the audit log names who it was.
type monitorActions struct {
	ledger     jobSteering
	inspector  queueInspector
	dispatcher dispatcher
	audit      auditor
	queues     []string
	log        *slog.Logger
	now        func() time.Time
}

func newMonitorActions(cfg Config, deps Deps) *monitorActions {
	return &monitorActions{
		ledger:     deps.Steering,
		inspector:  deps.Inspector,
		dispatcher: deps.Dispatcher,
		audit:      deps.Audit,
		queues:     cfg.Queues,
		log:        deps.Log,
		now:        deps.LedgerNow,
	}
}

// execute does what o says and answers what asynqmon's page expects.
func (h *monitorActions) execute(c *gin.Context, o taskAction) (any, error) {
	switch {
	case o.list == "":
		return nil, h.queue(c, o)
	case o.task != "":
		err := h.changeJob(c.Request.Context(), caller(c).Email, o, o.task)
		if err == nil {
			h.record(c, o, o.task, nil)
		}
		return nil, err
	case o.batch:
		return h.some(c, o)
	default:
		return h.all(c, o)
	}
}

// some does it to the tasks that the body names. One that fails fails alone.
func (h *monitorActions) some(c *gin.Context, o taskAction) (any, error) {
	var ids []string
	if err := bindJSON(c, fields{"task_ids": func(s *scanner) { s.strs(&ids, 1, maxParameter) }}); err != nil {
		return nil, err
	}
	if len(ids) > maxMonitorPage {
		return nil, job.Invalid("/task_ids", "may have "+strconv.Itoa(maxMonitorPage)+" ids")
	}
	done, failed, _ := h.each(c, o, ids)
	names := map[string][2]string{"run": {"pending_ids", "error_ids"}, "archive": {"archived_ids", "error_ids"},
		"delete": {"deleted_ids", "failed_ids"}, "cancel": {"canceled_ids", "error_ids"}}[o.verb]
	return map[string][]string{names[0]: done, names[1]: failed}, nil
}

// all does it to every task of a list, within bounds.
func (h *monitorActions) all(c *gin.Context, o taskAction) (any, error) {
	ids, err := h.inspector.TaskIDs(c.Request.Context(), o.queue, o.list, maxTaskAction)
	if err != nil {
		return nil, err
	}
	done, _, err := h.each(c, o, ids)
	if len(done) == 0 && err != nil {
		return nil, err
	}
	switch o.verb {
	case "run":
		return map[string]int{"scheduled": len(done)}, nil
	case "archive":
		return map[string]int{"archived": len(done)}, nil
	case "delete":
		return map[string]int{"deleted": len(done)}, nil
	default:
		return nil, nil
	}
}

// each does it to every one of the tasks, some at a time, and records it. The error is one of those
// that failed.
func (h *monitorActions) each(c *gin.Context, o taskAction, ids []string) (done, failed []string, err error) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), actionTimeout)
	defer cancel()
	errs := make([]error, len(ids))
	var next atomic.Int64
	var group errgroup.Group
	for range actionConcurrency {
		group.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(ids); i = int(next.Add(1)) - 1 {
				if errs[i] = ctx.Err(); errs[i] == nil {
					errs[i] = h.changeJob(ctx, caller(c).Email, o, ids[i])
				}
			}
			return nil
		})
	}
	_ = group.Wait()
	done, failed = []string{}, []string{}
	for i, id := range ids {
		if errs[i] == nil {
			done = append(done, id)
		} else {
			failed = append(failed, id)
			err = errs[i]
		}
	}
	if len(done) > 0 {
		h.record(c, o, o.queue, map[string]string{"count": strconv.Itoa(len(done)), "failed": strconv.Itoa(len(failed)),
			"all": strconv.FormatBool(o.all), "tasks": strings.Join(done[:min(len(done), 20)], " ")})
	}
	return done, failed, err
}

// queue does it to a queue. One that this deployment does not use is asynq's alone.
func (h *monitorActions) queue(c *gin.Context, o taskAction) (err error) {
	ctx, ours := c.Request.Context(), slices.Contains(h.queues, o.queue)
	switch {
	case o.verb == "delete" && ours:
		return &job.Error{Code: job.CodeConflict, Message: "the queue is in use: it is one of the deployment's queues"}
	case o.verb == "delete":
		err = h.inspector.DeleteQueue(ctx, o.queue)
	case o.verb == "pause" && ours:
		err = h.pause(ctx, o.queue, caller(c).Email, "paused in the monitor")
	case o.verb == "pause":
		err = h.inspector.PauseQueue(ctx, o.queue)
	case ours:
		err = h.resume(ctx, o.queue)
	default:
		err = h.inspector.ResumeQueue(ctx, o.queue)
	}
	if err == nil {
		h.record(c, o, o.queue, nil)
	}
	return err
}

// pause and resume are done when the ledger knows. What Redis did not hear, the reconciler tells it.
func (h *monitorActions) pause(ctx context.Context, queue, by, reason string) error {
	if err := h.ledger.Pause(ctx, queue, by, reason); err != nil {
		return err
	}
	h.logRedisError(ctx, h.inspector.PauseQueue(ctx, queue), "queue", queue)
	return nil
}

func (h *monitorActions) resume(ctx context.Context, queue string) error {
	if err := h.ledger.Resume(ctx, queue); err != nil {
		return err
	}
	h.logRedisError(ctx, h.inspector.ResumeQueue(ctx, queue), "queue", queue)
	return nil
}

// logRedisError notes where Redis did not do what the ledger decided: its task is gone already, has
// moved on and will be dropped when it is claimed, or Redis does not answer and the reconciler repairs it.
func (h *monitorActions) logRedisError(ctx context.Context, err error, attrs ...any) {
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		h.log.DebugContext(ctx, "redis did not follow the ledger", append(attrs, "err", err)...)
	}
}

// record writes the action into the audit log: task.run, queue.pause and the like.
func (h *monitorActions) record(c *gin.Context, o taskAction, target string, detail map[string]string) {
	noun := "task."
	if o.list == "" {
		noun = "queue."
	}
	if detail == nil {
		detail = map[string]string{}
	}
	detail["by"] = "monitor"
	if o.list != "" {
		detail["queue"], detail["list"] = o.queue, string(o.list)
	}
	e := newAuditEntry(c, h.now(), noun+o.verb, job.CleanText(target, maxParameter))
	e.Detail = detail
	h.audit.Record(c.Request.Context(), e)
}
