package testenv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/testenv/server"
)

// together is how long servers have to find each other: they do it in seconds, but a machine that
// also compiles is slow.
const together = time.Minute

// group is a set of Redis servers that stand in for each other.
type group struct {
	t     testing.TB
	nodes map[string]*server.Redis // by address
	order []string
}

func newGroup(t testing.TB, n int, args ...string) *group {
	t.Helper()
	g := &group{t: t, nodes: map[string]*server.Redis{}}
	for range n {
		s, err := server.StartRedis(
			append([]string{"--appendonly", "yes", "--repl-diskless-sync-delay", "0"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { report(t, s.Close()) })
		g.nodes[s.Addr()] = s
		g.order = append(g.order, s.Addr())
	}
	return g
}

// Kill ends the server at addr as a crash would.
func (g *group) Kill(addr string) { g.t.Helper(); must(g.t, g.nodes[addr].Kill()) }

// Start starts the server at addr again, with its files.
func (g *group) Start(addr string) { g.t.Helper(); must(g.t, g.nodes[addr].Start()) }

// each runs f with a client of every server named, and answers the first error.
func (g *group) each(addrs []string, f func(ctx context.Context, addr string, c *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, addr := range addrs {
		c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
		err := f(ctx, addr, c)
		if err = errors.Join(err, c.Close()); err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
	}
	return nil
}

// replicates says whether the server follows its master, and has all of its data.
func replicates(ctx context.Context, c *redis.Client) error {
	info, err := c.Info(ctx, "replication").Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "role:slave") || !strings.Contains(info, "master_link_status:up") {
		return errors.New("no replica that has its master's data yet")
	}
	return nil
}
