package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"
)

// Client asks a deployment's API for what no measurement of Run does.
type Client struct {
	w *waybill
}

// NewClient leads to a deployment.
func NewClient(at Deployment) *Client { return &Client{&waybill{at: at}} }

// Get asks for n paths on some connections at once.
func (c *Client) Get(ctx context.Context, connections, n int, path func(i int) string) (r Result, err error) {
	l, err := c.dial(ctx, connections)
	if err != nil {
		return r, err
	}
	defer l.close()
	r.Jobs = n
	began := time.Now()
	r.Latency, err = l.all(
		ctx,
		n,
		http.StatusOK,
		func(i int) []byte { return c.w.t.request(http.MethodGet, path(i), nil) },
	)
	r.Took = time.Since(began)
	return r, err
}

// Submit submits the same job n times, in batches, and returns when all were sent to Redis.
func (c *Client) Submit(ctx context.Context, n, batch int, body string) error {
	l, err := c.dial(ctx, batchConnections)
	if err != nil {
		return err
	}
	defer l.close()
	already, err := c.w.sent(ctx)
	if err != nil {
		return err
	}
	size := min(n, batch)
	rest := n % size
	if _, err := l.closed(ctx, n/size, c.w.batchOf(size, []byte(body))); err != nil {
		return err
	}
	if rest > 0 {
		if _, err := l.closed(ctx, 1, c.w.batchOf(rest, []byte(body))); err != nil {
			return err
		}
	}
	return c.w.awaitSent(ctx, already, n)
}

// Pause pauses a queue.
func (c *Client) Pause(ctx context.Context, queue string) error {
	if err := c.w.signIn(ctx); err != nil {
		return err
	}
	return c.w.call(ctx, http.MethodPost, "/v1/queues/"+queue+"/pause", []byte(`{"reason":"benchmark"}`), nil)
}

func (c *Client) dial(ctx context.Context, connections int) (*load, error) {
	if err := c.w.signIn(ctx); err != nil {
		return nil, err
	}
	return dial(ctx, c.w.t, connections)
}

// batchOf is a request with the same job n times.
func (w *waybill) batchOf(n int, one []byte) []byte {
	body := fmt.Appendf(nil, "[%s]", bytes.TrimSuffix(bytes.Repeat(append(bytes.Clone(one), ','), n), []byte{','}))
	return w.t.request(http.MethodPost, "/v1/jobs/batch", body)
}

// Percentile is the smallest latency that p percent of all do not exceed.
func (r Result) Percentile(p float64) time.Duration { return percentile(r.Latency, p) }

// Median is the run in the middle by its rate.
func Median(runs []Result) Result { return median(runs, Result.Rate) }
