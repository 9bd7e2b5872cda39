package app

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// SetRedisLogger sends what the Redis client would print on standard error by itself to the log, at
// debug level: whatever matters comes back as an error too. It holds for the whole process, so that
// only programs call it.
func SetRedisLogger(log *slog.Logger) { redis.SetLogger(redisLogger{log}) }

type redisLogger struct{ log logger }

func (w redisLogger) Printf(ctx context.Context, format string, args ...any) {
	w.log.DebugContext(ctx, "redis client", "says", fmt.Sprintf(format, args...))
}
