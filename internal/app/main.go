package app

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/obs"
)

// apiMemory is the memory beyond which an API process collects garbage more often. What requests hold at most is a third of it: the
// rest is for what is worked on. It keeps a process under attack below 400 MiB.
const apiMemory = 340 << 20

// Main runs a process from start to exit code: configuration, signals, and one clear line on standard error for whatever keeps it from
// starting. A second signal ends it at once.
func Main(load func() (config.Config, error), o Options) int {
	if code, answered := answer(os.Args[1:], o, os.Stdout, os.Stderr); answered {
		return code
	}
	if err := HideMemory(); err != nil {
		fmt.Fprintln(os.Stderr, "waybill cannot start:", err)
		return 1
	}
	cfg, err := load()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	out := obs.NewBufferedWriter(os.Stderr)
	defer func() { _ = out.Flush() }() // to standard error: nobody would hear of it
	log := obs.Logger(out, cfg.LogLevel, cfg.LogFormat)
	SetRedisLogger(log)
	ctx, stop := Signals(context.Background())
	defer stop()
	if len(os.Args) > 1 { // healthcheck: there is no other
		if err := healthcheck(ctx, cfg, o); err != nil {
			fmt.Fprintln(os.Stderr, "waybill:", err)
			return 1
		}
		return 0
	}
	a, err := New(ctx, cfg, o, log)
	if err != nil {
		fmt.Fprintln(os.Stderr, "waybill cannot start:", err)
		return 1
	}
	debug.FreeOSMemory()                                                        // building takes three times the memory that running does
	if o.API != nil && !o.Worker && debug.SetMemoryLimit(-1) == math.MaxInt64 { // GOMEMLIMIT is not set
		debug.SetMemoryLimit(apiMemory)
	}
	if err := a.Run(ctx); err != nil {
		log.Error("stopped", "err", err)
		return 1
	}
	log.Info("stopped")
	return 0
}

// Signals is a context that ends with the first SIGINT or SIGTERM; the second one ends the process as usual.
func Signals(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
