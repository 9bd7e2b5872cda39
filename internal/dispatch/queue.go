package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
)

// PauseQueue lets no worker take a task of the queue; what runs goes on. Redis follows the ledger
// here: the ledger's word is written first, and the reconciler repeats it where Redis lost it. A queue
// that is paused stays so.
func (d *Dispatcher) PauseQueue(ctx context.Context, queue string) error {
	// asynq's own key: asynq asks only whether it is there, the reconciler when it was set.
	if err := d.redis.SetNX(ctx, asynqredis.PausedKey(queue), d.clock.Now().Unix(), 0).Err(); err != nil {
		return fmt.Errorf("pause a queue in Redis: %w", err)
	}
	return nil
}

// ResumeQueue ends a pause and wakes the workers; a queue that is not paused stays so.
func (d *Dispatcher) ResumeQueue(ctx context.Context, queue string) error {
	if err := d.redis.Del(ctx, asynqredis.PausedKey(queue)).Err(); err != nil {
		return fmt.Errorf("resume a queue in Redis: %w", err)
	}
	d.wakeUp(queue)
	return nil
}

// QueuePaused reports whether Redis holds the queue back. While Redis and the ledger differ, the
// reconciler has not been by yet.
func (d *Dispatcher) QueuePaused(ctx context.Context, queue string) (bool, error) {
	n, err := d.redis.Exists(ctx, asynqredis.PausedKey(queue)).Result()
	if err != nil {
		return false, fmt.Errorf("ask Redis whether a queue is paused: %w", err)
	}
	return n > 0, nil
}

// DeleteQueue forgets a queue that holds no task. It answers job.CodeConflict where it holds some,
// and job.CodeNotFound where there is none.
func (d *Dispatcher) DeleteQueue(_ context.Context, queue string) error {
	err := d.insp.DeleteQueue(queue, false)
	if errors.Is(err, asynq.ErrQueueNotEmpty) {
		return &job.Error{Code: job.CodeConflict, Message: "the queue holds tasks"}
	}
	return taskError(err)
}

// TaskIDs lists the tasks that stand in one of a queue's lists, those that come first there first,
// at most limit.
func (d *Dispatcher) TaskIDs(ctx context.Context, queue string, list job.State, limit int) ([]string, error) {
	key := asynqredis.QueuePrefix(queue) + string(list)
	var cmd *redis.StringSliceCmd
	switch list {
	case job.Pending, job.Active:
		cmd = d.redis.LRange(ctx, key, -int64(limit), -1) // taken from the end
	default:
		cmd = d.redis.ZRange(ctx, key, 0, int64(limit)-1)
	}
	ids, err := cmd.Result()
	if err != nil {
		return nil, taskError(err)
	}
	return ids, nil
}

// RunTask moves a waiting or archived task to the pending ones. Like ArchiveTask and DeleteTask, it
// answers job.CodeNotFound where there is no such task, and job.CodeConflict where its list forbids
// it. None of them tells the ledger: that comes first, where the task is a job's.
func (d *Dispatcher) RunTask(_ context.Context, queue, id string) error {
	err := d.insp.RunTask(queue, id)
	if err == nil {
		d.wakeUp(queue)
	}
	return taskError(err)
}

// ArchiveTask moves a waiting task to the archive.
func (d *Dispatcher) ArchiveTask(_ context.Context, queue, id string) error {
	return taskError(d.insp.ArchiveTask(queue, id))
}

// DeleteTask removes a task that no worker has.
func (d *Dispatcher) DeleteTask(_ context.Context, queue, id string) error {
	return taskError(d.insp.DeleteTask(queue, id))
}

// CancelTask asks the worker that has the task to let go of it.
func (d *Dispatcher) CancelTask(_ context.Context, id string) error {
	return taskError(d.insp.CancelProcessing(id))
}

// taskError turns asynq's errors into job errors. The inspector has the code of an error only in
// its text.
func taskError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, asynq.ErrTaskNotFound):
		return job.NotFound("task")
	case errors.Is(err, asynq.ErrQueueNotFound):
		return job.NotFound("queue")
	case strings.Contains(err.Error(), "FAILED_PRECONDITION"):
		return &job.Error{Code: job.CodeConflict, Message: "the task has moved on", Err: err}
	default:
		return job.Unavailable("redis does not answer", err)
	}
}
