package tasks

import (
	"context"
	"log/slog"
)

// Runtime is what the process that runs a handler offers it. Workers and test kits put it into the
// context with NewContext; handlers reach it through Progress and Log. Zero fields do nothing.
type Runtime struct {
	// Progress is called on the handler's goroutines. percent is from 0 to 100.
	Progress func(percent float64, message string)
	// Logger makes what Log answers. It is called by each Log.
	Logger func() *slog.Logger
}

type runtimeKey struct{}

// NewContext is ctx with r, for those who call a RawFunc.
func NewContext(ctx context.Context, r Runtime) context.Context {
	return context.WithValue(ctx, runtimeKey{}, r)
}

func runtimeOf(ctx context.Context) Runtime {
	r, _ := ctx.Value(runtimeKey{}).(Runtime)
	return r
}

// Progress reports how far the work is: percent from 0 to 100 (values outside are cut) and a short
// message, at most 1 KiB. Only the newest report is kept, so it may be called often. It does
// nothing outside of a handler.
func Progress(ctx context.Context, percent float64, message string) {
	report := runtimeOf(ctx).Progress
	if report == nil {
		return
	}
	if !(percent >= 0) { // NaN too, which JSON cannot carry
		percent = 0
	}
	report(min(percent, 100), message)
}

// Log is the logger of the running attempt; its lines carry the job's id, type and attempt. Outside
// of a handler it discards what it is given.
func Log(ctx context.Context) *slog.Logger {
	if logger := runtimeOf(ctx).Logger; logger != nil {
		return logger()
	}
	return slog.New(slog.DiscardHandler)
}
