package main

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill/waybill/internal/loop"
)

// worksElsewhere cuts the first worker off from PostgreSQL. What it had taken must run on the other
// one at once.
func worksElsewhere(ctx context.Context, w *cluster) error {
	m := w.workers[0]
	m.pg.Refuse(true)
	m.pg.Cut()
	err := awaitReady(ctx, "http://"+m.watch, false, 10*time.Second)
	if err == nil {
		loop.Sleep(ctx, 3*time.Second)
		err = w.noneWaits(ctx, 5*time.Second)
	}
	m.pg.Refuse(false)
	w.healed = time.Now()
	if err != nil {
		return err
	}
	return awaitReady(ctx, "http://"+m.watch, true, 10*time.Second)
}

// noneWaits looks for jobs that could have run for longer than d, at several moments.
func (w *cluster) noneWaits(ctx context.Context, d time.Duration) error {
	for range 10 {
		var n int
		err := w.pool.QueryRow(ctx, "SELECT count(*) FROM open_jobs WHERE state = 'pending' AND greatest(run_at, "+
			"dispatch_at) < now() - make_interval(secs => $1)", d.Seconds()).
			Scan(&n)
		if err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%d jobs have waited for more than %v while a worker was idle", n, d)
		}
		loop.Sleep(ctx, 300*time.Millisecond)
	}
	return nil
}

const ownJobs = 60

// ownTypes submits jobs of a type that the first worker does not know.
func ownTypes(ctx context.Context, w *cluster) error {
	for i := range ownJobs {
		o := &order{ref: fmt.Sprintf("own-%d-x", i), kind: "own type", want: completed()}
		o.key = o.ref
		o.submit("debug.own", "{}")
		w.order(ctx, o)
	}
	m, err := scrape(ctx, w.workers[0].watch)
	if err != nil {
		return err
	}
	n := m.sum("waybill_tasks_unknown_type_total", "")
	w.note(fmt.Sprintf("%v times put off by the worker without the type", n))
	if n == 0 {
		return fmt.Errorf("the worker without the type met none of %d tasks of it", ownJobs)
	}
	return nil
}

// firstAttempts: meeting a worker that does not know the type used up neither an attempt nor a
// delivery.
func firstAttempts(e *evidence) (list []breach) {
	for id, r := range e.rows {
		if r.Type == "debug.own" && (r.Attempt != 1 || r.Errors != 0) {
			list = append(
				list,
				breach{
					"attempts are honest",
					fmt.Sprintf("a job of a type that one worker lacks: attempt %d, %d errors", r.Attempt, r.Errors),
					id,
				},
			)
		}
	}
	return list
}
