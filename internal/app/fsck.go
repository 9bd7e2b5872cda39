package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/dispatch"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/obs"
)

// Fsck compares the ledger with Redis, for the command line.
func Fsck(ctx context.Context, cfg config.Config, repair bool) (found []dispatch.Finding, err error) {
	s, err := OpenStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Check(ctx); err != nil {
		return nil, err
	}
	client, err := dispatch.Connect(cfg.RedisURL.Reveal())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, fmt.Errorf("redis cannot be used (REDIS_URL): %w", err)
	}
	log := obs.Logger(os.Stderr, slog.LevelWarn, "text")
	everythingPrivate := func(string) bool { return true } // the catalogue is not at hand: no payload is shown to Redis
	d, err := dispatch.New(dispatch.Config{Private: everythingPrivate, Clock: s.Clock()}, client, log)
	if err != nil {
		return nil, err
	}
	// Its own audit never judges workers, so it needs no heartbeat.
	audit, err := dispatch.NewAudit(dispatch.AuditConfig{Queues: cfg.Queues.Names(), Judge: job.NewID()}, s, d)
	if err != nil {
		return nil, err
	}
	return audit.Fsck(ctx, repair)
}
