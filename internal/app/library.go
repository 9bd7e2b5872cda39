package app

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// HearRedis sends what the Redis client would print on standard error by itself to the log, at debug level: whatever matters comes back as an
// error too. It holds for the whole process, so that only programs call it.
func HearRedis(log *slog.Logger) { redis.SetLogger(redisWords{log}) }

type redisWords struct{ log logger }

func (w redisWords) Printf(ctx context.Context, format string, args ...any) {
	w.log.DebugContext(ctx, "redis client", "says", fmt.Sprintf(format, args...))
}
