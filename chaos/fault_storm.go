package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/waybill/waybill/internal/loop"
	"github.com/waybill/waybill/internal/testenv/server"
)

// freezeWorker stops a worker for so long that others take its jobs, and lets it come back as if
// nothing had happened.
func freezeWorker(ctx context.Context, w *cluster) error {
	m := w.workers[0]
	w.longCalls(ctx, 40, 8*time.Second) // they still run elsewhere when it comes back with its own answers
	if err := w.frozen(ctx, m, 14*time.Second); err != nil {
		return err
	}
	w.healed = time.Now()
	return errors.Join(w.awaitWorkers(ctx, len(w.workers)), w.refusesLate(ctx, m))
}

// refusesLate holds the settlements that came too late to being refused and counted.
func (w *cluster) refusesLate(ctx context.Context, m *member) error {
	return w.eventually(ctx, 10*time.Second, func() (bool, error) {
		shown, err := scrape(ctx, m.watch)
		n := shown.sum("waybill_settlements_refused_total", "")
		if n > 0 {
			w.note(fmt.Sprintf("%v late outcomes refused", n))
		}
		return n > 0, err
	}, "late outcomes of %s are refused and counted", m.name)
}

// frozen stops a process for a while.
func (w *cluster) frozen(ctx context.Context, m *member, d time.Duration) error {
	if err := m.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	loop.Sleep(ctx, d)
	return m.signal(syscall.SIGCONT)
}

// freezePostgres stops PostgreSQL for so long that every worker's heartbeat is stale. None is dead:
// no job may be taken back.
func freezePostgres(ctx context.Context, w *cluster) error {
	if err := w.s.pg.Pause(); err != nil {
		return err
	}
	turned := w.readyTurns(ctx, false)
	loop.Sleep(ctx, 12*time.Second)
	if err := w.s.pg.Resume(); err != nil {
		return err
	}
	w.healed = time.Now()
	if turned != nil {
		return turned
	}
	return w.readyTurns(ctx, true)
}

// stopInOutage asks processes to end while a server is away: they must, within their grace. Once it
// is back they are started again.
func stopInOutage(ctx context.Context, w *cluster) error {
	servers := []struct {
		name        string
		stop, start func() error
	}{
		{"Redis", w.redis.Stop, w.redis.Start},
		{"PostgreSQL", func() error { return w.s.pg.Stop(server.Fast) }, w.s.pg.Start},
	}
	for _, s := range servers {
		if err := s.stop(); err != nil {
			return err
		}
		loop.Sleep(ctx, time.Second)
		stopped := []*member{w.workers[0], w.api}
		for _, m := range stopped {
			// Requests that wait for the ledger may have their time too.
			took, err := m.stop(exitWithin + 10*time.Second)
			if err != nil {
				return fmt.Errorf("without %s: %w; its log ends:\n%s", s.name, err, m.logTail())
			}
			w.note(fmt.Sprintf("%s stopped in %.1f s without %s", m.name, took.Seconds(), s.name))
		}
		if err := s.start(); err != nil {
			return err
		}
		for _, m := range stopped {
			if err := w.backAgain(ctx, m); err != nil {
				return err
			}
		}
	}
	return w.awaitWorkers(ctx, len(w.workers))
}

// storm breaks one thing after another, by the seed's choice, without waiting for recovery in
// between.
func storm(ctx context.Context, w *cluster) error {
	rng := rand.New(rand.NewPCG(w.s.o.seed, 99))
	deeds := w.deeds()
	until := time.Now().Add(w.during(25*time.Second, 2*time.Minute))
	for time.Now().Before(until) && ctx.Err() == nil {
		d := deeds[rng.IntN(len(deeds))]
		w.note(d.name)
		if err := d.do(ctx, rng); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		loop.Sleep(ctx, time.Duration(rng.IntN(1500))*time.Millisecond)
	}
	return w.awaitWorkers(ctx, len(w.workers))
}

type action struct {
	name string
	do   func(ctx context.Context, rng *rand.Rand) error
}

func (w *cluster) deeds() []action {
	any := func(rng *rand.Rand) *member { return w.workers[rng.IntN(len(w.workers))] }
	return []action{
		{"worker kill", func(ctx context.Context, rng *rand.Rand) error {
			m := any(rng)
			m.kill()
			return w.backAgain(ctx, m)
		}},
		{"API kill", func(ctx context.Context, _ *rand.Rand) error {
			w.api.kill()
			return w.backAgain(ctx, w.api)
		}},
		{"worker restart", func(ctx context.Context, rng *rand.Rand) error {
			m := any(rng)
			if _, err := m.stop(exitWithin); err != nil {
				return err
			}
			return w.backAgain(ctx, m)
		}},
		{"FLUSHALL", func(ctx context.Context, _ *rand.Rand) error { return w.rdb.FlushAll(ctx).Err() }},
		{"Redis kill", func(ctx context.Context, _ *rand.Rand) error { return killRedis(ctx, w) }},
		{"lost log tail", func(ctx context.Context, _ *rand.Rand) error { return cutTail(ctx, w) }},
		{"PostgreSQL crash", func(ctx context.Context, _ *rand.Rand) error {
			if err := w.s.pg.Stop(server.Immediate); err != nil {
				return err
			}
			return w.s.pg.Start()
		}},
		{"connections cut", func(_ context.Context, rng *rand.Rand) error {
			for _, l := range any(rng).links() {
				l.Cut()
			}
			return nil
		}},
		{"slow line", func(ctx context.Context, rng *rand.Rand) error {
			l := any(rng).links()[rng.IntN(2)]
			l.Delay(300 * time.Millisecond)
			loop.Sleep(ctx, 2*time.Second)
			l.Delay(0)
			return nil
		}},
	}
}
