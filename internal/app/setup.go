package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill/waybill/tasks"
)

// stopTimeout limits what Env.OnStop registered.
const stopTimeout = 15 * time.Second

// Env is what Options.Setup is given.
type Env struct{ app *App }

// Handle adds task types.
func (e *Env) Handle(types ...tasks.Type) error { return e.app.tasks.Add(types...) }

// OnStop registers f to be called when the process ends, after its jobs; the last registered is
// called first.
func (e *Env) OnStop(f func(context.Context) error) {
	e.app.closers = append(e.app.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		return f(ctx)
	})
}

// Logger is the process's.
func (e *Env) Logger() *slog.Logger { return e.app.log }

// Metrics registers with the process's own registry, which its /metrics shows.
func (e *Env) Metrics() prometheus.Registerer { return e.app.telemetry.registry }
