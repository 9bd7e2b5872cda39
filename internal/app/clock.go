package app

import (
	"context"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/loop"
	"github.com/waybill/waybill/internal/obs"
)

const (
	measureEvery   = time.Second
	measureTimeout = 3 * time.Second
	// maxOffset is from which offset on the clocks of this process and of the ledger are reported
	// as wrong. Waybill goes by the ledger's either way; logs, traces and certificates go by the
	// process's.
	maxOffset = time.Second
)

// followLedger measures the ledger's clock before this process makes its first id, and goes on
// measuring it.
func (a *App) followLedger(ctx context.Context) error {
	if _, err := a.store.Now(ctx); err != nil {
		return plainly(err)
	}
	clock := a.store.Clock()
	job.SetIDClock(clock.Now)
	obs.Gauge(
		a.telemetry.registry,
		"waybill_clock_offset_seconds",
		"By how much the ledger's clock is ahead of this process's.",
		func() float64 { return clock.Offset().Seconds() },
	)
	obs.Gauge(
		a.telemetry.registry,
		"waybill_clock_error_seconds",
		"By how much waybill_clock_offset_seconds may be wrong: half of the round trip to the ledger.",
		func() float64 { return clock.Error().Seconds() },
	)
	w := &clockOffsetLog{log: a.log, offset: clock.Offset}
	w.look(ctx)
	a.add("clock", func(ctx context.Context) error {
		for loop.Sleep(ctx, measureEvery) {
			short, cancel := context.WithTimeout(ctx, measureTimeout)
			_, _ = a.store.Now(short) // where it fails, so does everything else that asks the ledger, and says so
			cancel()
			w.look(ctx)
		}
		return nil
	})
	return nil
}

// clockOffsetLog logs when the two clocks come to differ by more than maxOffset, and when they
// agree again.
type clockOffsetLog struct {
	log    logger
	offset func() time.Duration
	wrong  bool
}

func (w *clockOffsetLog) look(ctx context.Context) {
	offset := w.offset()
	if wrong := offset.Abs() > maxOffset; wrong != w.wrong {
		w.wrong = wrong
		w.log.WarnContext(
			ctx,
			"the clock of this process differs from the ledger's",
			"more_than_a_second",
			wrong,
			"ledger_ahead_by",
			offset,
		)
	}
}
