package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	standstill       = time.Minute      // after which what does not go on is given up
	reconcileTimeout = 15 * time.Second // some passes of the reconciler
	sentEvery        = 20 * time.Millisecond
)

// held pauses the queue, lets fill submit jobs, opens the queue again, and waits until they are
// done. around, if not nil, is given the last two steps to call.
func (w *waybill) held(ctx context.Context, jobs int, fill func() error, around func(run func() error) error) error {
	already, err := w.completed(ctx)
	if err != nil {
		return err
	}
	if err := w.changePause(ctx, "pause", []byte(`{"reason":"benchmark"}`)); err != nil {
		return err
	}
	open := false
	defer func() {
		if !open {
			_ = w.changePause(context.WithoutCancel(ctx), "resume", nil) // what failed is told already
		}
	}()
	if err := fill(); err != nil {
		return err
	}
	run := func() error {
		if err := w.changePause(ctx, "resume", nil); err != nil {
			return err
		}
		open = true
		return w.await(ctx, already, jobs)
	}
	if around == nil {
		err = run()
	} else {
		err = around(run)
	}
	return errors.Join(err, w.empty(ctx))
}

func (w *waybill) changePause(ctx context.Context, action string, body []byte) error {
	return w.call(ctx, http.MethodPost, "/v1/queues/"+w.at.Queue+"/"+action, body, nil)
}

func (w *waybill) get(ctx context.Context, path string, into any) error {
	return w.call(ctx, http.MethodGet, path, nil, into)
}

// call is a request beside the load.
func (w *waybill) call(ctx context.Context, method, path string, body []byte, into any) error {
	c, err := w.t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	status, answer, err := c.do(ctx, w.t.request(method, path, body), nil)
	if err == nil && status >= 300 {
		err = fmt.Errorf("%s %s answers %d: %.300s", method, path, status, answer)
	}
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(answer, into)
}

// completed counts, by the workers' own account, the jobs of the queue that ever completed there.
func (w *waybill) completed(ctx context.Context) (n int, err error) {
	if len(w.at.Workers) == 0 {
		return 0, errors.New("the workers' metrics are needed: they tell when the jobs are done")
	}
	for _, url := range w.at.Workers {
		s, err := scrape(ctx, url)
		if err != nil {
			return 0, err
		}
		n += int(s.sum("waybill_jobs_settled_total", `outcome="completed"`, fmt.Sprintf("queue=%q", w.at.Queue)))
	}
	return n, nil
}

// await waits until n more jobs are completed than there were already.
func (w *waybill) await(ctx context.Context, already, n int) error {
	began := time.Now()
	last, moved := 0, began
	for {
		now, err := w.completed(ctx)
		switch done := now - already; {
		case err != nil:
			return err
		case done >= n:
			return nil
		case done > last:
			last, moved = done, time.Now()
		case time.Since(moved) > standstill:
			return fmt.Errorf("only %d of %d jobs were completed, and nothing goes on", done, n)
		}
		if !pause(ctx, halfway(time.Since(began), last, n)) {
			return ctx.Err()
		}
	}
}

// halfway is half of the time that the rest takes if it goes on as it did: the end is met within
// milliseconds, and asked for a dozen times.
func halfway(passed time.Duration, done, n int) time.Duration {
	const soonest, latest = 4 * time.Millisecond, 200 * time.Millisecond
	if done == 0 {
		return 5 * soonest
	}
	half := passed.Seconds() * float64(n-done) / float64(2*done)
	return min(max(time.Duration(min(half, 1)*float64(time.Second)), soonest), latest)
}

// sent is what became of submitted jobs on their way to Redis, by the processes' own account.
type sent struct {
	arrived int // were sent, at once or by the reconciler
	missed  int // were left to the reconciler
}

func (w *waybill) sent(ctx context.Context) (n sent, err error) {
	for _, url := range w.at.API {
		s, err := scrape(ctx, url)
		if err != nil {
			return n, err
		}
		n.arrived += int(s.sum("waybill_dispatch_sent_total"))
		n.missed += int(s.sum("waybill_dispatch_missed_total"))
	}
	for _, url := range w.at.Workers {
		s, err := scrape(ctx, url)
		if err != nil {
			return n, err
		}
		n.arrived += int(s.sum("waybill_reconciler_resent_total", `reason="lost"`))
	}
	return n, nil
}

// awaitSent waits until n more are in Redis than there were: an API answers before that, and one
// that is given more than Redis takes leaves the rest to the reconciler. What counts as missed may be
// there all the same, and is then not sent again: the reconciler is given a while to find out.
func (w *waybill) awaitSent(ctx context.Context, before sent, n int) error {
	moved, last := time.Now(), before
	for {
		now, err := w.sent(ctx)
		switch {
		case err != nil:
			return err
		case now.arrived-before.arrived >= n:
			return nil
		case now != last:
			last, moved = now, time.Now()
		case time.Since(moved) > reconcileTimeout && now.arrived+now.missed-before.arrived-before.missed >= n:
			return nil
		case time.Since(moved) > standstill:
			return fmt.Errorf("of %d jobs only %d were sent to Redis", n, now.arrived-before.arrived)
		}
		if !pause(ctx, sentEvery) {
			return ctx.Err()
		}
	}
}

// empty confirms, by the ledger, that the queue has no open jobs.
func (w *waybill) empty(ctx context.Context) error {
	for _, state := range []string{"pending", "active", "retry", "scheduled"} {
		var page struct{ Data []json.RawMessage }
		if err := w.get(ctx, "/v1/jobs?owner=all&limit=1&queue="+w.at.Queue+"&state="+state, &page); err != nil {
			return err
		}
		if len(page.Data) > 0 {
			return fmt.Errorf("the queue %s is not empty afterwards: a job is %s", w.at.Queue, state)
		}
	}
	return nil
}
