package main

import (
	"context"
	"time"

	"github.com/waybill/waybill/chaos/proxy"
	"github.com/waybill/waybill/internal/loop"
)

// slowLinks delays everything to Redis, and then everything to PostgreSQL, by each of three times.
func slowLinks(ctx context.Context, w *cluster) error {
	lines := []func(*member) *proxy.Link{
		func(m *member) *proxy.Link { return m.redis },
		func(m *member) *proxy.Link { return m.pg },
	}
	for _, line := range lines {
		for _, d := range []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second} {
			for _, m := range w.members() {
				line(m).Delay(d)
			}
			loop.Sleep(ctx, 4*time.Second)
		}
		for _, m := range w.members() {
			line(m).Delay(0)
		}
		loop.Sleep(ctx, 2*time.Second)
	}
	return nil
}

// partitions swallows all packets on one line after the other. The last one lasts until the worker
// is taken for dead.
func partitions(ctx context.Context, w *cluster) error {
	cuts := []struct {
		link *proxy.Link
		last time.Duration
	}{
		{w.api.redis, 4 * time.Second},
		{w.api.pg, 4 * time.Second},
		{w.workers[0].redis, 6 * time.Second},
		{w.workers[0].pg, 14 * time.Second},
	}
	for _, c := range cuts {
		c.link.Silence(true)
		loop.Sleep(ctx, c.last)
		c.link.Silence(false)
		loop.Sleep(ctx, time.Second)
	}
	return nil
}
