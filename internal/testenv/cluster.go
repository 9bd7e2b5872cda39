package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

const (
	clusterMasters = 3
	clusterSlots   = 16384
)

// RedisCluster is a Redis Cluster of three masters with one replica each.
type RedisCluster struct {
	URL string // redis+cluster://…: of three of its servers

	*group
}

// Cluster starts a cluster for this test alone, and returns when it serves every slot and each
// replica has its master's data.
func Cluster(t testing.TB) *RedisCluster {
	t.Helper()
	c := &RedisCluster{
		group: newGroup(t, 2*clusterMasters, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
			"--cluster-replica-validity-factor", "0"),
	}
	masters, replicas := c.order[:clusterMasters], c.order[clusterMasters:]
	must(t, c.shareSlots(masters))
	must(t, c.meet())
	EventuallyNoError(t, together, func() error { return c.whole(c.order) }, "the cluster does not come together")
	must(t, c.follow(masters, replicas))
	EventuallyNoError(t, together, func() error {
		return c.each(
			replicas,
			func(ctx context.Context, _ string, r *redis.Client) error { return replicates(ctx, r) },
		)
	}, "the replicas do not follow")
	c.URL = "redis+cluster://" + strings.Join(masters, ",")
	return c
}

func (c *RedisCluster) shareSlots(masters []string) error {
	next := 0
	return c.each(masters, func(ctx context.Context, addr string, m *redis.Client) error {
		first := next * clusterSlots / clusterMasters
		next++
		last := next*clusterSlots/clusterMasters - 1
		return errors.Join(
			m.Do(ctx, "cluster", "set-config-epoch", next).Err(),
			m.ClusterAddSlotsRange(ctx, first, last).Err(),
		)
	})
}

// meet introduces all servers to the first; the rest is gossip.
func (c *RedisCluster) meet() error {
	host, port, _ := net.SplitHostPort(c.order[0])
	return c.each(c.order[1:], func(ctx context.Context, _ string, n *redis.Client) error {
		return n.ClusterMeet(ctx, host, port).Err()
	})
}

// whole says whether each of these servers knows all others and sees every slot served.
func (c *RedisCluster) whole(addrs []string) error {
	return c.each(addrs, func(ctx context.Context, _ string, n *redis.Client) error {
		info, err := n.ClusterInfo(ctx).Result()
		if err != nil {
			return err
		}
		if !strings.Contains(info, "cluster_state:ok") ||
			!strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", len(c.order))) {
			return fmt.Errorf("it sees %s", strings.ReplaceAll(info, "\r\n", " "))
		}
		return nil
	})
}

func (c *RedisCluster) follow(masters, replicas []string) error {
	ids := make([]string, 0, len(masters))
	err := c.each(masters, func(ctx context.Context, _ string, m *redis.Client) error {
		id, err := m.ClusterMyID(ctx).Result()
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return err
	}
	return c.each(replicas, func(ctx context.Context, _ string, r *redis.Client) error {
		id := ids[0]
		ids = ids[1:]
		return r.ClusterReplicate(ctx, id).Err()
	})
}

// MasterOf is the address of the server that has the key, as any server that answers sees it; empty
// while none does.
func (c *RedisCluster) MasterOf(key string) string {
	found := ""
	for _, addr := range c.order {
		_ = c.each([]string{addr}, func(ctx context.Context, _ string, n *redis.Client) error {
			slot, err := n.ClusterKeySlot(ctx, key).Result()
			if err != nil {
				return err
			}
			shards, err := n.ClusterShards(ctx).Result()
			for _, shard := range shards {
				if addr := masterOf(shard, slot); addr != "" {
					found = addr
				}
			}
			return err
		})
		if found != "" {
			return found
		}
	}
	return found
}

// AwaitFailover returns when another server than old has the key, and the cluster serves every slot
// again.
func (c *RedisCluster) AwaitFailover(key, old string) {
	c.t.Helper()
	EventuallyNoError(c.t, together, func() error {
		now := c.MasterOf(key)
		if now == "" || now == old {
			return fmt.Errorf("%s is still the master", old)
		}
		return c.whole([]string{now})
	}, "no failover")
}

// masterOf is the healthy master of a shard that holds the slot; empty: another shard does, or none
// yet.
func masterOf(shard redis.ClusterShard, slot int64) string {
	for _, r := range shard.Slots {
		if r.Start > slot || slot > r.End {
			continue
		}
		for _, n := range shard.Nodes {
			if n.Role == "master" && n.Health == "online" {
				return net.JoinHostPort(n.IP, strconv.FormatInt(n.Port, 10))
			}
		}
	}
	return ""
}
