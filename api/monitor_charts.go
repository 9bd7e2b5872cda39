package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"github.com/waybill/waybill/internal/job"
)

const (
	chartsTimeout = 10 * time.Second
	maxChart      = 8 << 20 // bytes of one answer of Prometheus
	maxChartSpan  = 31 * 24 * time.Hour
	chartPoints   = 720
)

// charts asks Prometheus for what asynqmon's metrics page draws, in asynqmon's place: asynqmon
// would wait for ever, show its address in errors, put what the client sends into the query, and
// draw a line for each process that exports a queue's figures.
type charts struct {
	url    string
	client *http.Client
}

// newCharts answers nil where there is no Prometheus.
func newCharts(prometheus string) *charts {
	if prometheus == "" {
		return nil
	}
	return &charts{
		url:    strings.TrimSuffix(prometheus, "/") + "/api/v1/query_range",
		client: &http.Client{Timeout: chartsTimeout},
	}
}

// chartQueries are the answer's members and what they show; %s stands for the filter. max: every
// exporter of a queue's figures says the same.
func chartQueries() map[string]string {
	const processed, failed = "max by (queue) (rate(asynq_tasks_processed_total{%[1]s}[5m]))",
		"max by (queue) (rate(asynq_tasks_failed_total{%[1]s}[5m]))"
	return map[string]string{
		"queue_size":                      "max by (queue) (asynq_queue_size{%[1]s})",
		"queue_latency_seconds":           "max by (queue) (asynq_queue_latency_seconds{%[1]s})",
		"queue_memory_usage_approx_bytes": "max by (queue) (asynq_queue_memory_usage_approx_bytes{%[1]s})",
		"tasks_processed_per_second":      processed,
		"tasks_failed_per_second":         failed,
		"error_rate":                      failed + " / " + processed,
		"pending_tasks_by_queue":          `max by (queue) (asynq_tasks_enqueued_total{state="pending",%[1]s})`,
		"retry_tasks_by_queue":            `max by (queue) (asynq_tasks_enqueued_total{state="retry",%[1]s})`,
		"archived_tasks_by_queue":         `max by (queue) (asynq_tasks_enqueued_total{state="archived",%[1]s})`,
	}
}

func (h *charts) read(c *gin.Context) (any, error) {
	if h == nil {
		return nil, &job.Error{Code: job.CodeNotFound, Message: "no Prometheus is configured: WAYBILL_PROMETHEUS_URL"}
	}
	span, filter, err := chartSpan(c, time.Now())
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	answer := map[string]json.RawMessage{}
	group, ctx := errgroup.WithContext(c.Request.Context())
	for name, query := range chartQueries() {
		group.Go(func() error {
			q := url.Values{"query": {fmt.Sprintf(query, filter)}}
			for k, v := range span {
				q[k] = v
			}
			series, err := h.ask(ctx, q)
			mu.Lock()
			defer mu.Unlock()
			answer[name] = series
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, job.Unavailable("prometheus does not answer as it should", err)
	}
	return answer, nil
}

var chartQueue = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

// chartSpan reads which time and queues to show.
func chartSpan(c *gin.Context, now time.Time) (span url.Values, filter string, err error) {
	duration, end := 3600, now.Unix()
	if v := c.Query("duration"); v != "" {
		if duration, err = strconv.Atoi(v); err != nil || duration < 1 || duration > int(maxChartSpan.Seconds()) {
			return nil, "", badParameter("duration", "must be seconds, at most 31 days")
		}
	}
	if v := c.Query("endtime"); v != "" {
		if end, err = strconv.ParseInt(v, 10, 64); err != nil || end < 0 ||
			end > now.Unix()+int64(maxChartSpan.Seconds()) {
			return nil, "", badParameter("endtime", "must be a time in Unix seconds")
		}
	}
	if v := c.Query("queues"); v != "" {
		names := strings.Split(v, ",")
		for _, n := range names {
			if !chartQueue.MatchString(n) {
				return nil, "", badParameter("queues", "must be names of queues")
			}
		}
		filter = `queue=~"` + strings.Join(names, "|") + `"`
	}
	step := max(duration/chartPoints, 10)
	return url.Values{
		"start": {strconv.FormatInt(end-int64(duration), 10)},
		"end":   {strconv.FormatInt(end, 10)},
		"step":  {strconv.Itoa(step)},
	}, filter, nil
}

func (h *charts) ask(ctx context.Context, q url.Values) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	res, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxChart))
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode != http.StatusOK || !json.Valid(body):
		return nil, fmt.Errorf("prometheus answered %d", res.StatusCode)
	}
	return body, nil
}
