package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// bencher is a client of the API.
type bencher struct {
	cfg   Config
	http  *http.Client
	redis *redis.Client // for its CPU; nil: not known
	one   []byte
}

func newBencher(ctx context.Context, cfg Config) (*bencher, error) {
	b := &bencher{cfg: cfg,
		http: &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: cfg.Connections, MaxConnsPerHost: cfg.Connections}}}
	if cfg.RedisURL != "" {
		opt, err := redis.ParseURL(cfg.RedisURL)
		if err != nil {
			return nil, errors.New("the Redis URL cannot be read")
		}
		b.redis = redis.NewClient(opt)
	}
	b.one = b.body(b.cfg.Queue)
	if _, err := b.call(ctx, http.MethodGet, "/v1/me", nil); err != nil {
		return nil, fmt.Errorf("ask the API who we are: %w", err)
	}
	return b, nil
}

func (b *bencher) body(queue string) []byte {
	body, _ := json.Marshal(map[string]any{"type": "debug.echo", "payload": map[string]int{"n": 1}, "queue": queue})
	return body
}

func (b *bencher) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.cfg.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+b.cfg.Token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := b.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s answers %s: %.300s", method, path, res.Status, answer)
	}
	return answer, err
}

// measure runs f and adds what the processes spent on it.
func (b *bencher) measure(ctx context.Context, jobs int, f func() error) (result, error) {
	cpu, redisCPU := b.spent(ctx), spentByRedis(ctx, b.redis)
	began := time.Now()
	err := f()
	return result{jobs: jobs, took: time.Since(began), cpu: b.spent(ctx) - cpu, redisCPU: spentByRedis(ctx, b.redis) - redisCPU}, err
}

// closedLoop keeps every connection busy with one request after the other.
func (b *bencher) closedLoop(ctx context.Context, requests int, body []byte, path string) ([]time.Duration, error) {
	latency := make([]time.Duration, requests)
	var next atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, b.cfg.Connections)
	for range b.cfg.Connections {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(requests); i = next.Add(1) - 1 {
				began := time.Now()
				if _, err := b.call(ctx, http.MethodPost, path, body); err != nil {
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

// single is one submission a request, each durable before its answer. The queue is paused: nothing runs beside it.
func (b *bencher) single(ctx context.Context) (result, error) {
	return b.paused(ctx, func() (result, error) {
		var latency []time.Duration
		r, err := b.measure(ctx, b.cfg.Jobs, func() (err error) {
			latency, err = b.closedLoop(ctx, b.cfg.Jobs, b.one, "/v1/jobs")
			return err
		})
		r.latency = latency
		return r, err
	})
}

// batch is many submissions a request, each request durable before its answer.
func (b *bencher) batch(ctx context.Context) (result, error) {
	return b.paused(ctx, func() (result, error) {
		requests := max(b.cfg.Jobs/b.cfg.Batch, 1)
		return b.measure(ctx, requests*b.cfg.Batch, func() error { return b.submitBatches(ctx, requests) })
	})
}

func (b *bencher) submitBatches(ctx context.Context, requests int) error {
	one := b.one
	body := append([]byte("["), bytes.Repeat(append(bytes.Clone(one), ','), b.cfg.Batch)...)
	body[len(body)-1] = ']'
	few := &bencher{cfg: b.cfg, http: b.http, redis: b.redis}
	few.cfg.Connections = min(4, b.cfg.Connections)
	_, err := few.closedLoop(ctx, requests, body, "/v1/jobs/batch")
	return err
}

// drain is the time from opening the queue until the last of the waiting jobs is settled.
func (b *bencher) drain(ctx context.Context) (result, error) {
	if err := b.pause(ctx); err != nil {
		return result{}, err
	}
	if err := b.submitBatches(ctx, max(b.cfg.Jobs/b.cfg.Batch, 1)); err != nil {
		return result{}, errors.Join(err, b.resume(ctx))
	}
	jobs, err := b.settled(ctx)
	if err != nil {
		return result{}, errors.Join(err, b.resume(ctx))
	}
	return b.measure(ctx, jobs, func() error { return errors.Join(b.resume(ctx), b.empty(ctx)) })
}

// through is submitting and running together, until the last job is settled.
func (b *bencher) through(ctx context.Context) (result, error) {
	return b.measure(ctx, b.cfg.Jobs, func() error {
		_, err := b.closedLoop(ctx, b.cfg.Jobs, b.one, "/v1/jobs")
		return errors.Join(err, b.empty(ctx))
	})
}

// latency is the time from a submission's arrival in the ledger to its handler's start, at a steady rate on an idle system.
func (b *bencher) latency(ctx context.Context) (result, error) {
	n := min(b.cfg.Jobs, 10*b.cfg.Rate)
	ids := make([]string, n)
	began := time.Now()
	var sent []time.Time
	for i := range n {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(b.cfg.Rate))))
		sent = append(sent, time.Now())
		answer, err := b.call(ctx, http.MethodPost, "/v1/jobs", b.one)
		if err != nil {
			return result{}, err
		}
		var made struct{ ID string }
		if err := json.Unmarshal(answer, &made); err != nil {
			return result{}, err
		}
		ids[i] = made.ID
	}
	r := result{jobs: n, took: time.Since(began)}
	for i, id := range ids {
		answer, err := b.call(ctx, http.MethodGet, "/v1/jobs/"+id+"?wait=10s", nil)
		if err != nil {
			return result{}, err
		}
		var j struct {
			StartedAt time.Time `json:"started_at"`
		}
		if err := json.Unmarshal(answer, &j); err != nil {
			return result{}, err
		}
		r.latency = append(r.latency, j.StartedAt.Sub(sent[i]))
	}
	return r, nil
}

// paused pauses the queue around f, and afterwards lets the jobs run out.
func (b *bencher) paused(ctx context.Context, f func() (result, error)) (result, error) {
	if err := b.pause(ctx); err != nil {
		return result{}, err
	}
	r, err := f()
	return r, errors.Join(err, b.resume(ctx), b.empty(ctx))
}

func (b *bencher) pause(ctx context.Context) error {
	_, err := b.call(ctx, http.MethodPost, "/v1/queues/"+b.cfg.Queue+"/pause", []byte(`{"reason":"benchmark"}`))
	return err
}

func (b *bencher) resume(ctx context.Context) error {
	_, err := b.call(ctx, http.MethodPost, "/v1/queues/"+b.cfg.Queue+"/resume", nil)
	return err
}

// empty waits until the queue has no open jobs.
func (b *bencher) empty(ctx context.Context) error {
	for {
		open := 0
		for _, state := range []string{"pending", "active", "retry"} {
			answer, err := b.call(ctx, http.MethodGet, "/v1/jobs?owner=all&limit=1&queue="+b.cfg.Queue+"&state="+state, nil)
			if err != nil {
				return err
			}
			var page struct{ Data []json.RawMessage }
			if err := json.Unmarshal(answer, &page); err != nil {
				return err
			}
			open += len(page.Data)
		}
		if open == 0 {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// settled waits until every submitted job has reached Redis, and answers how many wait there.
func (b *bencher) settled(ctx context.Context) (int, error) {
	want := max(b.cfg.Jobs/b.cfg.Batch, 1) * b.cfg.Batch
	for range 600 {
		answer, err := b.call(ctx, http.MethodGet, "/v1/queues", nil)
		if err != nil {
			return 0, err
		}
		var queues struct {
			Data []struct {
				Name    string
				Pending int
			}
		}
		if err := json.Unmarshal(answer, &queues); err != nil {
			return 0, err
		}
		for _, q := range queues.Data {
			if q.Name == b.cfg.Queue && q.Pending >= want {
				time.Sleep(2 * time.Second) // what is still being sent
				return want, nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return 0, fmt.Errorf("queue %s does not show %d pending jobs", b.cfg.Queue, want)
}

// spent is the CPU time of the processes in Metrics.
func (b *bencher) spent(ctx context.Context) (sum time.Duration) {
	for _, url := range b.cfg.Metrics {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			continue
		}
		res, err := b.http.Do(req)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "process_cpu_seconds_total "); ok {
				seconds, _ := strconv.ParseFloat(text, 64)
				sum += time.Duration(seconds * float64(time.Second))
			}
		}
		res.Body.Close()
	}
	return sum
}

func spentByRedis(ctx context.Context, c *redis.Client) (sum time.Duration) {
	if c == nil {
		return 0
	}
	for line := range strings.Lines(c.Info(ctx, "cpu").Val()) {
		for _, name := range []string{"used_cpu_sys:", "used_cpu_user:"} {
			if text, ok := strings.CutPrefix(line, name); ok {
				seconds, _ := strconv.ParseFloat(strings.TrimSpace(text), 64)
				sum += time.Duration(seconds * float64(time.Second))
			}
		}
	}
	return sum
}
