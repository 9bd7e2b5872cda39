package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/waybill/waybill/chaos/proxy"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/loop"
)

// killAPI kills the API at three moments of a submission. Clients repeat with their keys.
func killAPI(ctx context.Context, w *cluster) error {
	for _, moment := range []proxy.Moment{proxy.Asked, proxy.Answered} { // before and after the commit
		if err := killAt(ctx, w.api, w.api.pg, moment, isInsert); err != nil {
			return err
		}
		if err := w.backAgain(ctx, w.api); err != nil {
			return err
		}
	}
	w.front.Mute(true) // answers are on their way and do not arrive
	err := killAt(ctx, w.api, w.api.redis, proxy.Answered, isEnqueue)
	w.front.Cut()
	w.front.Mute(false)
	if err != nil {
		return err
	}
	return w.backAgain(ctx, w.api)
}

// backAgain starts a process again, half a second after its end.
func (w *cluster) backAgain(ctx context.Context, m *member) error {
	loop.Sleep(ctx, 500*time.Millisecond)
	if err := m.start(); err != nil {
		return err
	}
	if m == w.api {
		return w.readyTurns(ctx, true)
	}
	return nil
}

// killWorkers kills four workers, each at another moment of a job's way. The fifth goes on.
func killWorkers(ctx context.Context, w *cluster) error {
	k := w.workers
	deaths := []func() error{
		func() error { return killAt(ctx, k[0], k[0].pg, proxy.Asked, isClaim) },
		func() error { return killAt(ctx, k[1], k[1].pg, proxy.Answered, isClaim) },
		func() error { return w.killBusy(ctx, k[2], 3) },
		func() error { return killAt(ctx, k[3], k[3].pg, proxy.Answered, isSettle) },
	}
	for i, die := range deaths {
		if err := die(); err != nil {
			return err
		}
		if err := w.backAgain(ctx, k[i]); err != nil {
			return err
		}
		loop.Sleep(ctx, time.Second)
	}
	return nil
}

// killBusy kills a worker once it runs so many jobs.
func (w *cluster) killBusy(ctx context.Context, m *member, jobs int) error {
	err := w.eventually(ctx, 15*time.Second, func() (bool, error) {
		var n int
		err := w.pool.QueryRow(ctx, "SELECT count(*) FROM jobs JOIN workers w ON w.id = worker_id WHERE state = "+
			"'active' AND w.pid = $1", m.pid()).
			Scan(&n)
		return n >= jobs, err
	}, "%s runs %d jobs", m.name, jobs)
	m.kill()
	return err
}

func churnWorkers(ctx context.Context, w *cluster) error {
	deaths, every := 4, 5*time.Second
	if w.s.o.long {
		deaths, every = 6, 20*time.Second
	}
	for i := range deaths {
		m := w.workers[i%len(w.workers)]
		if err := w.killBusy(ctx, m, 1); err != nil {
			return err
		}
		if err := w.backAgain(ctx, m); err != nil {
			return err
		}
		w.note("kills")
		loop.Sleep(ctx, every)
	}
	return nil
}

// rollingRestart replaces every process in order while handlers run that are longer than its grace
// period.
func rollingRestart(ctx context.Context, w *cluster) error {
	for i := range 40 {
		o := &order{
			ref:  fmt.Sprintf("long-%d", i),
			key:  fmt.Sprintf("long-%d", i),
			kind: "long sleep",
			want: []job.State{job.Completed},
		}
		o.submit("debug.sleep", `{"duration":"8s"}`)
		w.order(ctx, o)
	}
	for _, m := range append(w.workers, w.api) {
		took, err := m.stop(exitWithin)
		if err != nil {
			return err
		}
		w.note(fmt.Sprintf("%s stopped in %.1f s", m.name, took.Seconds()))
		if err := w.backAgain(ctx, m); err != nil {
			return err
		}
		if err := w.awaitWorkers(ctx, len(w.workers)); err != nil {
			return err
		}
	}
	return nil
}

// order submits one job of the fault's own.
func (w *cluster) order(ctx context.Context, list ...*order) {
	w.book.add(list...)
	for _, o := range list {
		w.client.submit(ctx, o)
	}
}

// hostileHandlers submits what no well-behaved program does.
func hostileHandlers(ctx context.Context, w *cluster) error {
	for i := range 8 {
		for _, h := range []struct{ taskType, more string }{
			{"debug.block", `,"timeout":"500ms"`}, {"debug.spew", ""}, {"debug.goexit", ""},
		} {
			o := &order{
				ref:      fmt.Sprintf("%s-%d", h.taskType, i),
				kind:     h.taskType,
				want:     []job.State{job.Archived},
				failures: 2,
			}
			o.key = o.ref
			o.submit(h.taskType, "{}", `,"max_retries":1`, quick, h.more)
			w.order(ctx, o)
		}
	}
	loop.Sleep(ctx, 5*time.Second)
	return nil
}

// putIntoWords: each way to misbehave is told by its own name.
func putIntoWords(e *evidence) (list []breach) {
	words := map[string]string{
		"debug.block":  "ignores that",
		"debug.spew":   "no text",
		"debug.goexit": "ended its goroutine",
	}
	for id, r := range e.rows {
		if want := words[r.Type]; !strings.Contains(r.LastError, want) {
			list = append(list, breach{"honest words", fmt.Sprintf("%s: %.100q", r.Type, r.LastError), id})
		}
	}
	return list
}

// poison submits two jobs that kill their worker, and waits until they are given up.
func poison(ctx context.Context, w *cluster) error {
	defer w.load.rate.Store(w.load.rate.Swap(30))
	for _, taskType := range []string{"debug.exit", "debug.hoard"} {
		o := &order{ref: taskType, key: taskType, kind: "poison", want: []job.State{job.Archived}}
		o.submit(taskType, "{}")
		w.order(ctx, o)
	}
	return w.eventually(ctx, 3*time.Minute, func() (bool, error) {
		var n int
		err := w.pool.QueryRow(ctx, "SELECT count(*) FROM jobs WHERE type IN ('debug.exit', 'debug.hoard') AND state "+
			"= 'archived'").
			Scan(&n)
		return n == 2, err
	}, "the poison is quarantined")
}

// quarantined: poison is given up for what it did, and nothing else is.
func quarantined(e *evidence) (list []breach) {
	for id, r := range e.rows {
		isPoison := r.Type == "debug.exit" || r.Type == "debug.hoard"
		said := len(r.LastError) > 11 && r.LastError[:11] == "quarantined"
		if isPoison != said || isPoison && r.Interruptions != job.MaxCrashes {
			list = append(list, breach{"quarantine", fmt.Sprintf("a job of %s: %s", r.Type, r.LastError), id})
		}
	}
	return list
}
