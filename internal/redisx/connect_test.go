package redisx

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/testenv"
)

func TestAUrlThatCannotBeReadIsRefusedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "localhost:6379", "http://:hunter2@a", "redis://:hunter2@a:b", "redis://:hunter2@a/x",
		"redis://:hunter2@a?no_such_option=1",
		"redis+sentinel://:hunter2@a:1,b:2", "redis+sentinel://:hunter2@a:1,b:2/", "redis+sentinel://:hunter2@/main",
		"redis+sentinel://:hunter2@a,,b/main",
		"redis+sentinel://:hunter2@a/main?db=x", "redis+sentinel://:hunter2@a/main?no_such_option=1",
		"redis+cluster://:hunter2@", "redis+cluster://:hunter2@a,", "redis+cluster://:hunter2@a:b:c,d",
		"redis+cluster://:hunter2@a?no_such_option=1",
	} {
		_, err := Connect(url)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want an error that does not hold the password", url, err)
		}
	}
}

func TestAClusterUrlNamesItsServersAndTheirUser(t *testing.T) {
	t.Parallel()
	opt := cluster(t, "rediss+cluster://joe:p%40ss@one,two:7001,[::1]:7002,[::2]")
	if got := strings.Join(opt.Addrs, " "); got != "one:6379 two:7001 [::1]:7002 [::2]:6379" {
		t.Errorf("servers: got %s", got)
	}
	if opt.Username != "joe" || opt.Password != "p@ss" {
		t.Errorf("user: got %s, %s", opt.Username, opt.Password)
	}
	if opt.TLSConfig == nil || opt.TLSConfig.ServerName != "" {
		t.Errorf("TLS: got %+v, want each server to prove its own name", opt.TLSConfig)
	}
	if opt := cluster(t, "redis+cluster://one"); opt.TLSConfig != nil {
		t.Error("TLS where none was asked for")
	}
}

func TestEveryKindOfClientBoundsItsWaiting(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"redis://a", "rediss://a", "unix:///a", "redis+sentinel://a/main"} {
		c, err := Connect(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if opt := c.(*redis.Client).Options(); !opt.ContextTimeoutEnabled || opt.ReadTimeout > 5*time.Second ||
			opt.DialTimeout > 5*time.Second {
			t.Errorf("%s: %+v", url, opt)
		}
	}
	if opt := cluster(t, "redis+cluster://a"); !opt.ContextTimeoutEnabled || opt.ReadTimeout > 5*time.Second ||
		opt.ClusterStateReloadInterval > time.Second {
		t.Errorf("%+v", opt)
	}
}

func cluster(t *testing.T, url string) *redis.ClusterOptions {
	t.Helper()
	c, err := Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*redis.ClusterClient).Options()
}

func TestAPasswordInASentinelUrlIsThatOfTheServers(t *testing.T) {
	t.Parallel()
	set := testenv.Sentinels(t)
	for _, addr := range []string{set.Master(), set.Replica()} {
		server := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = server.Close() })
		for _, setting := range []string{"masterauth", "requirepass"} {
			if err := server.ConfigSet(t.Context(), setting, "p@ss").Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := connect(t, strings.Replace(set.URL, "://", "://:p%40ss@", 1)+"?db=3")
	if err := c.Set(t.Context(), "a", "b", 0).Err(); err != nil {
		t.Errorf("the password of the servers: %v", err)
	}
	if db := c.(*redis.Client).Options().DB; db != 3 {
		t.Errorf("got database %d, want 3", db)
	}
	if err := connect(t, set.URL).Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without password: got %v", err)
	}
}

func TestSentinelsMayHaveAPasswordOfTheirOwn(t *testing.T) {
	t.Parallel()
	set := testenv.Sentinels(t)
	for _, addr := range set.Sentinels() {
		s := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = s.Close() })
		if err := s.Do(t.Context(), "acl", "setuser", "default", "resetpass", ">guard").Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := connect(t, set.URL+"?sentinel_password=guard").Ping(t.Context()).Err(); err != nil {
		t.Errorf("with the sentinels' password: %v", err)
	}
	if err := connect(t, set.URL).Ping(t.Context()).Err(); err == nil {
		t.Error("the sentinels answered without their password")
	}
}

func TestAClientReachesTheServerThatTookADeadOnesPlace(t *testing.T) {
	t.Parallel()
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		servers := testenv.Cluster(t)
		c := connect(t, servers.URL)
		if err := c.Set(t.Context(), "{default}:a", "b", 0).Err(); err != nil {
			t.Fatal(err)
		}
		old := servers.MasterOf("{default}:a")
		servers.Kill(old)
		servers.AwaitFailover("{default}:a", old)
		testenv.EventuallyNoError(
			t,
			10*time.Second,
			func() error { return c.Set(t.Context(), "{default}:a", "c", 0).Err() },
			"no way to the new master",
		)
	})
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		servers := testenv.Sentinels(t)
		c := connect(t, servers.URL)
		if err := c.Set(t.Context(), "a", "b", 0).Err(); err != nil {
			t.Fatal(err)
		}
		old := servers.Master()
		servers.Kill(old)
		servers.AwaitFailover(old)
		testenv.EventuallyNoError(
			t,
			10*time.Second,
			func() error { return c.Set(t.Context(), "a", "c", 0).Err() },
			"no way to the new master",
		)
	})
}

func connect(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	c, err := Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
