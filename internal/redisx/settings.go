package redisx

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrEvicts is why a process refuses to start on a Redis that may throw tasks away.
var ErrEvicts = errors.New(
	"redis evicts keys when it is full (maxmemory-policy), which destroys tasks: set maxmemory-policy noeviction",
)

// CheckSettings refuses a Redis that cannot be used as it is set up, or would destroy tasks, and
// warns about one that forgets them at a restart: nothing is lost by that, but everything has to be
// sent again. A Redis that does not answer is not judged.
func CheckSettings(ctx context.Context, c redis.UniversalClient, log *slog.Logger, channels ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	useErr := checkUse(ctx, c, channels)
	if refused := judgeError(ctx, c, useErr); refused != nil {
		return refused
	}
	m, err := Memory(ctx, c)
	if err == nil {
		m.aof, err = keepsLog(ctx, c)
	}
	if refused := judgeError(ctx, c, err); refused != nil {
		return refused
	}
	switch {
	case err != nil && useErr != nil:
		log.WarnContext(ctx, "redis does not answer; jobs are accepted and wait in the ledger", "err", useErr)
		return nil
	case err != nil:
		log.WarnContext(
			ctx,
			"redis does not say how it is set up; whether it would evict tasks is not known",
			"err",
			err,
		)
		return nil
	case useErr != nil: // full, loading, a replica
		log.WarnContext(
			ctx,
			"redis does not take commands now; jobs are accepted and wait in the ledger",
			"err",
			useErr,
		)
	}
	return checkMemory(ctx, m, log)
}

func checkMemory(ctx context.Context, m MemoryUse, log *slog.Logger) error {
	if m.policy != "" && m.policy != "noeviction" {
		if m.Limit > 0 {
			return fmt.Errorf("%w (it is %s)", ErrEvicts, m.policy)
		}
		log.WarnContext(
			ctx,
			"redis would evict tasks if it had a memory limit: set maxmemory-policy noeviction",
			"policy",
			m.policy,
		)
	}
	if !m.aof {
		log.WarnContext(
			ctx,
			"redis keeps no append-only file: after its restart every waiting job is sent again from the ledger",
		)
	}
	return nil
}

// checkUse runs each command that Waybill and asynq need once, on keys of its own that it removes.
// All that the user may not do are named at once.
func checkUse(ctx context.Context, c redis.UniversalClient, channels []string) error {
	if err := ForEachMaster(ctx, c, func(ctx context.Context,
		server *redis.Client) error {
		return server.Ping(ctx).Err()
	}); err != nil {
		return fmt.Errorf("ping redis: %w", err)
	}
	p := c.Pipeline()
	needs(ctx, p, channels)
	cmds, err := p.Exec(ctx)
	var denied []string
	for _, cmd := range cmds {
		switch e := cmd.Err(); {
		case e == nil, errors.Is(e, redis.Nil):
		case strings.Contains(e.Error(), "NOPERM"):
			denied = append(denied, fmt.Sprintf("%s (%s)", cmd.FullName(), e))
		default:
			return fmt.Errorf("try the command %s: %w", cmd.FullName(), e)
		}
	}
	if err := checkChannels(ctx, c, channels); err != nil && strings.Contains(err.Error(), "NOPERM") {
		denied = append(denied, fmt.Sprintf("subscribe (%s)", err))
	}
	if len(denied) > 0 {
		return fmt.Errorf("NOPERM %s", strings.Join(denied, "; "))
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	return nil
}

// checkChannels subscribes to what workers and asynq listen to.
func checkChannels(ctx context.Context, c redis.UniversalClient, channels []string) error {
	sub := c.Subscribe(ctx, append([]string{"asynq:cancel"}, channels...)...)
	defer sub.Close()
	_, err := sub.Receive(ctx)
	return err
}

// needs lists the commands that are sent, and those that scripts call, in an order in which none
// fails. Those that are written lie in one slot.
func needs(ctx context.Context, p redis.Pipeliner, channels []string) {
	own := "{probe-" + rand.Text() + "}:" // other processes may start at the same moment
	probe := "waybill:" + own
	value, list, set, zset, hash, asynqKey := probe+"value", probe+"list", probe+"set", probe+"zset", probe+"hash",
		"asynq:"+own+"value"
	p.SetEx(ctx, asynqKey, 1, time.Minute)
	p.Del(ctx, asynqKey)
	p.Set(ctx, value, 1, time.Minute)
	p.SetNX(ctx, value, 1, time.Minute)
	p.Get(ctx, value)
	p.MGet(ctx, value)
	p.Incr(ctx, value)
	p.IncrBy(ctx, value, 1)
	p.Exists(ctx, value)
	p.Type(ctx, value)
	p.TTL(ctx, value)
	p.PTTL(ctx, value)
	p.Expire(ctx, value, time.Minute)
	p.PExpire(ctx, value, time.Minute)
	p.ExpireAt(ctx, value, time.Now().Add(time.Minute))
	p.Rename(ctx, value, value+"2")
	p.LPush(ctx, list, "a")
	p.RPush(ctx, list, "b")
	p.LLen(ctx, list)
	p.LRange(ctx, list, 0, -1)
	p.LIndex(ctx, list, 0)
	p.LRem(ctx, list, 0, "a")
	p.LTrim(ctx, list, 0, -1)
	p.RPopLPush(ctx, list, list)
	p.SAdd(ctx, set, "a")
	p.SIsMember(ctx, set, "a")
	p.SMembers(ctx, set)
	p.SRem(ctx, set, "a")
	p.ZAdd(ctx, zset, redis.Z{Score: 1, Member: "a"})
	p.ZScore(ctx, zset, "a")
	p.ZCard(ctx, zset)
	p.ZCount(ctx, zset, "-inf", "+inf")
	p.ZRange(ctx, zset, 0, -1)
	p.ZRangeByScore(ctx, zset, &redis.ZRangeBy{Min: "-inf", Max: "+inf"})
	p.ZRevRange(ctx, zset, 0, -1)
	p.ZRem(ctx, zset, "a")
	p.ZRemRangeByScore(ctx, zset, "-inf", "+inf")
	p.ZRemRangeByRank(ctx, zset, 0, -1)
	p.HSet(ctx, hash, "a", "b")
	p.HGet(ctx, hash, "a")
	p.HMGet(ctx, hash, "a")
	p.HGetAll(ctx, hash)
	p.HVals(ctx, hash)
	p.HStrLen(ctx, hash, "a")
	p.HDel(ctx, hash, "a")
	p.MemoryUsage(ctx, value+"2")
	p.Time(ctx)
	for i := range 16 { // slots of different servers: a client that knows one server only is told where the others' are
		p.Exists(ctx, fmt.Sprintf("waybill:{probe%d}", i))
	}
	p.Eval(ctx, "return 1", []string{value})
	for _, channel := range channels {
		p.Publish(ctx, channel, "probe")
	}
	p.Del(ctx, value, value+"2", list, set, zset, hash)
}
