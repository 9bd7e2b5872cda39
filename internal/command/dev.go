package command

import (
	"context"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/dev"
	"github.com/waybill/waybill/internal/obs"
)

type devCommand struct {
	Addr        string `default:"127.0.0.1:8080" help:"Where the API listens."`
	Data        string `default:".waybill" help:"Folder for the ledger, Redis's file and the administrator's password."`
	DatabaseURL string `help:"A ledger of your own: postgres://… or sqlite:PATH."`
	RedisURL    string `help:"A Redis of your own."`
}

func (c *devCommand) Run(ctx context.Context, s *streams, p *Program) error {
	cfg, err := config.Load()
	if err != nil {
		return err
	}
	log := obs.Logger(s.err, cfg.LogLevel, "text")
	if s.ownProcess {
		app.SetRedisLogger(log)
	}
	return dev.Run(ctx, cfg, dev.Options{
		Addr:        c.Addr,
		Data:        c.Data,
		DatabaseURL: c.DatabaseURL,
		RedisURL:    c.RedisURL,
		Program:     p.name(),
		Types:       p.Types,
		Middleware:  p.Middleware,
		Setup:       p.Setup,
	}, s.out, log)
}
