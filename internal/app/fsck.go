package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/dispatch"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/obs"
	"github.com/waybill/waybill/internal/reconcile"
	"github.com/waybill/waybill/internal/redisx"
	"github.com/waybill/waybill/store"
)

// FsckOptions say what Fsck does beside comparing.
type FsckOptions struct {
	Repair   bool // repair what is found
	TakeOver bool // first mark the Redis as this deployment's, also if it is another's
}

// Fsck compares the ledger with Redis, for the command line.
func Fsck(ctx context.Context, cfg config.Config, o FsckOptions) (found []reconcile.Finding, err error) {
	counts := new(store.CommandCounts)
	s, err := openStore(ctx, cfg, counts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, counts.Write(context.WithoutCancel(ctx), s), s.Close()) }()
	if err := s.Check(ctx); err != nil {
		return nil, err
	}
	client, err := redisx.Connect(cfg.RedisURL.Reveal())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	log := obs.Logger(os.Stderr, slog.LevelWarn, "text")
	mark, err := ownMark(ctx, cfg, s, client, o.TakeOver)
	if err != nil {
		return nil, err
	}
	everythingPrivate := func(string) bool { return true } // the catalogue is not at hand: no payload is shown to Redis
	d, err := dispatch.New(dispatch.Config{Private: everythingPrivate, Mark: mark, Clock: s.Clock()}, client, log)
	if err != nil {
		return nil, err
	}
	// Fsck declares no worker dead, so that it needs no heartbeat row.
	r, err := reconcile.New(reconcile.Config{
		Queues:   cfg.Queues.Names(),
		WorkerID: job.NewID(),
		Mark:     mark,
		Clock:    s.Clock(),
	}, s, d, client, log)
	if err != nil {
		return nil, err
	}
	return r.Fsck(ctx, o.Repair)
}

// ownMark answers the deployment's mark in a Redis that is this deployment's, or is made so.
func ownMark(
	ctx context.Context,
	cfg config.Config,
	s *store.Store,
	client redis.UniversalClient,
	takeOver bool,
) (*redisx.DeploymentMark, error) {
	id, err := s.Deployment(ctx)
	if err != nil {
		return nil, plainly(err)
	}
	mark, err := redisx.NewDeploymentMark(client, id, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if takeOver {
		err = mark.TakeOver(ctx, reconcile.WatermarkKeys(cfg.Queues.Names()))
	} else {
		err = mark.Check(ctx)
	}
	switch {
	case err == nil, errors.Is(err, redisx.ErrOtherDeployment):
		return mark, err
	case redisx.Permanent(err) != nil:
		return nil, redisx.Permanent(err)
	default:
		return nil, fmt.Errorf("redis cannot be used (REDIS_URL): %w", err)
	}
}
