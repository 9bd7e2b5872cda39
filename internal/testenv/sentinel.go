package testenv

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/testenv/server"
)

const sentinelMaster = "waybill"

// SentinelSet is a Redis master with one replica, and three sentinels that watch them.
type SentinelSet struct {
	URL string // redis+sentinel://…: of the sentinels

	*group
	sentinels []string
}

// Sentinels starts a set for this test alone, and returns when all of it know each other.
func Sentinels(t testing.TB) *SentinelSet {
	t.Helper()
	s := &SentinelSet{group: newGroup(t, 2)}
	master, replica := s.order[0], s.order[1]
	host, port, _ := net.SplitHostPort(master)
	must(
		t,
		s.each(
			[]string{replica},
			func(ctx context.Context, _ string, c *redis.Client) error { return c.ReplicaOf(ctx, host, port).Err() },
		),
	)
	EventuallyNoError(t, together, func() error {
		return s.each(
			[]string{replica},
			func(ctx context.Context, _ string, c *redis.Client) error { return replicates(ctx, c) },
		)
	}, "the replica does not follow")
	for range 3 {
		w, err := server.StartSentinel(sentinelMaster, master, 2)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { report(t, w.Close()) })
		s.sentinels = append(s.sentinels, w.Addr())
	}
	s.URL = "redis+sentinel://" + strings.Join(s.sentinels, ",") + "/" + sentinelMaster
	EventuallyNoError(t, together, s.acquainted, "the sentinels do not know each other")
	return s
}

// acquainted says whether every sentinel knows the others and the replica: one that does not cannot
// promote it.
func (s *SentinelSet) acquainted() error {
	return s.each(s.sentinels, func(ctx context.Context, _ string, c *redis.Client) error {
		info, err := c.Do(ctx, "sentinel", "master", sentinelMaster).Result()
		if err != nil {
			return err
		}
		fields, _ := info.(map[any]any)
		if fields["num-other-sentinels"] != "2" || fields["num-slaves"] != "1" || fields["flags"] != "master" {
			return fmt.Errorf(
				"it knows %v sentinels and %v replicas, flags %v",
				fields["num-other-sentinels"],
				fields["num-slaves"],
				fields["flags"],
			)
		}
		return nil
	})
}

// Master is where the sentinels say that the master is; empty while none of them says so.
func (s *SentinelSet) Master() string {
	for _, addr := range s.sentinels {
		c := redis.NewSentinelClient(&redis.Options{Addr: addr})
		at, err := c.GetMasterAddrByName(context.Background(), sentinelMaster).Result()
		_ = c.Close()
		if err == nil && len(at) == 2 {
			return net.JoinHostPort(at[0], at[1])
		}
	}
	return ""
}

// Replica is the address of the server that is not the master.
func (s *SentinelSet) Replica() string {
	if s.order[0] == s.Master() {
		return s.order[1]
	}
	return s.order[0]
}

// Sentinels are the addresses of those who watch.
func (s *SentinelSet) Sentinels() []string { return s.sentinels }

// AwaitFailover returns when another server than old is master.
func (s *SentinelSet) AwaitFailover(old string) {
	s.t.Helper()
	Eventually(
		s.t,
		together,
		func() bool { m := s.Master(); return m != "" && m != old },
		"no other master than %s",
		old,
	)
}
