package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybill/waybill/internal/job"
)

// changeJob applies an action to one task; by is the operator. If the task belongs to a job, the
// ledger decides and the task follows. Otherwise it is another program's task, or that of a job
// past its retention, and only Redis has it.
func (h *monitorActions) changeJob(ctx context.Context, who string, o taskAction, task string) error {
	id, delivery, err := job.ParseTaskID(task)
	if err != nil {
		return h.changeForeignTask(ctx, o, task)
	}
	j, err := h.ledger.Job(ctx, id)
	switch {
	case errors.Is(err, job.ErrNotFound):
		return h.changeForeignTask(ctx, o, task)
	case err != nil:
		return fmt.Errorf("read job %s: %w", id, err)
	}
	current := j.Delivery == delivery
	switch o.verb {
	case "run":
		return h.run(ctx, o, task, id)
	case "archive":
		return h.archive(ctx, who, o, task, j, current)
	case "delete":
		return h.remove(ctx, o, task, j, current)
	default:
		return h.cancel(ctx, j, current)
	}
}

func (h *monitorActions) changeForeignTask(ctx context.Context, o taskAction, task string) error {
	switch o.verb {
	case "run":
		return h.inspector.RunTask(ctx, o.queue, task)
	case "archive":
		return h.inspector.ArchiveTask(ctx, o.queue, task)
	case "delete":
		return h.inspector.DeleteTask(ctx, o.queue, task)
	default:
		return h.inspector.CancelTask(ctx, task)
	}
}

// run starts the job again: a new delivery is sent, and the old task stands for nothing any more.
func (h *monitorActions) run(ctx context.Context, o taskAction, task string, id job.ID) error {
	after, err := h.ledger.RunNow(ctx, id)
	if err != nil {
		return fmt.Errorf("run job %s: %w", id, err)
	}
	h.dispatcher.Send(after.Message())
	h.logRedisError(ctx, h.inspector.DeleteTask(ctx, o.queue, task), "job_id", id)
	return nil
}

func (h *monitorActions) archive(
	ctx context.Context,
	who string,
	o taskAction,
	task string,
	j *job.Job,
	current bool,
) error {
	if !current {
		return superseded(j)
	}
	if _, err := h.ledger.Archive(ctx, j.ID, "archived by "+who+" in the monitor"); err != nil {
		return fmt.Errorf("archive job %s: %w", j.ID, err)
	}
	h.logRedisError(ctx, h.inspector.ArchiveTask(ctx, o.queue, task), "job_id", j.ID)
	return nil
}

// remove takes the task away. If the job still waited for it, that cancels the job; a job that has
// its outcome keeps it.
func (h *monitorActions) remove(ctx context.Context, o taskAction, task string, j *job.Job, current bool) error {
	finishedInRedis := o.list == job.Archived || o.list == job.Completed
	if !current || j.State.Finished() || j.State == job.Active && finishedInRedis {
		return h.inspector.DeleteTask(ctx, o.queue, task)
	}
	after, err := h.ledger.Cancel(ctx, j.ID)
	switch {
	case errors.Is(err, job.ErrConflict): // it came to its outcome meanwhile
		return h.inspector.DeleteTask(ctx, o.queue, task)
	case err != nil:
		return fmt.Errorf("cancel job %s: %w", j.ID, err)
	case after.State == job.Active: // a worker took it meanwhile
		h.dispatcher.SignalCancel(j.ID)
		return nil
	}
	h.logRedisError(ctx, h.inspector.DeleteTask(ctx, o.queue, task), "job_id", j.ID)
	return nil
}

func (h *monitorActions) cancel(ctx context.Context, j *job.Job, current bool) error {
	if !current {
		return superseded(j)
	}
	after, err := h.ledger.Cancel(ctx, j.ID)
	if err != nil {
		return fmt.Errorf("cancel job %s: %w", j.ID, err)
	}
	if after.State.Finished() {
		h.dispatcher.Withdraw(after.Message())
	} else {
		h.dispatcher.SignalCancel(j.ID)
	}
	return nil
}

// superseded is the error for a task of an older delivery: acting on its job would surprise an
// operator who sees the newer task.
func superseded(j *job.Job) error {
	return &job.Error{
		Code:    job.CodeConflict,
		State:   j.State,
		Message: fmt.Sprintf("the job is %s under a newer task: this one stands for nothing", j.State),
	}
}
