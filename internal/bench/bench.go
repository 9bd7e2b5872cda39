// Package bench puts bounded load on a running Waybill and measures it. In the same run bare asynq
// does the same work, so that the cost of durability can be checked.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Config says how much load there is.
type Config struct {
	Connections int
	Jobs        int // in each measurement; three times as many in batch
	Batch       int // jobs in one request of batch
	Rate        int // jobs a second of latency
	Runs        int
	Latency     time.Duration // how long latency submits
	Rest        time.Duration // how long idle watches
	Only        []string      // names of measurements; empty: all
	Markdown    bool
	Log         func(string) // told what is measured now; may be nil
}

// batchFold makes batch, which takes a fraction of the others' time, long enough to be measured.
const batchFold = 3

// System is one that is measured.
type System struct {
	Name string
	// By the measurement's name; it has nothing like the missing ones.
	Measure map[string]func(ctx context.Context) (Result, error)
	// Resident bytes of its processes by now; nil: not known.
	Memory func(ctx context.Context) (map[string]int64, error)
}

// Result is one run of a measurement.
type Result struct {
	Jobs    int
	Took    time.Duration
	Latency []time.Duration // of each request or job, where that is measured
	// Bound is for a latency whose end is not seen itself: until something that surely came later.
	Bound []time.Duration
	CPU   CPU
}

// Rate is in jobs a second.
func (r Result) Rate() float64 { return float64(r.Jobs) / r.Took.Seconds() }

// The measurements.
const (
	Single  = "single"  // one submission a request, durable before its answer
	Batch   = "batch"   // many submissions a request
	Drain   = "drain"   // running waiting jobs that do nothing
	Through = "through" // submitting and running together, until the last is done
	Latency = "latency" // from a submission to its handler's start, at a steady rate on an idle system
	Idle    = "idle"    // what waiting for work costs
)

// Names lists the measurements in their order.
func Names() []string { return []string{Single, Batch, Drain, Through, Latency, Idle} }

// Run measures all systems and writes tables of the medians. Ratios are those of the first system
// to each other.
func Run(ctx context.Context, cfg Config, systems []System, out io.Writer) error {
	if err := cfg.check(); err != nil {
		return err
	}
	done := map[string][]outcome{}
	for _, name := range Names() {
		if len(cfg.Only) > 0 && !slices.Contains(cfg.Only, name) {
			continue
		}
		o, err := cfg.measure(ctx, name, systems)
		if err != nil {
			return err
		}
		done[name] = o
	}
	rest, err := atRest(ctx, done[Idle], systems)
	if err != nil {
		return err
	}
	return errors.Join(throughput(done).Write(out, cfg.Markdown), rest.Write(out, cfg.Markdown))
}

func (cfg Config) check() error {
	if cfg.Runs < 1 || cfg.Jobs < 1 || cfg.Connections < 1 || cfg.Batch < 1 || cfg.Rate < 1 || cfg.Latency <= 0 ||
		cfg.Rest <= 0 {
		return errors.New("runs, jobs, connections, batch, rate and the times must be at least 1")
	}
	for _, name := range cfg.Only {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("there is no measurement %q, only %q", name, Names())
		}
	}
	return nil
}

// outcome is what a system did in all runs of a measurement.
type outcome struct {
	system string
	runs   []Result
}

// measure lets the systems run in turn, so that all meet the same machine.
func (cfg Config) measure(ctx context.Context, name string, systems []System) ([]outcome, error) {
	runs := cfg.Runs
	if name == Idle { // it is steady
		runs = 1
	}
	out := make([]outcome, len(systems))
	for i := range runs {
		for k, s := range systems {
			f := s.Measure[name]
			if f == nil {
				continue
			}
			if cfg.Log != nil {
				cfg.Log(fmt.Sprintf("%s, run %d of %d: %s", name, i+1, runs, s.Name))
			}
			r, err := f(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", name, s.Name, err)
			}
			out[k].system, out[k].runs = s.Name, append(out[k].runs, r)
		}
	}
	return slices.DeleteFunc(out, func(o outcome) bool { return o.runs == nil }), nil
}

// sized is how many requests of cfg.Batch jobs carry at least n jobs.
func (cfg Config) sized(n int) (requests int) { return (n + cfg.Batch - 1) / cfg.Batch }

// latencyJobs is how many jobs the latency measurement submits.
func (cfg Config) latencyJobs() int { return max(1, int(float64(cfg.Rate)*cfg.Latency.Seconds())) }
