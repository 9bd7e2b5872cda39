// Command bench fills the table of docs/performance.md by itself: it builds the api and the worker,
// starts a PostgreSQL (fsync and synchronous_commit on) and a Redis (append-only file, synced every
// second), runs one of each with default settings, and measures Waybill, bare asynq and River in
// turn on the same machine. From the folder bench/:
//
//	go run . [-jobs n] [-runs n] [-only single,batch,…] [-markdown] …
//	go run . -scale [-scale-open n] [-scale-finished n] …
//
// `waybill bench` measures a deployment that is running already; it is the same code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/internal/bench"
)

// options are the flags.
type options struct {
	bench.Config
	peers            []string
	riverWorkers     int
	riverConnections int
	scale            bool
	scaleOpen        int
	scaleFinished    int
	limit            time.Duration
	dir              string
	keep             bool
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) int {
	o, err := parse(args, errs)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(errs, "bench:", err)
		}
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	if err := measure(ctx, o, out); err != nil {
		fmt.Fprintln(errs, "bench:", err)
		return 1
	}
	return 0
}

func parse(args []string, errs io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(errs)
	only := fs.String("only", "", "measure only these, separated by commas: "+strings.Join(bench.Names(), ", "))
	peers := fs.String("peers", "asynq,river", "beside Waybill; separated by commas, or empty")
	fs.IntVar(&o.Jobs, "jobs", 20_000, "jobs in each measurement")
	fs.IntVar(&o.Batch, "batch", 1000, "jobs in one request of the batch measurement")
	fs.IntVar(&o.Connections, "connections", 64, "connections at once")
	fs.IntVar(&o.Rate, "rate", 50, "jobs a second of the latency measurement")
	fs.IntVar(&o.Runs, "runs", 3, "runs of each measurement; the table shows the median")
	fs.DurationVar(&o.Latency, "latency", 10*time.Second, "how long the latency measurement submits")
	fs.DurationVar(&o.Rest, "rest", 10*time.Second, "how long the idle measurement watches")
	fs.IntVar(&o.riverWorkers, "river-workers", 500, "River's MaxWorkers; it polls as often as it can")
	fs.IntVar(&o.riverConnections, "river-connections", 16, "River's pool of connections; with more it is slower")
	fs.BoolVar(&o.scale, "scale", false, "instead measure what a full ledger costs, against an empty one")
	fs.IntVar(&o.scaleOpen, "scale-open", 1_000_000, "open jobs of the full ledger, half of them scheduled far ahead")
	fs.IntVar(&o.scaleFinished, "scale-finished", 10_000_000, "finished jobs of the full ledger")
	fs.DurationVar(&o.limit, "limit", time.Hour, "give up after this time")
	fs.BoolVar(&o.Markdown, "markdown", false, "write the tables in Markdown")
	fs.StringVar(&o.dir, "source", "..", "the folder of the main module")
	fs.BoolVar(&o.keep, "keep", false, "keep the processes' logs")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.Only, o.peers = list(*only), list(*peers)
	if o.scale && (o.scaleOpen < 2 || o.scaleFinished < 1) {
		return o, errors.New("a full ledger has at least two open jobs and a finished one")
	}
	for _, p := range o.peers {
		if p != "asynq" && p != "river" {
			return o, fmt.Errorf("there is no peer %q", p)
		}
	}
	o.Log = func(line string) { fmt.Fprintln(errs, time.Now().Format(time.TimeOnly), line) }
	return o, nil
}

func list(text string) []string {
	return slices.DeleteFunc(strings.Split(text, ","), func(s string) bool { return s == "" })
}

// measure sets the stage and runs everything on it.
func measure(ctx context.Context, o options, out io.Writer) (err error) {
	o.Log("starting PostgreSQL, Redis, api and worker")
	s, err := newStage(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	about, err := s.about(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n\n", about)
	if s.o.scale {
		return s.scale(ctx, out)
	}
	systems, end, err := s.systems()
	if err != nil {
		return err
	}
	defer end()
	return bench.Run(ctx, o.Config, systems, out)
}
