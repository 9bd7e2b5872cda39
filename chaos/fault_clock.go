package main

import (
	"context"
	"errors"
	"time"

	"github.com/waybill/waybill/internal/loop"
)

// stepClocks moves the clock of PostgreSQL, which the ledger goes by, and that of Redis apart, as
// two machines without a common source of time would be. The processes keep the machine's. A wide
// step back of the ledger's clock is left to chaos/clock: what is planned then waits for as long.
func stepClocks(ctx context.Context, w *cluster) (err error) {
	defer func() { err = errors.Join(err, w.s.clock.Set(0), w.clock.Set(0)) }()
	for _, step := range []struct{ ledger, redis time.Duration }{
		{2 * time.Millisecond, 0},
		{5 * time.Second, -10 * time.Minute},
		{0, 10 * time.Minute}, // the ledger's clock steps back
		{5 * time.Second, 0},
		{-5 * time.Second, -5 * time.Second},
	} {
		if err := errors.Join(w.s.clock.Set(step.ledger), w.clock.Set(step.redis)); err != nil {
			return err
		}
		loop.Sleep(ctx, 4*time.Second)
	}
	return nil
}
