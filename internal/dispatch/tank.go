package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// High and low water of Redis's memory, as shares of its limit. Redis at maxmemory cannot even drain: taking a task writes too. So sending
// stops at high water, jobs wait in the ledger, and goes on below low water.
const (
	highWater = 0.85
	lowWater  = 0.75
	gaugeEach = time.Second
)

// tank watches how full Redis is.
type tank struct {
	redis redis.UniversalClient
	log   *slog.Logger
	full  atomic.Bool
	used  atomic.Int64
	limit atomic.Int64
}

func newTank(c redis.UniversalClient, log *slog.Logger) *tank { return &tank{redis: c, log: log} }

func (t *tank) run(ctx context.Context) {
	tick := time.NewTicker(gaugeEach)
	defer tick.Stop()
	for {
		t.gauge(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// gauge reads the fullest server. A Redis that does not answer changes nothing here: sending to it fails by itself.
func (t *tank) gauge(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	m, err := memory(ctx, t.redis)
	if err != nil {
		return
	}
	t.used.Store(m.used)
	t.limit.Store(m.limit)
	switch share := m.share(); {
	case share >= highWater && !t.full.Swap(true):
		t.log.WarnContext(ctx, "redis nears its memory limit, jobs wait in the ledger", "used_bytes", m.used, "limit_bytes", m.limit)
	case share < lowWater && t.full.Swap(false):
		t.log.InfoContext(ctx, "redis has room again", "used_bytes", m.used, "limit_bytes", m.limit)
	}
}

// noticed closes the tap at once where Redis itself says that it is full.
func (t *tank) noticed(err error) {
	if strings.Contains(err.Error(), "OOM ") {
		t.full.Store(true)
	}
}

type memoryUse struct {
	used, limit int64
	policy      string
	aof         bool
}

func (m memoryUse) share() float64 {
	if m.limit == 0 {
		return 0
	}
	return float64(m.used) / float64(m.limit)
}

// memory answers the figures of the server that is nearest to its limit. INFO is asked for one section at a time, since not every Redis takes
// more.
func memory(ctx context.Context, c redis.UniversalClient) (fullest memoryUse, err error) {
	found := make(chan memoryUse, 1000) // ForEachMaster asks all of them at once
	err = masters(ctx, c, func(ctx context.Context, server *redis.Client) error {
		text, err := server.Info(ctx, "memory").Result()
		if err != nil {
			return fmt.Errorf("ask redis for its memory: %w", err)
		}
		info := fields(text)
		m := memoryUse{policy: info["maxmemory_policy"]}
		m.used, _ = strconv.ParseInt(info["used_memory"], 10, 64)
		m.limit, _ = strconv.ParseInt(info["maxmemory"], 10, 64)
		found <- m
		return nil
	})
	close(found)
	for m := range found {
		if m.share() >= fullest.share() {
			fullest = m
		}
	}
	return fullest, err
}

// keepsLog reports whether every server keeps an append-only file.
func keepsLog(ctx context.Context, c redis.UniversalClient) (bool, error) {
	var without atomic.Int32 // ForEachMaster asks all of them at once
	err := masters(ctx, c, func(ctx context.Context, server *redis.Client) error {
		text, err := server.Info(ctx, "persistence").Result()
		if err != nil {
			return fmt.Errorf("ask redis for its append-only file: %w", err)
		}
		if fields(text)["aof_enabled"] != "1" {
			without.Add(1)
		}
		return nil
	})
	return without.Load() == 0, err
}

func fields(info string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			m[k] = v
		}
	}
	return m
}
