package redisx

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// MemoryUse is how much memory a Redis server uses.
type MemoryUse struct {
	Used, Limit int64 // bytes; a limit of 0 is none
	policy      string
	aof         bool
}

// Share is the used part of the limit; 0 without a limit.
func (m MemoryUse) Share() float64 {
	if m.Limit == 0 {
		return 0
	}
	return float64(m.Used) / float64(m.Limit)
}

// Memory reads the figures of the server that is nearest to its limit. INFO is asked for one
// section at a time, since not every Redis takes more.
func Memory(ctx context.Context, c redis.UniversalClient) (fullest MemoryUse, err error) {
	found := make(chan MemoryUse, 1000) // ForEachMaster asks all of them at once
	err = ForEachMaster(ctx, c, func(ctx context.Context, server *redis.Client) error {
		text, err := server.Info(ctx, "memory").Result()
		if err != nil {
			return fmt.Errorf("ask redis for its memory: %w", err)
		}
		info := fields(text)
		m := MemoryUse{policy: info["maxmemory_policy"]}
		m.Used, _ = strconv.ParseInt(info["used_memory"], 10, 64)
		m.Limit, _ = strconv.ParseInt(info["maxmemory"], 10, 64)
		found <- m
		return nil
	})
	close(found)
	for m := range found {
		if m.Share() >= fullest.Share() {
			fullest = m
		}
	}
	return fullest, err
}

// keepsLog reports whether every server keeps an append-only file.
func keepsLog(ctx context.Context, c redis.UniversalClient) (bool, error) {
	var without atomic.Int32 // ForEachMaster asks all of them at once
	err := ForEachMaster(ctx, c, func(ctx context.Context, server *redis.Client) error {
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
