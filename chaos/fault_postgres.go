package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill/waybill/chaos/proxy"
	"github.com/waybill/waybill/internal/loop"
	"github.com/waybill/waybill/internal/testenv/server"
)

func crashPostgres(ctx context.Context, w *cluster) error {
	if err := w.s.pg.Stop(server.Immediate); err != nil {
		return err
	}
	turned := w.readyTurns(ctx, false)
	loop.Sleep(ctx, 2*time.Second)
	if err := w.s.pg.Start(); err != nil {
		return err
	}
	w.healed = time.Now()
	return errors.Join(turned, w.readyTurns(ctx, true))
}

// troublePostgres cuts connections, takes all there are, and locks the table of jobs for longer
// than a statement waits.
func troublePostgres(ctx context.Context, w *cluster) error {
	for range 3 {
		if err := w.terminate(ctx); err != nil {
			return err
		}
		loop.Sleep(ctx, time.Second)
	}
	if err := w.hogConnections(ctx, 6*time.Second); err != nil {
		return err
	}
	if err := w.readyTurns(ctx, true); err != nil {
		return err
	}
	loop.Sleep(ctx, 2*time.Second)
	return w.lockJobs(ctx, 7*time.Second)
}

func (w *cluster) terminate(ctx context.Context) error {
	_, err := w.pool.Exec(
		ctx,
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'waybill' AND datname = "+
			"current_database()",
	)
	return err
}

// hogConnections takes every connection that the server has.
func (w *cluster) hogConnections(ctx context.Context, d time.Duration) error {
	var hogs []*pgx.Conn
	defer func() {
		for _, c := range hogs {
			_ = c.Close(ctx)
		}
	}()
	began := time.Now()
	for tooMany := false; time.Since(began) < d; {
		c, err := pgx.Connect(ctx, databaseURL(w.s.pg.Addr(), "postgres"))
		switch {
		case err == nil:
			hogs = append(hogs, c)
			continue
		case !strings.Contains(err.Error(), "53300"):
			return err
		case !tooMany:
			tooMany = true
			if err := w.terminate(ctx); err != nil {
				return err
			}
		}
		loop.Sleep(ctx, 20*time.Millisecond)
	}
	return nil
}

func (w *cluster) lockJobs(ctx context.Context, d time.Duration) error {
	for {
		tx, err := w.pool.Begin(ctx)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "LOCK TABLE submissions, open_jobs, outcomes IN ACCESS EXCLUSIVE MODE")
		if err == nil {
			loop.Sleep(ctx, d)
		}
		_ = tx.Rollback(ctx) // it only held a lock
		// The tables are locked one after the other, which may deadlock with a statement that has one of
		// them already.
		var e *pgconn.PgError
		if !errors.As(err, &e) || e.Code != "40P01" {
			return err
		}
	}
}

// loseCommits cuts connections after PostgreSQL committed and before the process hears so: a
// submission, a batch, a claim, a settlement, all of whose outcome their callers don't know.
func loseCommits(ctx context.Context, w *cluster) error {
	var mu sync.Mutex
	lost := map[string]int{}
	for _, m := range w.members() {
		count := map[string]int{}
		m.pg.Watch(func(e proxy.Event) proxy.Verdict {
			kind := writeKind(e.What)
			if e.Moment != proxy.Answered || kind == "" {
				return proxy.Verdict{}
			}
			mu.Lock()
			defer mu.Unlock()
			count[kind]++
			if n := count[kind]; n == 3 || n == 10 || n == 40 || n == 90 {
				lost[kind]++
				return proxy.Verdict{Cut: true}
			}
			return proxy.Verdict{}
		})
	}
	loop.Sleep(ctx, 8*time.Second)
	for _, m := range w.members() {
		m.pg.Watch(nil)
	}
	mu.Lock()
	defer mu.Unlock()
	w.note(
		fmt.Sprintf(
			"lost: create %d, commit %d, claim %d, settle %d, heartbeat %d",
			lost["create"],
			lost["commit"],
			lost["claim"],
			lost["settle"],
			lost["heartbeat"],
		),
	)
	return nil
}

func writeKind(sql string) string {
	switch {
	case isInsert(sql):
		return "create"
	case isClaim(sql):
		return "claim"
	case isSettle(sql):
		return "settle"
	case strings.EqualFold(sql, "commit"):
		return "commit"
	case strings.Contains(sql, `"workers"`):
		return "heartbeat"
	}
	return ""
}
