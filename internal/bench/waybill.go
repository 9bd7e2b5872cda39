package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Deployment is where a running Waybill is found. What it does not tell is left out of the tables.
type Deployment struct {
	URL string // of the API
	// Token answers an access token or API key of an operator: the queue is paused and resumed. It
	// is asked before each measurement.
	Token      func(ctx context.Context) (string, error)
	Queue      string   // should be empty, and used by nothing else
	API        []string // URLs of the /metrics of its processes
	Workers    []string
	RedisURL   string
	Postmaster int // the first process of PostgreSQL
}

// waybill measures a deployment through its API.
type waybill struct {
	cfg   Config
	at    Deployment
	meter Meter
	redis *redis.Client
	t     target // with the token of this measurement
}

// Waybill is a running deployment. close ends what it took to measure it.
func Waybill(cfg Config, at Deployment) (s System, close func(), err error) {
	w := &waybill{cfg: cfg, at: at, meter: Meter{Load: Own, API: scraped(at.API)}}
	if shared := slices.ContainsFunc(at.Workers,
		func(url string) bool { return slices.Contains(at.API, url) }); !shared {
		w.meter[Worker] = scraped(at.Workers)
	}
	close = func() {}
	if at.RedisURL != "" {
		opt, err := redis.ParseURL(at.RedisURL)
		if err != nil {
			return s, nil, errors.New("the URL of Redis cannot be read")
		}
		w.redis = redis.NewClient(opt)
		w.meter[Redis] = redisClock(w.redis)
		close = func() { _ = w.redis.Close() }
	}
	if at.Postmaster != 0 {
		w.meter[Postgres] = Tree(at.Postmaster)
	}
	s = System{Name: "Waybill", Memory: w.memory, Measure: map[string]func(context.Context) (Result, error){}}
	for name, f := range map[string]func(context.Context) (Result, error){Single: w.single, Batch: w.batch,
		Drain: w.drain, Through: w.through,
		Latency: w.latency, Idle: w.idle} {
		s.Measure[name] = func(ctx context.Context) (Result, error) {
			if err := w.signIn(ctx); err != nil {
				return Result{}, err
			}
			return f(ctx)
		}
	}
	return s, close, nil
}

func (w *waybill) signIn(ctx context.Context) error {
	token, err := w.at.Token(ctx)
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	w.t, err = newTarget(w.at.URL, token)
	return err
}

func (w *waybill) memory(ctx context.Context) (map[string]int64, error) {
	m := map[string]int64{}
	var err error
	if m[API], err = resident(ctx, w.at.API); err != nil || w.meter[Worker] == nil {
		return m, err
	}
	m[Worker], err = resident(ctx, w.at.Workers)
	return m, err
}

func (w *waybill) body() []byte {
	return fmt.Appendf(nil, `{"type":"debug.echo","payload":{"n":1},"queue":%q}`, w.at.Queue)
}

// submission is one job, durable before its answer.
func (w *waybill) submission() []byte { return w.t.request(http.MethodPost, "/v1/jobs", w.body()) }

// single submits to a paused queue: nothing runs beside it.
func (w *waybill) single(ctx context.Context) (Result, error) {
	return w.submit(ctx, w.cfg.Jobs, w.cfg.Jobs, w.cfg.Connections, w.submission())
}

func (w *waybill) batch(ctx context.Context) (Result, error) {
	n := w.cfg.sized(batchFold * w.cfg.Jobs)
	return w.submit(ctx, n*w.cfg.Batch, n, min(batchConnections, w.cfg.Connections), w.batchOf(w.cfg.Batch, w.body()))
}

// batchConnections keep the API busy with batches; more of them only wait for each other.
const batchConnections = 4

// submit measures until the last answer. What it costs to send the jobs to Redis afterwards belongs
// to their CPU time.
func (w *waybill) submit(ctx context.Context, jobs, requests, connections int, request []byte) (r Result, err error) {
	l, err := dial(ctx, w.t, connections)
	if err != nil {
		return r, err
	}
	defer l.close()
	err = w.held(ctx, jobs, func() error {
		already, err := w.sent(ctx)
		if err != nil {
			return err
		}
		r.Jobs = jobs
		r.CPU, err = w.meter.Spent(ctx, func() (err error) {
			began := time.Now()
			r.Latency, err = l.closed(ctx, requests, request)
			r.Took = time.Since(began)
			if err == nil {
				err = w.awaitSent(ctx, already, jobs)
			}
			return err
		})
		return err
	}, nil)
	return r, err
}

// drain is the time from opening the queue until the last of the waiting jobs is settled.
func (w *waybill) drain(ctx context.Context) (r Result, err error) {
	n := w.cfg.sized(w.cfg.Jobs)
	r.Jobs = n * w.cfg.Batch
	l, err := dial(ctx, w.t, min(batchConnections, w.cfg.Connections))
	if err != nil {
		return r, err
	}
	defer l.close()
	fill := func() error {
		already, err := w.sent(ctx)
		if err == nil {
			_, err = l.closed(ctx, n, w.batchOf(w.cfg.Batch, w.body()))
		}
		if err == nil {
			err = w.awaitSent(ctx, already, r.Jobs)
		}
		return err
	}
	err = w.held(ctx, r.Jobs, fill, func(run func() error) error {
		r.CPU, err = w.meter.Spent(ctx, func() error {
			began := time.Now()
			err := run()
			r.Took = time.Since(began)
			return err
		})
		return err
	})
	return r, err
}

// through is submitting and running together.
func (w *waybill) through(ctx context.Context) (r Result, err error) {
	l, err := dial(ctx, w.t, w.cfg.Connections)
	if err != nil {
		return r, err
	}
	defer l.close()
	already, err := w.completed(ctx)
	if err != nil {
		return r, err
	}
	r.Jobs = w.cfg.Jobs
	r.CPU, err = w.meter.Spent(ctx, func() error {
		began := time.Now()
		if _, err := l.closed(ctx, r.Jobs, w.submission()); err != nil {
			return err
		}
		err := w.await(ctx, already, r.Jobs)
		r.Took = time.Since(began)
		return err
	})
	return r, errors.Join(err, w.empty(ctx))
}

// latency counts until the claim, by the ledger's clock, and to be sure until the settlement: the
// handler, which does nothing, started between the two.
func (w *waybill) latency(ctx context.Context) (r Result, err error) {
	l, err := dial(ctx, w.t, w.cfg.Connections)
	if err != nil {
		return r, err
	}
	defer l.close()
	already, err := w.completed(ctx)
	if err != nil {
		return r, err
	}
	r.Jobs = w.cfg.latencyJobs()
	var mu sync.Mutex
	due, answers := make([]time.Time, r.Jobs), make([][]byte, r.Jobs)
	request := w.submission()
	r.CPU, err = w.meter.Spent(ctx, func() error {
		began := time.Now()
		err := l.open(
			ctx,
			r.Jobs,
			w.cfg.Rate,
			func(time.Time) []byte { return request },
			func(i int, at time.Time, body []byte) {
				mu.Lock()
				defer mu.Unlock()
				due[i], answers[i] = at, body
			},
		)
		r.Took = time.Since(began)
		return errors.Join(err, w.await(ctx, already, r.Jobs))
	})
	if err != nil {
		return r, err
	}
	for i, answer := range answers {
		var made, j struct {
			ID         string    `json:"id"`
			StartedAt  time.Time `json:"started_at"`
			FinishedAt time.Time `json:"finished_at"`
		}
		if err := json.Unmarshal(answer, &made); err != nil {
			return r, err
		}
		if err := w.get(ctx, "/v1/jobs/"+made.ID, &j); err != nil {
			return r, err
		}
		r.Latency, r.Bound = append(r.Latency, j.StartedAt.Sub(due[i])), append(r.Bound, j.FinishedAt.Sub(due[i]))
	}
	return r, nil
}

func (w *waybill) idle(ctx context.Context) (r Result, err error) {
	r.CPU, err = w.meter.Spent(ctx, func() error {
		began := time.Now()
		pause(ctx, w.cfg.Rest)
		r.Took = time.Since(began)
		return ctx.Err()
	})
	return r, err
}
