package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/dispatch"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/redisx"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/store"
)

// BenchmarkDrain is a worker that empties a queue of jobs that do nothing: each is claimed and
// settled in PostgreSQL. An operation is one job. "cpu-us/job" is the CPU time of this process
// alone: neither PostgreSQL's nor Redis's.
func BenchmarkDrain(b *testing.B) {
	for _, slots := range []int{16, 64, 256, 1024} {
		b.Run(fmt.Sprint("slots=", slots), func(b *testing.B) { benchmarkDrain(b, slots) })
	}
}

func benchmarkDrain(b *testing.B, slots int) {
	ctx := b.Context()
	cfg := benchConfig(b, testenv.Postgres(b), testenv.Redis(b).URL)
	cfg.Concurrency = slots
	log := testenv.Logger(b)
	s, err := store.Open(ctx, store.Config{URL: cfg.DatabaseURL.Reveal(), Log: log})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Migrate(ctx); err != nil {
		b.Fatal(err)
	}
	fill(b, cfg, s, b.N)
	a, err := app.New(ctx, cfg, app.Options{Worker: true}, log)
	if err != nil {
		b.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	began := cpuTime()
	go func() { done <- a.Run(run) }()
	for open := 1; open > 0; time.Sleep(5 * time.Millisecond) {
		if open, err = s.OpenJobs(ctx, job.ID{1}, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-began).Microseconds())/float64(b.N), "cpu-us/job")
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func fill(b *testing.B, cfg config.Config, s *store.Store, n int) {
	client, err := redisx.Connect(cfg.RedisURL.Reveal())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	d, err := dispatch.New(dispatch.Config{Buffer: n}, client, testenv.Logger(b))
	if err != nil {
		b.Fatal(err)
	}
	for left := n; left > 0; left -= job.MaxBatch {
		subs := make([]job.Submission, min(left, job.MaxBatch))
		for i := range subs {
			subs[i] = job.Submission{
				ID:      job.NewID(),
				OwnerID: job.ID{1},
				Type:    "debug.echo",
				Queue:   "default",
				Payload: json.RawMessage(`{"n":1}`),
				Policy: job.Policy{
					MaxRetries: 3,
					Timeout:    time.Minute,
					Backoff:    job.Backoff{Kind: job.Fixed, Base: time.Second, Max: time.Second},
				},
			}
		}
		made, err := s.CreateAll(b.Context(), subs)
		if err != nil {
			b.Fatal(err)
		}
		for _, m := range made {
			d.Send(m.Job.Message())
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	cancel() // Run sends what waits, and returns
	if err := d.Run(ctx); err != nil {
		b.Fatal(err)
	}
}

func benchConfig(tb testing.TB, database, redis string) config.Config {
	cfg, err := config.Parse(nil)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.DatabaseURL, cfg.RedisURL = config.NewSecret(database), config.NewSecret(redis)
	cfg.MetricsAddr = "127.0.0.1:0"
	return cfg
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
