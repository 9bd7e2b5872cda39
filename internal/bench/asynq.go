package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/bench/peer"
)

// bare is asynq in its default settings, in processes of its own.
type bare struct {
	cfg    Config
	opt    asynq.RedisConnOpt
	redis  *redis.Client
	api    *child
	worker *child
	t      target
	meter  Meter
}

// Asynq starts bare asynq on a Redis: command starts a program that calls peer.Run. Its systems are
// that, and asynq's client alone, which is as fast as an API in front of it could be if it cost
// nothing. close ends them, and takes their queue out of Redis.
func Asynq(cfg Config, redisURL string, command ...string) (systems []System, close func(), err error) {
	b := &bare{cfg: cfg}
	if b.opt, err = asynq.ParseRedisURI(redisURL); err != nil {
		return nil, nil, errors.New("the URL of Redis cannot be read")
	}
	opt, err := redis.ParseURL(redisURL)
	if err != nil {
		return nil, nil, errors.New("the URL of Redis cannot be read")
	}
	b.redis = redis.NewClient(opt)
	if err := b.start(redisURL, command); err != nil {
		b.close()
		return nil, nil, fmt.Errorf("start bare asynq: %w", err)
	}
	b.meter = Meter{
		Load:   Own,
		API:    scraped([]string{b.api.url("/metrics")}),
		Worker: scraped([]string{b.worker.url("/metrics")}),
		Redis:  redisClock(b.redis),
	}
	return []System{
		{Name: "bare asynq", Memory: b.memory, Measure: map[string]func(context.Context) (Result, error){
			Single: b.single, Drain: b.drain, Through: b.through, Latency: b.latency, Idle: b.idle}},
		{Name: "asynq's client alone", Measure: map[string]func(context.Context) (Result, error){Single: b.alone}},
	}, b.close, nil
}

func (b *bare) start(redisURL string, command []string) (err error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	if b.api, err = startChild(command, peer.Order{Role: peer.API, Redis: redisURL, Key: key}); err != nil {
		return err
	}
	if b.worker, err = startChild(command, peer.Order{Role: peer.Worker, Redis: redisURL}); err != nil {
		return err
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{Subject: "benchmark", Issuer: "bench",
		ExpiresAt: jwt.NewNumericDate(time.Now().Add(24 * time.Hour))}).SignedString(key)
	if err != nil {
		return err
	}
	b.t, err = newTarget("http://"+b.api.addr, token)
	return err
}

func (b *bare) close() {
	for _, c := range []*child{b.api, b.worker} {
		if c != nil {
			c.end()
		}
	}
	insp := asynq.NewInspectorFromRedisClient(b.redis)
	_ = insp.DeleteQueue(peer.Queue, true) // never used, it is not there
	_ = b.redis.Close()
}

func (b *bare) memory(ctx context.Context) (map[string]int64, error) {
	api, err := resident(ctx, []string{b.api.url("/metrics")})
	if err != nil {
		return nil, err
	}
	worker, err := resident(ctx, []string{b.worker.url("/metrics")})
	return map[string]int64{API: api, Worker: worker}, err
}

func (b *bare) submission(payload string) []byte {
	return b.t.request(
		http.MethodPost,
		"/v1/jobs",
		fmt.Appendf(nil, `{"type":"debug.echo","payload":%s,"queue":%q}`, payload, peer.Queue),
	)
}

// single enqueues while no worker runs, and throws away what it enqueued.
func (b *bare) single(ctx context.Context) (r Result, err error) {
	l, err := dial(ctx, b.t, b.cfg.Connections)
	if err != nil {
		return r, err
	}
	defer l.close()
	r.Jobs = b.cfg.Jobs
	r.CPU, err = b.meter.Spent(ctx, func() (err error) {
		began := time.Now()
		r.Latency, err = l.closed(ctx, r.Jobs, b.submission(`{"n":1}`))
		r.Took = time.Since(began)
		return err
	})
	return r, errors.Join(err, b.clear())
}

func (b *bare) clear() error {
	insp := asynq.NewInspectorFromRedisClient(b.redis)
	_, err := insp.DeleteAllPendingTasks(peer.Queue)
	return err
}

// alone enqueues from this process, which is load and API in one.
func (b *bare) alone(ctx context.Context) (r Result, err error) {
	r.Jobs = b.cfg.Jobs
	r.CPU, err = Meter{API: Own, Redis: redisClock(b.redis)}.Spent(ctx, func() (err error) {
		began := time.Now()
		r.Latency, err = b.enqueue(ctx, r.Jobs)
		r.Took = time.Since(began)
		return err
	})
	return r, errors.Join(err, b.clear())
}

func (b *bare) enqueue(ctx context.Context, n int) ([]time.Duration, error) {
	client := asynq.NewClient(b.opt)
	defer client.Close()
	took := make([]time.Duration, n)
	var next atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, b.cfg.Connections)
	for range b.cfg.Connections {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				began := time.Now()
				if _, err := client.EnqueueContext(ctx, asynq.NewTask("debug.echo", []byte(`{"n":1}`)),
					asynq.Queue(peer.Queue)); err != nil {
					failed <- err
					return
				}
				took[i] = time.Since(began)
			}
		})
	}
	group.Wait()
	close(failed)
	return took, <-failed
}

func (b *bare) drain(ctx context.Context) (r Result, err error) {
	if _, err := b.enqueue(ctx, b.cfg.Jobs); err != nil {
		return r, err
	}
	return b.work(ctx, b.cfg.Jobs, func() error { return b.tell(ctx, http.MethodPost, "/start", nil) })
}

func (b *bare) through(ctx context.Context) (r Result, err error) {
	l, err := dial(ctx, b.t, b.cfg.Connections)
	if err != nil {
		return r, err
	}
	defer l.close()
	if err := b.tell(ctx, http.MethodPost, "/start", nil); err != nil {
		return r, err
	}
	return b.work(ctx, b.cfg.Jobs, func() error {
		_, err := l.closed(ctx, b.cfg.Jobs, b.submission(`{"n":1}`))
		return err
	})
}

func (b *bare) latency(ctx context.Context) (r Result, err error) {
	l, err := dial(ctx, b.t, b.cfg.Connections)
	if err != nil {
		return r, err
	}
	defer l.close()
	if err := b.tell(ctx, http.MethodPost, "/start", nil); err != nil {
		return r, err
	}
	return b.work(ctx, b.cfg.latencyJobs(), func() error {
		return l.open(
			ctx,
			b.cfg.latencyJobs(),
			b.cfg.Rate,
			func(due time.Time) []byte { return b.submission(fmt.Sprintf(`{"due":%d}`, due.UnixNano())) },
			func(int, time.Time, []byte) {},
		)
	})
}

func (b *bare) idle(ctx context.Context) (r Result, err error) {
	if err := b.tell(ctx, http.MethodPost, "/start", nil); err != nil {
		return r, err
	}
	r.CPU, err = b.meter.Spent(ctx, func() error {
		began := time.Now()
		pause(ctx, b.cfg.Rest)
		r.Took = time.Since(began)
		return ctx.Err()
	})
	return r, errors.Join(err, b.tell(ctx, http.MethodPost, "/stop", nil))
}

// work measures from calling f until n jobs were handled.
func (b *bare) work(ctx context.Context, n int, f func() error) (r Result, err error) {
	if err := b.tell(ctx, http.MethodPost, fmt.Sprintf("/expect?n=%d", n), nil); err != nil {
		return r, err
	}
	r.Jobs = n
	r.CPU, err = b.meter.Spent(ctx, func() error {
		began := time.Now()
		if err := f(); err != nil {
			return err
		}
		err := b.tell(ctx, http.MethodGet, "/reached", &r.Latency)
		r.Took = time.Since(began)
		return err
	})
	return r, errors.Join(err, b.tell(ctx, http.MethodPost, "/stop", nil))
}

// tell asks the worker for something.
func (b *bare) tell(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, b.worker.url(path), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.300s", path, answer)
	}
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(answer, into)
}
