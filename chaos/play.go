package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/loop"
)

const (
	before  = 3 * time.Second  // of load, before the fault
	after   = time.Second      // of load, after it was healed
	timeout = 20 * time.Second // of clients that repeat
	// drainWithin is when we stop waiting for outcomes; what each job may take is checked job by
	// job.
	drainWithin = 75 * time.Second
	cleanWithin = 45 * time.Second // for Redis to forget tasks without a worker
)

// fault is one way to break things.
type fault struct {
	name, about string
	short       bool
	workers     int // 0: two
	// interrupts is how often the fault may strike one job: so many attempts may end without an
	// outcome.
	interrupts int
	apiDies    bool     // requests may stay without an answer
	refuses    bool     // 503 and 429 are right answers
	hostile    bool     // processes know the task types that kill
	mixed      bool     // the API and all workers but the first know the task types of poisonworker
	clocks     bool     // Redis has a clock of its own
	bouncer    bool     // processes reach PostgreSQL through PgBouncer in session mode
	redis      []string // further arguments of redis-server
	// drain is how long outcomes may take, where that is longer than usual.
	drain  time.Duration
	strike func(ctx context.Context, w *cluster) error
	// check holds what only this fault promises; may be nil.
	check func(e *evidence) []breach
}

func (f fault) workerCount() int { return max(f.workers, 2*btoi(f.workers == 0)) }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// play runs one fault from the start of its processes to the verdict.
func (s *environment) play(ctx context.Context, f fault) (*result, error) {
	w, err := s.newCluster(ctx, f)
	if err != nil {
		return nil, err
	}
	e, err := w.perform(ctx)
	if err != nil {
		s.o.keep = true
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, w.logs()), w.close())
	}
	if breaches := e.verify(); len(breaches) > 0 {
		s.o.keep = true // for people who look into it
		return nil, errors.Join(w.describe(e, breaches), w.close())
	}
	return e.result(), w.close()
}

// perform puts the load on, breaks, heals, drains, and gathers the evidence.
func (w *cluster) perform(ctx context.Context) (*evidence, error) {
	l := startLoad(ctx, w.client, newMix(w.s.o.seed, w.sink), w.s.o.rate)
	defer l.stop(0)
	w.load = l
	watch, done := w.watchConservation(ctx)
	defer done()
	loop.Sleep(ctx, before)
	w.struck = time.Now()
	if err := w.f.strike(ctx, w); err != nil {
		return nil, fmt.Errorf("strike: %w", err)
	}
	if w.healed.IsZero() { // the fault itself knows better, where it waited for more after it had ended
		w.healed = time.Now()
	}
	loop.Sleep(ctx, after)
	l.stop(timeout)
	e := &evidence{w: w, conserved: watch}
	w.finish(ctx, e, l.mix)
	done()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return e, e.gather(context.WithoutCancel(ctx))
}

// finish waits for what the promise says and writes down what does not come.
func (w *cluster) finish(ctx context.Context, e *evidence, m *mix) {
	e.expect(w.drained(ctx))
	e.expect(w.probe(ctx, m))
	e.expect(w.metricsHold(ctx))
	e.expect(w.redisClean(ctx))
	e.expect(w.fsck(ctx))
	e.expect(w.memoryBack(ctx))
	e.expect(w.stopAll(ctx))
}

// drained waits until no job is open.
func (w *cluster) drained(ctx context.Context) error {
	return w.eventually(ctx, max(drainWithin, w.f.drain+15*time.Second), func() (bool, error) {
		var open int
		err := w.pool.QueryRow(ctx, "SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'archived', "+
			"'canceled')").
			Scan(&open)
		return open == 0, err
	}, "every job has its outcome")
}

// probe asks for a few jobs after all is healed: everything must be as quick as before.
func (w *cluster) probe(ctx context.Context, m *mix) error {
	for i := range 10 {
		m.n++
		o := &order{ref: fmt.Sprint(m.n), key: fmt.Sprintf("probe-%d", m.n), want: completed(), probe: true}
		m.callFor(o, 0, fmt.Sprintf(`,"delay":"%dms"`, 1+i*150))
		o.kind = "probe"
		w.book.add(o)
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		w.client.submit(short, o)
		cancel()
	}
	return w.drained(ctx)
}

// logs is the end of every process's log.
func (w *cluster) logs() string {
	var b strings.Builder
	for _, m := range w.members() {
		fmt.Fprintf(&b, "--- %s\n%s\n", m.name, m.logTail())
	}
	return b.String()
}

// describe names the breaches with the histories of the first jobs concerned.
func (w *cluster) describe(e *evidence, breaches []breach) error {
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"%d breaches (seed %d; struck %s, healed %s)\n",
		len(breaches),
		w.s.o.seed,
		w.struck.Format("15:04:05.000"),
		w.healed.Format("15:04:05.000"),
	)
	for i, x := range breaches {
		if i == 20 {
			fmt.Fprintf(&b, "… and %d more\n", len(breaches)-i)
			break
		}
		fmt.Fprintf(&b, "BROKEN %s: %s\n", x.invariant, x.what)
		if i < 6 && x.job != "" {
			b.WriteString(e.story(x.job))
		}
	}
	fmt.Fprintf(&b, "logs: %s", w.dir)
	return errors.New(b.String())
}
