package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// metrics are the samples that a process shows, by name and labels as they are written.
type metrics map[string]float64

// scrape reads /metrics of a process.
func scrape(ctx context.Context, addr string) (metrics, error) {
	c := &client{http: &http.Client{Timeout: 5 * time.Second}}
	a, err := c.do(ctx, http.MethodGet, "http://"+addr+"/metrics", "", "", "")
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("/metrics: %d", a.status)
	}
	m := metrics{}
	for line := range strings.Lines(string(a.body)) {
		name, text, ok := cutLast(strings.TrimSpace(line))
		if v, err := strconv.ParseFloat(text, 64); ok && err == nil && name[0] != '#' {
			m[name] = v
		}
	}
	return m, nil
}

func cutLast(line string) (name, value string, ok bool) {
	i := strings.LastIndexByte(line, ' ')
	if i <= 0 {
		return "", "", false
	}
	return line[:i], line[i+1:], true
}

// sum adds the samples of a name whose labels hold a text.
func (m metrics) sum(name, label string) (total float64) {
	for sample, v := range m {
		if family, labels, _ := strings.Cut(sample, "{"); family == name && strings.Contains(labels, label) {
			total += v
		}
	}
	return total
}

// goroutineSlack is how many more goroutines a process may have than before the load: connections
// that idle, and what a scrape costs.
const goroutineSlack = 150

// metricsHold compares what the processes show with the ledger, and their goroutines with those
// before the load.
func (w *cluster) metricsHold(ctx context.Context) error {
	w.client.http.CloseIdleConnections() // each holds a goroutine of the API
	var m metrics
	err := w.eventually(ctx, 20*time.Second, func() (bool, error) { // the figures are read every few seconds
		var err error
		m, err = scrape(ctx, w.api.watch)
		return err == nil && m.sum("waybill_jobs_open", "") == 0, err
	}, "the metrics say that no job is open")
	if err != nil {
		return fmt.Errorf("conservation: %w: they say %v", err, m.sum("waybill_jobs_open", ""))
	}
	for _, p := range w.members() {
		var n float64
		err := w.eventually(ctx, 20*time.Second, func() (bool, error) { // connections that were just closed still end
			now, err := scrape(ctx, p.watch)
			n = now["go_goroutines"]
			return err == nil && (p.pid() != p.calmPID || n <= p.calm+goroutineSlack), err
		}, "it has no more goroutines than before")
		if err != nil {
			return fmt.Errorf("alive: %s: %w: %v, %v before the load", p.name, err, n, p.calm)
		}
	}
	if w.f.apiDies || w.f.refuses || w.f.hostile || w.f.interrupts > 0 {
		return nil // counters of the dead are gone, and a commit whose answer was lost is not counted
	}
	return w.countersHold(ctx)
}

// jobCounters are the counters that must say what the history says: a label of their samples, and
// the steps that they count.
var jobCounters = []struct{ name, label, steps string }{
	{"waybill_jobs_created_total", "", "before IS NULL"},
	{"waybill_jobs_settled_total", `outcome="completed"`, "state = 'completed' AND before <> state"},
	{"waybill_jobs_settled_total", `outcome="archived"`, "state = 'archived' AND before <> state"},
	{"waybill_jobs_settled_total", `outcome="canceled"`, "state = 'canceled' AND before <> state"},
	{
		"waybill_jobs_reopened_total",
		"",
		"before IN ('completed', 'archived', 'canceled') AND state NOT IN ('completed', 'archived', 'canceled')",
	},
}

// countersHold compares what all processes counted together with the steps that the database wrote
// down.
func (w *cluster) countersHold(ctx context.Context) error {
	var all []metrics
	for _, p := range w.members() {
		m, err := scrape(ctx, p.watch)
		if err != nil {
			return err
		}
		all = append(all, m)
	}
	for _, c := range jobCounters {
		counted, steps := 0.0, 0.0
		for _, m := range all {
			counted += m.sum(c.name, c.label)
		}
		if err := w.pool.QueryRow(ctx, "SELECT count(*) FROM chaos_history WHERE "+c.steps).Scan(&steps); err != nil {
			return err
		}
		if counted != steps {
			return fmt.Errorf(
				"conservation: %s{%s} counts %v, the ledger's history %v",
				c.name,
				c.label,
				counted,
				steps,
			)
		}
	}
	return nil
}

// calmDown notes what each process looks like before the load.
func (w *cluster) calmDown(ctx context.Context) error {
	for _, p := range w.members() {
		m, err := scrape(ctx, p.watch)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		p.calm, p.calmPID = m["go_goroutines"], p.pid()
	}
	return nil
}
