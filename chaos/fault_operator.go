package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/loop"
)

// meddle does in Redis what an operator can do with asynq's own tools, where the ledger does not
// see it.
func meddle(ctx context.Context, w *cluster) error {
	insp := asynq.NewInspectorFromRedisClient(w.rdb)
	list := w.meddleOrders(ctx)
	loop.Sleep(ctx, 5*time.Second) // longer than the reconciler's grace: the watermark covers them
	for _, o := range list {
		if len(o.ids) == 0 {
			return fmt.Errorf("%s was not answered", o.ref)
		}
		id, err := job.ParseID(o.ids[0])
		if err != nil {
			return err
		}
		action := map[string]func(queue, id string) error{"archived": insp.ArchiveTask, "deleted": insp.DeleteTask,
			"run": insp.RunTask}[o.kind]
		if err := action("default", job.TaskID(id, 1)); err != nil {
			return fmt.Errorf("%s: %w", o.ref, err)
		}
	}
	if err := insp.PauseQueue("critical"); err != nil {
		return err
	}
	loop.Sleep(ctx, 4*time.Second)
	if err := w.pausedInLedger(ctx, "critical"); err != nil {
		return err
	}
	var queue struct{ Paused bool }
	if err := call(ctx, "POST", w.client.base+"/v1/queues/critical/resume", w.s.key, "", &queue); err != nil {
		return err
	}
	return nil
}

// meddleOrders submits jobs that lie ahead far enough to be meddled with.
func (w *cluster) meddleOrders(ctx context.Context) (list []*order) {
	for _, kind := range []string{"archived", "deleted", "run"} {
		for i := range 5 {
			o := &order{ref: fmt.Sprintf("%s-%d-x", kind, i), kind: kind, want: completed()}
			if kind == "archived" {
				o.want = []job.State{job.Archived}
			}
			o.key = o.ref
			o.submit("http.request", fmt.Sprintf(`{"url":%q}`, w.sink.url(0)), `,"delay":"16s"`)
			w.order(ctx, o)
			list = append(list, o)
		}
	}
	return list
}

func (w *cluster) pausedInLedger(ctx context.Context, queue string) error {
	return w.eventually(ctx, 5*time.Second, func() (bool, error) {
		var n int
		err := w.pool.QueryRow(ctx, "SELECT count(*) FROM queues WHERE name = $1 AND paused_at IS NOT NULL", queue).
			Scan(&n)
		return n == 1, err
	}, "the ledger knows that %s was paused", queue)
}

// meddled: what was archived there is archived here, by those words; the rest was run, at its time.
func meddled(e *evidence) (list []breach) {
	for id, r := range e.rows {
		if r.State == job.Archived && r.Attempt == 0 && r.Errors == 0 {
			list = append(list, breach{"adoption", "archived without a reason", id})
		}
	}
	return list
}

func completed() []job.State { return []job.State{job.Completed} }
