package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/loop"
)

// watchConservation looks at the ledger again and again while everything happens: what was created
// is what is there, and what is finished or open. One statement is one moment. It answers the first
// breach, if any, once done was called.
func (w *cluster) watchConservation(ctx context.Context) (broken *string, done func()) {
	broken = new(string)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for loop.Sleep(ctx, 700*time.Millisecond) {
			var made, there, finished, open int
			var both int
			err := w.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM chaos_history WHERE before IS NULL), (SELECT count(*) FROM submissions),
				(SELECT count(*) FROM outcomes), (SELECT count(*) FROM open_jobs),
				(SELECT count(*) FROM open_jobs JOIN outcomes USING (id))`).
				Scan(&made, &there, &finished, &open, &both)
			if err == nil && (made != there || there != finished+open || both != 0) && *broken == "" {
				*broken = fmt.Sprintf(
					"%d created, %d in the ledger, %d finished, %d open, %d both",
					made,
					there,
					finished,
					open,
					both,
				)
			}
		}
	})
	return broken, func() { cancel(); wg.Wait() }
}

// redisClean waits until Redis holds no task but the archived ones, and no task outside a list.
func (w *cluster) redisClean(ctx context.Context) error {
	var left string
	err := w.eventually(ctx, cleanWithin, func() (bool, error) {
		var all []string
		for _, q := range queues {
			tasks, err := w.tasks(ctx, q)
			if err != nil {
				return false, err
			}
			all = append(all, tasks...)
		}
		left = fmt.Sprintf("%d: %.300s", len(all), strings.Join(all, " "))
		return len(all) == 0, nil
	}, "Redis holds no task of a finished job")
	if err != nil {
		return fmt.Errorf("redis is clean: %w: %s\n%s", err, left, w.stepsOf(ctx, left))
	}
	return nil
}

// stepsOf is the history of the first job that a list of tasks names.
func (w *cluster) stepsOf(ctx context.Context, tasks string) (text string) {
	_, tasks, _ = strings.Cut(tasks, ": ")
	id, _, _ := strings.Cut(tasks, ".")
	err := w.pool.QueryRow(ctx, `SELECT coalesce(string_agg(format('    %s %s -> %s attempt %s delivery %s cancel %s', at, before, state, attempt, delivery, cancel),
		E'\n' ORDER BY seq), '') FROM chaos_history WHERE job_id::text = $1`, id).
		Scan(&text)
	if err != nil {
		return err.Error()
	}
	return text
}

// tasks lists the tasks of a queue that are not archived, each with the state that it believes to
// have.
func (w *cluster) tasks(ctx context.Context, queue string) ([]string, error) {
	prefix := "asynq:{" + queue + "}:"
	archived, err := w.rdb.ZRange(ctx, prefix+"archived", 0, -1).Result()
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, id := range archived {
		known[id] = true
	}
	var left []string
	keys := w.rdb.Scan(ctx, 0, prefix+"t:*", 1000).Iterator()
	for keys.Next(ctx) {
		if id := strings.TrimPrefix(keys.Val(), prefix+"t:"); !known[id] {
			left = append(left, id+"="+w.rdb.HGet(ctx, keys.Val(), "state").Val())
		}
	}
	return left, keys.Err()
}

// fsck asks the operator's command. Its exit code is 0 only where ledger and Redis do not differ.
func (w *cluster) fsck(ctx context.Context) error {
	out, err := w.s.waybill(ctx, w.name, w.redis.URL(), "", "fsck")
	if err != nil {
		return fmt.Errorf("redis is clean: %w: %.500s", err, out)
	}
	if said := strings.TrimSpace(out); said != "no differences" {
		return fmt.Errorf("redis is clean: fsck ended with code 0 and said %.500q", said)
	}
	return nil
}

// memorySlack is what Redis may use more than in the beginning: its buffers, archived tasks,
// counters of the day, copies of finished jobs.
const memorySlack = 12 << 20

func (w *cluster) memoryBack(ctx context.Context) error {
	used, err := w.usedMemory(ctx)
	if err == nil && used > w.memory+memorySlack {
		err = fmt.Errorf("redis is clean: it uses %d bytes, %d in the beginning", used, w.memory)
	}
	return err
}

// stopAll ends every process in order: each within its grace, and no connection stays behind.
func (w *cluster) stopAll(ctx context.Context) error {
	all := []error{w.connections(ctx, (connsEach+connsHot)*len(w.members()))}
	for _, m := range w.members() {
		if _, err := m.stop(exitWithin); err != nil {
			all = append(all, fmt.Errorf("alive: %w; its log ends:\n%s", err, m.logTail()))
		}
	}
	return errors.Join(append(all, w.connections(ctx, 0))...)
}

// connections waits until the processes hold no more connections to PostgreSQL than that; those on
// their way out may take a moment.
func (w *cluster) connections(ctx context.Context, most int) error {
	var list string
	err := w.eventually(ctx, 10*time.Second, func() (bool, error) {
		var n int
		err := w.pool.QueryRow(ctx, `SELECT count(*), coalesce(string_agg(state || ' since ' || state_change::time || ', begun ' || backend_start::time || ': ' || left(query, 60), E'\n'
			ORDER BY state_change), '') FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'waybill'`).
			Scan(&n, &list)
		return n <= most, err
	}, "Alive: no more than %d connections to PostgreSQL", most)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, list)
	}
	return nil
}
