package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// peer is bare asynq in its default settings, on the same Redis: no record, no identity, nothing settled.
type peer struct {
	opt    asynq.RedisConnOpt
	client *asynq.Client
	redis  *redis.Client
}

const (
	peerQueue = "waybill-bench-asynq"
	peerType  = "bench.noop"
)

func newPeer(cfg Config) (*peer, error) {
	if cfg.RedisURL == "" {
		return nil, nil
	}
	opt, err := asynq.ParseRedisURI(cfg.RedisURL)
	if err != nil {
		return nil, errors.New("the Redis URL cannot be read")
	}
	own, err := redis.ParseURL(cfg.RedisURL)
	if err != nil {
		return nil, errors.New("the Redis URL cannot be read")
	}
	return &peer{opt: opt, client: asynq.NewClient(opt), redis: redis.NewClient(own)}, nil
}

// close takes the peer's queue out of Redis again.
func (p *peer) close() {
	if p == nil {
		return
	}
	insp := asynq.NewInspector(p.opt)
	_ = insp.DeleteQueue(peerQueue, true)
	_ = insp.Close()
	_ = p.client.Close()
	_ = p.redis.Close()
}

func (p *peer) measure(ctx context.Context, jobs int, f func() error) (result, error) {
	cpu, redisCPU := ownCPU(), spentByRedis(ctx, p.redis)
	began := time.Now()
	err := f()
	return result{jobs: jobs, took: time.Since(began), cpu: ownCPU() - cpu, redisCPU: spentByRedis(ctx, p.redis) - redisCPU}, err
}

func (p *peer) enqueue(ctx context.Context, n, connections int) ([]time.Duration, error) {
	latency := make([]time.Duration, n)
	var next atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, connections)
	for range connections {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				began := time.Now()
				if _, err := p.client.EnqueueContext(ctx, asynq.NewTask(peerType, []byte(`{"n":1}`)), asynq.Queue(peerQueue)); err != nil {
					failed <- err
					return
				}
				latency[i] = time.Since(began)
			}
		})
	}
	group.Wait()
	close(failed)
	return latency, <-failed
}

func (p *peer) single(ctx context.Context, cfg Config) (result, error) {
	var latency []time.Duration
	r, err := p.measure(ctx, cfg.Jobs, func() (err error) {
		latency, err = p.enqueue(ctx, cfg.Jobs, cfg.Connections)
		return err
	})
	r.latency = latency
	return r, errors.Join(err, p.work(cfg.Jobs, nil))
}

// work runs a server in its default settings until n tasks are done.
func (p *peer) work(n int, handle func(*asynq.Task)) error {
	var left atomic.Int64
	left.Store(int64(n))
	done := make(chan struct{})
	server := asynq.NewServer(p.opt, asynq.Config{Queues: map[string]int{peerQueue: 1}, LogLevel: asynq.ErrorLevel})
	if err := server.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		if handle != nil {
			handle(t)
		}
		if left.Add(-1) == 0 {
			close(done)
		}
		return nil
	})); err != nil {
		return err
	}
	<-done
	server.Shutdown()
	return nil
}

func (p *peer) drain(ctx context.Context, cfg Config) (result, error) {
	if _, err := p.enqueue(ctx, cfg.Jobs, cfg.Connections); err != nil {
		return result{}, err
	}
	return p.measure(ctx, cfg.Jobs, func() error { return p.work(cfg.Jobs, nil) })
}

func (p *peer) through(ctx context.Context, cfg Config) (result, error) {
	return p.measure(ctx, cfg.Jobs, func() error {
		worked := make(chan error, 1)
		go func() { worked <- p.work(cfg.Jobs, nil) }()
		_, err := p.enqueue(ctx, cfg.Jobs, cfg.Connections)
		return errors.Join(err, <-worked)
	})
}

func (p *peer) latency(ctx context.Context, cfg Config) (result, error) {
	n := min(cfg.Jobs, 10*cfg.Rate)
	var mu sync.Mutex
	r := result{jobs: n}
	worked := make(chan error, 1)
	go func() {
		worked <- p.work(n, func(t *asynq.Task) {
			sent, err := time.Parse(time.RFC3339Nano, string(t.Payload()))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				r.latency = append(r.latency, time.Since(sent))
			}
		})
	}()
	began := time.Now()
	for i := range n {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(cfg.Rate))))
		task := asynq.NewTask(peerType, []byte(time.Now().Format(time.RFC3339Nano)))
		if _, err := p.client.EnqueueContext(ctx, task, asynq.Queue(peerQueue)); err != nil {
			return result{}, err
		}
	}
	r.took = time.Since(began)
	return r, <-worked
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
