// Command river is River at the same work as the benchmark's other systems: a client and a worker
// in one process, which the benchmark starts for each measurement. It reads an order, prepares,
// says that it is ready, waits for one more line, works, and answers with what it took.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/waybill/waybill/internal/bench"
)

// order is what is to be measured.
type order struct {
	URL         string
	What        string // single, batch or drain
	Jobs        int
	Batch       int // jobs in one COPY
	Connections int
	Workers     int // of drain
}

// answer is what it took.
type answer struct {
	Took    time.Duration
	Latency []time.Duration
	CPU     time.Duration
}

// noop is a job with nothing to do.
type noop struct {
	N int `json:"n"`
}

// Kind implements river.JobArgs.
func (noop) Kind() string { return "noop" }

type worker struct {
	river.WorkerDefaults[noop]
}

// Work implements river.Worker.
func (worker) Work(context.Context, *river.Job[noop]) error { return nil }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "river:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

func run(ctx context.Context) error {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	p := &play{}
	if err := json.Unmarshal(line, &p.order); err != nil {
		return err
	}
	f, err := p.prepare(ctx)
	if err != nil {
		return err
	}
	defer p.pool.Close()
	fmt.Println("ready")
	if _, err := in.ReadBytes('\n'); err != nil {
		return err
	}
	cpu, _ := bench.Own(ctx)
	a, err := f(ctx)
	if err != nil {
		return err
	}
	spent, err := bench.Own(ctx)
	a.CPU = spent - cpu
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(a))
}

// play is one measurement.
type play struct {
	order
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	done   <-chan *river.Event
}

// prepare does all that is not measured, the opening of connections included.
func (p *play) prepare(ctx context.Context) (f func(context.Context) (answer, error), err error) {
	cfg, err := pgxpool.ParseConfig(p.URL)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns, cfg.MinConns = int32(p.Connections), int32(p.Connections)
	if p.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, err
	}
	driver := riverpgxv5.New(p.pool)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: log})
	if err != nil {
		return nil, err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	if _, err := p.pool.Exec(ctx, "TRUNCATE river_job"); err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, worker{})
	c := &river.Config{Logger: log, Workers: workers}
	if p.What == bench.Drain { // as often as River lets it
		c.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: p.Workers}}
		c.FetchCooldown, c.FetchPollInterval = river.FetchCooldownMin, river.FetchPollIntervalMin
	}
	if p.client, err = river.NewClient(driver, c); err != nil {
		return nil, err
	}
	switch p.What {
	case bench.Single:
		return p.single, p.warm(ctx)
	case bench.Batch:
		return p.batch, p.warm(ctx)
	case bench.Drain:
		return p.drain, p.fill(ctx)
	}
	return nil, fmt.Errorf("nothing to measure is called %q", p.What)
}

func (p *play) warm(ctx context.Context) error {
	var conns []*pgxpool.Conn
	defer func() {
		for _, c := range conns {
			c.Release()
		}
	}()
	for range p.Connections {
		c, err := p.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	return nil
}

func (p *play) fill(ctx context.Context) error {
	if err := p.insertAll(ctx); err != nil {
		return err
	}
	if _, err := p.pool.Exec(ctx, "VACUUM ANALYZE river_job"); err != nil {
		return err
	}
	p.done, _ = p.client.SubscribeConfig(
		&river.SubscribeConfig{
			ChanSize: p.Jobs,
			Kinds:    []river.EventKind{river.EventKindJobCompleted, river.EventKindJobFailed},
		},
	)
	return p.warm(ctx)
}

// single inserts one row a transaction.
func (p *play) single(ctx context.Context) (a answer, err error) {
	a.Latency = make([]time.Duration, p.Jobs)
	began := time.Now()
	err = p.each(p.Jobs, func(i int) error {
		began := time.Now()
		_, err := p.client.Insert(ctx, noop{N: i}, nil)
		a.Latency[i] = time.Since(began)
		return err
	})
	a.Took = time.Since(began)
	return a, err
}

// batch inserts with COPY.
func (p *play) batch(ctx context.Context) (a answer, err error) {
	began := time.Now()
	err = p.insertAll(ctx)
	a.Took = time.Since(began)
	return a, err
}

func (p *play) insertAll(ctx context.Context) error {
	batch := slices.Repeat([]river.InsertManyParams{{Args: noop{N: 1}}}, p.Batch)
	return p.each(p.Jobs/p.Batch, func(int) error {
		_, err := p.client.InsertManyFast(ctx, batch)
		return err
	})
}

// drain runs until the last job is recorded as completed.
func (p *play) drain(ctx context.Context) (a answer, err error) {
	began := time.Now()
	if err := p.client.Start(ctx); err != nil {
		return a, err
	}
	for range p.Jobs {
		select {
		case e := <-p.done:
			if e.Kind != river.EventKindJobCompleted {
				return a, fmt.Errorf("job %d failed", e.Job.ID)
			}
		case <-ctx.Done():
			return a, ctx.Err()
		}
	}
	a.Took = time.Since(began)
	return a, errors.Join(p.client.Stop(ctx), p.verify(ctx))
}

// verify asks the database, since an event is only the client's word.
func (p *play) verify(ctx context.Context) error {
	var n int
	err := p.pool.QueryRow(ctx, "SELECT count(*) FROM river_job WHERE state = 'completed'").Scan(&n)
	if err == nil && n != p.Jobs {
		err = fmt.Errorf("only %d of %d jobs are recorded as completed", n, p.Jobs)
	}
	return err
}

// each calls f for 0 to n-1 on as many goroutines as there are connections.
func (p *play) each(n int, f func(i int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, p.Connections)
	for range p.Connections {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := f(int(i)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failed)
	return <-failed
}
