package dispatch

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/redisx"
)

// High and low water of Redis's memory, as shares of its limit. Sending stops at high water and
// goes on below low water; meanwhile jobs wait in the ledger. A Redis at maxmemory could not be
// drained, since dequeuing a task writes, too.
const (
	highWater       = 0.85
	lowWater        = 0.75
	refreshInterval = time.Second
)

// memoryGuard stops sending before Redis is full.
type memoryGuard struct {
	redis redis.UniversalClient
	log   *slog.Logger
	full  atomic.Bool
	used  atomic.Int64
	limit atomic.Int64
}

func newMemoryGuard(c redis.UniversalClient, log *slog.Logger) *memoryGuard {
	return &memoryGuard{redis: c, log: log}
}

func (g *memoryGuard) run(ctx context.Context) {
	tick := time.NewTicker(refreshInterval)
	defer tick.Stop()
	for {
		g.refresh(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// refresh reads the fullest server. An error changes nothing: sending to that Redis fails by
// itself.
func (g *memoryGuard) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	m, err := redisx.Memory(ctx, g.redis)
	if err != nil {
		return
	}
	g.used.Store(m.Used)
	g.limit.Store(m.Limit)
	switch share := m.Share(); {
	case share >= highWater && !g.full.Swap(true):
		g.log.WarnContext(
			ctx,
			"redis nears its memory limit, jobs wait in the ledger",
			"used_bytes",
			m.Used,
			"limit_bytes",
			m.Limit,
		)
	case share < lowWater && g.full.Swap(false):
		g.log.InfoContext(ctx, "redis has room again", "used_bytes", m.Used, "limit_bytes", m.Limit)
	}
}

// onError stops sending at an OOM error, without waiting for the next refresh.
func (g *memoryGuard) onError(err error) {
	if strings.Contains(err.Error(), "OOM ") {
		g.full.Store(true)
	}
}
