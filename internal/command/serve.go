package command

import (
	"context"

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
	return c.serve(ctx, s, config.LoadAPI, p.options(app.Options{API: app.ServeAPI}))
}

// Run runs a worker. The environment configures it: see docs/configuration.md.
func (c *workerCommand) Run(ctx context.Context, s *streams, p *Program) error {
	return c.serve(ctx, s, config.LoadWorker, p.options(app.Options{Worker: true}))
}

func (p *Program) options(o app.Options) app.Options {
	o.Types, o.Middleware, o.Setup = p.Types, p.Middleware, p.Setup
	return o
}

func (a serveAction) serve(ctx context.Context, s *streams, load func() (config.Config, error), o app.Options) error {
	process := app.Process{Load: load, Options: o, Err: s.err, Own: s.ownProcess}
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
