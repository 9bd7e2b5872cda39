package testenv_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/testenv"
)

func TestAClusterPromotesTheReplicaOfAMasterThatWasKilled(t *testing.T) {
	t.Parallel()
	cluster := testenv.Cluster(t)
	master := cluster.MasterOf("{default}")
	c := redis.NewClusterClient(
		&redis.ClusterOptions{Addrs: strings.Split(strings.TrimPrefix(cluster.URL, "redis+cluster://"), ",")},
	)
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Set(t.Context(), "{default}:a", "b", 0).Err(); err != nil {
		t.Fatal(err)
	}
	cluster.Kill(master)
	cluster.AwaitFailover("{default}", master)
	testenv.EventuallyNoError(
		t,
		90*time.Second,
		func() error { return c.Set(t.Context(), "{default}:a", "c", 0).Err() },
		"the new master does not write",
	)
	cluster.Start(master)
}

func TestSentinelsPromoteTheReplicaOfAMasterThatWasKilled(t *testing.T) {
	t.Parallel()
	set := testenv.Sentinels(t)
	old := set.Master()
	set.Kill(old)
	set.AwaitFailover(old)
	c := redis.NewClient(&redis.Options{Addr: set.Master()})
	t.Cleanup(func() { _ = c.Close() })
	testenv.EventuallyNoError(
		t,
		90*time.Second,
		func() error { return c.Set(t.Context(), "a", "b", 0).Err() },
		"the new master does not write",
	)
	set.Start(old)
}
