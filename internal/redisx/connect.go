// Package redisx connects to Redis: clients for every kind of deployment, a check of its settings,
// errors that only a change of settings ends, leases, and the mark that says whose a Redis is.
package redisx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Connect makes a client for the kind of Redis that the URL names:
//
//	redis://[user:pass@]host:port[/db]      rediss:// the same with TLS      unix:///path/to.sock
//	redis+sentinel://[user:pass@]host[:26379],host/master[?db=n&sentinel_username=…&sentinel_password=…]
//	redis+cluster://[user:pass@]host[:6379],host
//	rediss+sentinel:// and rediss+cluster:// the same with TLS
//
// User and password are those of the servers that hold keys; sentinels have their own. With TLS,
// each server is known by the name or address under which it is reached. It does not connect: a
// Redis that is down is met later and waited for. Errors never hold the URL, which holds a
// password.
func Connect(rawURL string) (redis.UniversalClient, error) {
	scheme, _, _ := strings.Cut(rawURL, "://")
	switch scheme {
	case "redis", "rediss", "unix":
		opt, err := redis.ParseURL(rawURL)
		if err != nil {
			return nil, errors.New("the Redis URL cannot be read")
		}
		tune(&opt.DialTimeout, &opt.ReadTimeout, &opt.WriteTimeout)
		// Asynq's own options cannot set it; without it a deadline does not end a stalled read.
		opt.ContextTimeoutEnabled = true
		opt.MaxRetries = 1
		return redis.NewClient(opt), nil
	case "redis+sentinel", "rediss+sentinel":
		return connectSentinel(rawURL)
	case "redis+cluster", "rediss+cluster":
		return connectCluster(rawURL)
	default:
		return nil, errors.New(
			"the Redis URL must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://",
		)
	}
}

func tune(dial, read, write *time.Duration) {
	*dial, *read, *write = 2*time.Second, 5*time.Second, 5*time.Second
}

func connectSentinel(rawURL string) (redis.UniversalClient, error) {
	hosts, u, err := manyHosts(rawURL, "26379")
	if err != nil {
		return nil, err
	}
	master := strings.Trim(u.Path, "/")
	if master == "" {
		return nil, errors.New("the Redis URL lacks the name of the master: redis+sentinel://host:port/NAME")
	}
	u.Host, u.Path = hosts[0], ""
	q := u.Query()
	user, password := q.Get("sentinel_username"), q.Get("sentinel_password")
	q.Del("sentinel_username")
	q.Del("sentinel_password")
	q.Set("master_name", master)
	for _, h := range hosts[1:] {
		q.Add("addr", h)
	}
	u.RawQuery = q.Encode()
	opt, err := redis.ParseFailoverURL(u.String())
	if err != nil {
		return nil, errors.New("the Redis URL cannot be read")
	}
	// ParseFailoverURL takes the user of a URL for the sentinels'.
	opt.Username, opt.Password, opt.SentinelUsername, opt.SentinelPassword = opt.SentinelUsername, opt.SentinelPassword,
		user, password
	anyName(opt.TLSConfig)
	tune(&opt.DialTimeout, &opt.ReadTimeout, &opt.WriteTimeout)
	opt.ContextTimeoutEnabled, opt.MaxRetries = true, 1
	return redis.NewFailoverClient(opt), nil
}

func connectCluster(rawURL string) (redis.UniversalClient, error) {
	hosts, u, err := manyHosts(rawURL, "6379")
	if err != nil {
		return nil, err
	}
	u.Host, u.Path = hosts[0], ""
	q := u.Query()
	for _, h := range hosts[1:] {
		q.Add("addr", h)
	}
	u.RawQuery = q.Encode()
	opt, err := redis.ParseClusterURL(u.String())
	if err != nil {
		return nil, errors.New("the Redis URL cannot be read")
	}
	tune(&opt.DialTimeout, &opt.ReadTimeout, &opt.WriteTimeout)
	anyName(opt.TLSConfig)
	opt.ContextTimeoutEnabled = true
	opt.ClusterStateReloadInterval = clusterLook
	return redis.NewClusterClient(opt), nil
}

// clusterLook is how often a client asks who is master where. The library's default is a minute,
// and a master that only stopped answering does not make it ask: for so long nothing would reach
// the replica that took its place.
const clusterLook = time.Second

// anyName lets each server prove the name under which it was dialed; parsed from a URL, all of them
// would have to prove the first one's.
func anyName(c *tls.Config) {
	if c != nil {
		c.ServerName, c.MinVersion = "", tls.VersionTLS12
	}
}

// manyHosts takes a URL with a comma-separated list of hosts apart; net/url reads only one. Hosts
// without a port get the one given.
func manyHosts(rawURL, port string) (hosts []string, u *url.URL, err error) {
	scheme, rest, _ := strings.Cut(rawURL, "://")
	kind, _, _ := strings.Cut(scheme, "+")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	user, list := "", authority
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, list = authority[:at+1], authority[at+1:]
	}
	hosts = strings.Split(list, ",")
	for i, h := range hosts {
		if h == "" {
			return nil, nil, errors.New("the Redis URL lacks a host")
		}
		if _, _, err := net.SplitHostPort(h); err != nil {
			hosts[i] = net.JoinHostPort(strings.Trim(h, "[]"), port)
		}
	}
	if u, err = url.Parse(kind + "://" + user + hosts[0] + tail); err != nil {
		return nil, nil, errors.New("the Redis URL cannot be read")
	}
	return hosts, u, nil
}

// Pipelined is the same connection with commands of concurrent callers sent together.
func Pipelined(c redis.UniversalClient) (redis.UniversalClient, error) {
	p, ok := c.(interface {
		AutoPipeline() (*redis.AutoPipeliner, error)
	})
	if !ok {
		return c, nil
	}
	ap, err := p.AutoPipeline()
	if err != nil {
		return nil, fmt.Errorf("pipeline Redis commands: %w", err)
	}
	return ap, nil
}

// ForEachMaster runs f for every server that holds keys.
func ForEachMaster(ctx context.Context, c redis.UniversalClient, f func(context.Context, *redis.Client) error) error {
	switch c := c.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, f)
	case *redis.Client:
		return f(ctx, c)
	default:
		return fmt.Errorf("an unknown kind of Redis client: %T", c)
	}
}
