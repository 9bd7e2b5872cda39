// Package dispatch carries: a recorded job becomes an asynq task in its queue. The ledger decides, Redis is a road. What the
// fast path (Send) misses, the audit finds and sends again.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Connect makes a client for the kind of Redis that the URL names:
//
//	redis://[user:pass@]host:port[/db]      rediss:// the same with TLS      unix:///path/to.sock
//	redis+sentinel://[user:pass@]host:port,host:port/master[?db=n]
//	redis+cluster://[user:pass@]host:port,host:port
//
// It does not connect: a Redis that is down is met later and waited for. Errors never hold the URL, which holds a password.
func Connect(rawURL string) (redis.UniversalClient, error) {
	scheme, _, _ := strings.Cut(rawURL, "://")
	switch scheme {
	case "redis", "rediss", "unix":
		opt, err := redis.ParseURL(rawURL)
		if err != nil {
			return nil, errors.New("the Redis URL cannot be read")
		}
		tune(&opt.DialTimeout, &opt.ReadTimeout, &opt.WriteTimeout)
		opt.ContextTimeoutEnabled = true // asynq's own options cannot set it; without it a deadline does not end a stalled read
		opt.MaxRetries = 1
		return redis.NewClient(opt), nil
	case "redis+sentinel", "rediss+sentinel":
		return connectSentinel(rawURL)
	case "redis+cluster", "rediss+cluster":
		return connectCluster(rawURL)
	default:
		return nil, errors.New("the Redis URL must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")
	}
}

func tune(dial, read, write *time.Duration) {
	*dial, *read, *write = 2*time.Second, 5*time.Second, 5*time.Second
}

func connectSentinel(rawURL string) (redis.UniversalClient, error) {
	hosts, u, err := manyHosts(rawURL)
	if err != nil {
		return nil, err
	}
	master := strings.Trim(u.Path, "/")
	if master == "" {
		return nil, errors.New("the Redis URL lacks the name of the master: redis+sentinel://host:port/NAME")
	}
	u.Host, u.Path = hosts[0], ""
	q := u.Query()
	q.Set("master_name", master)
	for _, h := range hosts[1:] {
		q.Add("addr", h)
	}
	u.RawQuery = q.Encode()
	opt, err := redis.ParseFailoverURL(u.String())
	if err != nil {
		return nil, errors.New("the Redis URL cannot be read")
	}
	tune(&opt.DialTimeout, &opt.ReadTimeout, &opt.WriteTimeout)
	opt.ContextTimeoutEnabled, opt.MaxRetries = true, 1
	return redis.NewFailoverClient(opt), nil
}

func connectCluster(rawURL string) (redis.UniversalClient, error) {
	hosts, u, err := manyHosts(rawURL)
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
	opt.ContextTimeoutEnabled = true
	return redis.NewClusterClient(opt), nil
}

// manyHosts takes a URL with a comma-separated list of hosts apart; net/url reads only one.
func manyHosts(rawURL string) (hosts []string, u *url.URL, err error) {
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
	if u, err = url.Parse(kind + "://" + user + hosts[0] + tail); err != nil || hosts[0] == "" {
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

// masters runs f for every server that holds keys.
func masters(ctx context.Context, c redis.UniversalClient, f func(context.Context, *redis.Client) error) error {
	switch c := c.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, f)
	case *redis.Client:
		return f(ctx, c)
	default:
		return fmt.Errorf("an unknown kind of Redis client: %T", c)
	}
}
