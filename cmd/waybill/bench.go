package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/waybill/waybill/internal/bench"
	"github.com/waybill/waybill/internal/config"
)

type benchCommand struct {
	URL         string   `default:"http://127.0.0.1:8080" help:"The API."`
	TokenFile   string   `type:"existingfile" required:"" help:"A file with an API key or access token, an operator's: the benchmark pauses its queue."`
	Queue       string   `default:"low" help:"The queue that is used. It should be empty, and nobody else's."`
	Jobs        int      `default:"20000" help:"Jobs in each measurement."`
	Batch       int      `default:"1000" help:"Jobs in one request of the batch measurement."`
	Connections int      `default:"64" help:"Connections at once."`
	Rate        int      `default:"50" help:"Jobs a second of the latency measurement."`
	Runs        int      `default:"3" help:"Runs of each measurement; the table shows the median."`
	Only        []string `help:"Measure only these: single, batch, drain, through, latency."`
	Metrics     []string `help:"URLs of /metrics of the API and the workers, whose CPU time counts."`
}

// Run measures the Waybill at URL and, where REDIS_URL is set, bare asynq on that Redis beside it.
func (c *benchCommand) Run(ctx context.Context, s *streams) error {
	for _, name := range c.Only {
		if !strings.Contains(" "+strings.Join(bench.Names(), " ")+" ", " "+name+" ") {
			return errors.New("no such measurement: " + name)
		}
	}
	token, err := readSecret(c.TokenFile)
	if err != nil {
		return err
	}
	cfg, err := config.Load()
	if err != nil {
		return err
	}
	return bench.Run(ctx, bench.Config{URL: strings.TrimSuffix(c.URL, "/"), Token: token, Metrics: c.Metrics, RedisURL: cfg.RedisURL.Reveal(), Queue: c.Queue,
		Connections: c.Connections, Jobs: c.Jobs, Batch: c.Batch, Rate: c.Rate, Runs: c.Runs, Only: c.Only}, s.out)
}

// readSecret reads a secret from a file, so that it stands in no list of processes.
func readSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}
