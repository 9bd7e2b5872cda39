package command

import (
	"context"
	"io"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
)

// serveAction is what the api and worker commands can be asked to do.
type serveAction struct {
	Action string `arg:"" optional:"" enum:"run,healthcheck" default:"run" help:"run, or healthcheck: ask the one that runs with the same environment whether it is ready."`
}

type (
	apiCommand    struct{ serveAction }
	workerCommand struct{ serveAction }
)

// Run runs the API. The environment configures it: see docs/configuration.md.
func (c *apiCommand) Run(ctx context.Context, s *streams, p *Program) error {
	return c.serve(ctx, s, p.API(s.err))
}

// Run runs a worker. The environment configures it: see docs/configuration.md.
func (c *workerCommand) Run(ctx context.Context, s *streams, p *Program) error {
	return c.serve(ctx, s, p.Worker(s.err))
}

// API is the process that answers requests; log takes its log.
func (p *Program) API(log io.Writer) app.Process {
	return p.process(config.LoadAPI, app.Options{API: app.ServeAPI}, log)
}

// Worker is the process that runs jobs; log takes its log.
func (p *Program) Worker(log io.Writer) app.Process {
	return p.process(config.LoadWorker, app.Options{Worker: true}, log)
}

func (p *Program) process(load func() (config.Config, error), o app.Options, log io.Writer) app.Process {
	o.Types, o.Middleware, o.Setup = p.Types, p.Middleware, p.Setup
	return app.Process{Load: load, Options: o, Err: log}
}

func (a serveAction) serve(ctx context.Context, s *streams, process app.Process) error {
	process.Own = s.ownProcess
	code := 0
	if a.Action == "healthcheck" {
		code = process.Healthcheck(ctx)
	} else {
		code = process.Run(ctx)
	}
	if code != 0 {
		return &codedError{errSaid, code}
	}
	return nil
}
