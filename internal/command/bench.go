package command

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/bench"
	"github.com/waybill/waybill/internal/bench/peer"
	"github.com/waybill/waybill/internal/config"
)

type benchCommand struct {
	URL           string        `default:"http://127.0.0.1:8080" help:"The API."`
	TokenFile     string        `type:"existingfile" required:"" help:"A file with an API key or access token, an operator's: the benchmark pauses its queue. It is read again before each measurement."`
	Queue         string        `default:"low" help:"The queue that is used. It should be empty, and used by nothing else."`
	APIMetrics    []string      `name:"api-metrics" help:"URLs of the API processes' /metrics; the one at URL if none is given."`
	WorkerMetrics []string      `default:"http://127.0.0.1:9464/metrics" help:"URLs of all workers' /metrics: they tell when the jobs are done."`
	PostgresPID   int           `name:"postgres-pid" help:"PostgreSQL's first process, whose CPU time counts; by itself it is found where DATABASE_URL leads to this machine."`
	Jobs          int           `default:"20000" help:"Jobs in each measurement."`
	Batch         int           `default:"1000" help:"Jobs in one request of the batch measurement."`
	Connections   int           `default:"64" help:"Connections at once."`
	Rate          int           `default:"50" help:"Jobs a second of the latency measurement."`
	Latency       time.Duration `default:"10s" help:"How long the latency measurement submits."`
	Rest          time.Duration `default:"10s" help:"How long the idle measurement watches."`
	Runs          int           `default:"3" help:"Runs of each measurement; the table shows the median."`
	Only          []string      `help:"Measure only these: single, batch, drain, through, latency, idle."`
	Markdown      bool          `help:"Write the tables in Markdown."`
}

// Run measures the Waybill at URL and, where REDIS_URL is set, bare asynq on that Redis beside it.
func (c *benchCommand) Run(ctx context.Context, s *streams) error {
	env, err := config.Load()
	if err != nil {
		return err
	}
	cfg := bench.Config{
		Connections: c.Connections,
		Jobs:        c.Jobs,
		Batch:       c.Batch,
		Rate:        c.Rate,
		Latency:     c.Latency,
		Rest:        c.Rest,
		Runs:        c.Runs,
		Only:        c.Only,
		Markdown:    c.Markdown,
		Log:         func(line string) { fmt.Fprintln(s.err, line) },
	}
	at := bench.Deployment{
		URL:        strings.TrimSuffix(c.URL, "/"),
		Queue:      c.Queue,
		API:        c.APIMetrics,
		Workers:    c.WorkerMetrics,
		RedisURL:   env.RedisURL.Reveal(),
		Token:      func(context.Context) (string, error) { return readSecret(c.TokenFile) },
		Postmaster: c.PostgresPID,
	}
	if len(at.API) == 0 {
		at.API = []string{at.URL + "/metrics"}
	}
	if url := env.DatabaseURL.Reveal(); at.Postmaster == 0 && strings.HasPrefix(url, "postgres") {
		if at.Postmaster, err = bench.Postmaster(ctx, url); err != nil {
			fmt.Fprintln(s.err, "PostgreSQL's CPU time is not counted:", err)
		}
	}
	if at.RedisURL != "" && !strings.HasPrefix(at.RedisURL, "redis://") &&
		!strings.HasPrefix(at.RedisURL, "rediss://") {
		fmt.Fprintln(
			s.err,
			"Redis's CPU time is not counted and bare asynq is left out: REDIS_URL is no redis:// or rediss://",
		)
		at.RedisURL = ""
	}
	ours, end, err := bench.Waybill(cfg, at)
	if err != nil {
		return err
	}
	defer end()
	systems := []bench.System{ours}
	if at.RedisURL != "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		peers, end, err := bench.Asynq(cfg, at.RedisURL, self, "bench-peer")
		if err != nil {
			return err
		}
		defer end()
		systems = slices.Concat(systems, peers)
	}
	return bench.Run(ctx, cfg, systems, s.out)
}

// benchPeerCommand is a process of bare asynq, which `waybill bench` starts.
type benchPeerCommand struct{}

func (benchPeerCommand) Run(ctx context.Context, s *streams) error { return peer.Run(ctx, s.in, s.out) }

// readSecret reads a secret from a file, so that it stands in no list of processes.
