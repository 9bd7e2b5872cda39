// Package bench puts bounded load on a running Waybill and says what it took; beside it, in the same run, bare asynq does the same work on the
// same Redis, so that anybody can check what durability costs here.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Config says where the load goes and how much of it.
type Config struct {
	URL         string   // of the API
	Token       string   // an API key or access token; drain needs an operator's, since it pauses the queue
	Metrics     []string // URLs of /metrics whose process CPU counts: the API's and the workers'
	RedisURL    string   // for bare asynq; empty: it is left out
	Queue       string
	Connections int
	Jobs        int // in each measurement
	Batch       int // jobs in one request of the batch measurement
	Rate        int // jobs a second of the latency measurement
	Runs        int
	Only        []string // names of measurements; empty: all
}

// result is one measurement.
type result struct {
	jobs     int
	took     time.Duration
	latency  []time.Duration // of each request or job, where that is measured
	cpu      time.Duration   // of the processes in Metrics
	redisCPU time.Duration
}

type measurement struct {
	name string
	ours func(b *bencher, ctx context.Context) (result, error)
	bare func(p *peer, ctx context.Context, cfg Config) (result, error) // nil: asynq has no such thing
}

var measurements = []measurement{
	{"single", (*bencher).single, (*peer).single},
	{"batch", (*bencher).batch, nil},
	{"drain", (*bencher).drain, (*peer).drain},
	{"through", (*bencher).through, (*peer).through},
	{"latency", (*bencher).latency, (*peer).latency},
}

// Names lists the measurements.
func Names() []string {
	var names []string
	for _, m := range measurements {
		names = append(names, m.name)
	}
	return names
}

// Run measures and writes a table: medians of all runs.
func Run(ctx context.Context, cfg Config, out io.Writer) error {
	if cfg.Runs < 1 || cfg.Jobs < 1 || cfg.Connections < 1 || cfg.Batch < 1 || cfg.Rate < 1 {
		return errors.New("runs, jobs, connections, batch and rate must be at least 1")
	}
	b, err := newBencher(ctx, cfg)
	if err != nil {
		return err
	}
	p, err := newPeer(cfg)
	if err != nil {
		return err
	}
	defer p.close()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "measurement\tof\tjobs/s\tp50\tp99\tCPU µs/job\tRedis µs/job\tratio\t")
	for _, m := range measurements {
		if len(cfg.Only) > 0 && !slices.Contains(cfg.Only, m.name) {
			continue
		}
		if err := row(ctx, w, m, b, p, cfg); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return w.Flush()
}

// row runs a measurement and its peer in turn, so that both meet the same machine.
func row(ctx context.Context, w io.Writer, m measurement, b *bencher, p *peer, cfg Config) error {
	var ours, bare []result
	for range cfg.Runs {
		r, err := m.ours(b, ctx)
		if err != nil {
			return err
		}
		ours = append(ours, r)
		if p == nil || m.bare == nil {
			continue
		}
		if r, err = m.bare(p, ctx, cfg); err != nil {
			return fmt.Errorf("bare asynq: %w", err)
		}
		bare = append(bare, r)
	}
	ratio := ""
	if len(bare) > 0 {
		ratio = fmt.Sprintf("%.2f", rate(median(ours))/rate(median(bare)))
		if len(ours[0].latency) > 0 && m.name == "latency" {
			ratio = fmt.Sprintf("1/%.0f", float64(percentile(median(bare).latency, 50))/float64(max(percentile(median(ours).latency, 50), 1)))
		}
	}
	print(w, m.name, "waybill", median(ours), ratio)
	if len(bare) > 0 {
		print(w, "", "bare asynq", median(bare), "1")
	}
	return nil
}

func print(w io.Writer, name, of string, r result, ratio string) {
	p50, p99 := "", ""
	if len(r.latency) > 0 {
		p50, p99 = short(percentile(r.latency, 50)), short(percentile(r.latency, 99))
	}
	fmt.Fprintf(w, "%s\t%s\t%.0f\t%s\t%s\t%s\t%s\t%s\t\n", name, of, rate(r), p50, p99, perJob(r.cpu, r.jobs), perJob(r.redisCPU, r.jobs), ratio)
}

func rate(r result) float64 { return float64(r.jobs) / r.took.Seconds() }

func perJob(d time.Duration, jobs int) string {
	if d <= 0 {
		return ""
	}
	return fmt.Sprint(d.Microseconds() / int64(jobs))
}

// median is the run in the middle, by its rate.
func median(runs []result) result {
	sorted := slices.Clone(runs)
	slices.SortFunc(sorted, func(a, b result) int { return int(rate(a) - rate(b)) })
	return sorted[len(sorted)/2]
}

func percentile(sorted []time.Duration, p int) time.Duration {
	sorted = slices.Sorted(slices.Values(sorted))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

func short(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1fms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}
