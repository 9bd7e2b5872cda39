package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/obs"
)

// apiMemory is the memory beyond which an API process collects garbage more often. What requests
// hold at most is a third of it: the rest is for what is worked on. It keeps a process under attack
// below 400 MiB.
const apiMemory = 340 << 20

// Main runs a process from start to exit code: configuration, signals, and one clear line on
// standard error for what keeps it from starting. A second signal ends it at once.
func Main(load func() (config.Config, error), o Options) int {
	if code, answered := answer(os.Args[1:], o, os.Stdout, os.Stderr); answered {
		return code
	}
	if err := HideMemory(); err != nil {
		fmt.Fprintln(os.Stderr, "waybill cannot start:", err)
		return 1
	}
	ctx, stop := Signals(context.Background())
	defer stop()
	p := Process{Load: load, Options: o, Err: os.Stderr, Own: true}
	if len(os.Args) > 1 { // healthcheck: there is no other
		return p.Healthcheck(ctx)
	}
	return p.Run(ctx)
}

// Process is an API or a worker that is run for its exit code.
type Process struct {
	Load    func() (config.Config, error)
	Options Options
	Err     io.Writer // for the log, and for what keeps it from starting
	// Own says that it is the whole process: it may set the memory limit and the log of the Redis
	// library.
	Own bool
}

// Run runs it until ctx ends. The exit code is 1 for a failure and 2 for a wrong configuration.
func (p Process) Run(ctx context.Context) int {
	err := p.Serve(ctx)
	var wrong *config.Error
	var start *startError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintln(p.Err, err)
		return 2
	case errors.As(err, &start):
		fmt.Fprintln(p.Err, err)
	}
	return 1 // what ends a process that has started is in its log
}

// startError is why a process does not start.
type startError struct{ error }

func (e *startError) Error() string { return "waybill cannot start: " + e.error.Error() }
func (e *startError) Unwrap() error { return e.error }

// Serve runs it until ctx ends. A wrong configuration is a *config.Error.
func (p Process) Serve(ctx context.Context) error {
	cfg, err := p.Load()
	if err != nil {
		return err
	}
	out := obs.NewBufferedWriter(p.Err)
	defer func() { _ = out.Flush() }() // there is nowhere left to report it to
	log := obs.Logger(out, cfg.LogLevel, cfg.LogFormat)
	if p.Own {
		SetRedisLogger(log)
	}
	a, err := New(ctx, cfg, p.Options, log)
	if err != nil {
		return &startError{err}
	}
	if p.Own {
		p.limitMemory()
	}
	if err := a.Run(ctx); err != nil {
		log.Error("stopped", "err", err)
		return err
	}
	log.Info("stopped")
	return nil
}

func (p Process) limitMemory() {
	debug.FreeOSMemory() // building takes three times the memory that running does
	isAPI := p.Options.API != nil && !p.Options.Worker
	if byEnvironment := debug.SetMemoryLimit(-1) != math.MaxInt64; isAPI && !byEnvironment { // GOMEMLIMIT
		debug.SetMemoryLimit(apiMemory)
	}
}

// Healthcheck asks the process that runs with the same configuration whether it is ready.
func (p Process) Healthcheck(ctx context.Context) int {
	cfg, err := p.Load()
	if err != nil {
		fmt.Fprintln(p.Err, err)
		return 2
	}
	if err := healthcheck(ctx, cfg, p.Options); err != nil {
		fmt.Fprintln(p.Err, "waybill:", err)
		return 1
	}
	return 0
}

// Signals is a context that ends with the first SIGINT or SIGTERM; the second one ends the process
// as usual.
func Signals(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
