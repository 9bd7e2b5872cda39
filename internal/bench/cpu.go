package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// CPU is the time that each part of a system spent; a part that is missing is not known.
type CPU map[string]time.Duration

// The parts.
const (
	API      = "api"
	Worker   = "worker"
	Redis    = "redis"
	Postgres = "postgres"
	Load     = "load" // the load generator, which is no part of what is measured
)

// All is what the system itself spent.
func (c CPU) All() (sum time.Duration) {
	for part, d := range c {
		if part != Load {
			sum += d
		}
	}
	return sum
}

// Clock tells how much CPU time something has spent by now.
type Clock func(ctx context.Context) (time.Duration, error)

// Meter has a clock for each part.
type Meter map[string]Clock

// Read reads all clocks.
func (m Meter) Read(ctx context.Context) (CPU, error) {
	c := CPU{}
	for part, clock := range m {
		d, err := clock(ctx)
		if err != nil {
			return nil, fmt.Errorf("CPU time of %s: %w", part, err)
		}
		c[part] = d
	}
	return c, nil
}

// Spent runs f and answers what the parts spent meanwhile.
func (m Meter) Spent(ctx context.Context, f func() error) (CPU, error) {
	before, err := m.Read(ctx)
	if err != nil {
		return nil, err
	}
	if err := f(); err != nil {
		return nil, err
	}
	after, err := m.Read(ctx)
	for part := range after {
		after[part] -= before[part]
	}
	return after, err
}

// with is the meter and one more part.
func (m Meter) with(part string, c Clock) Meter {
	m = maps.Clone(m)
	m[part] = c
	return m
}

// Own is the time of this process.
func Own(context.Context) (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// scraped adds up what processes say of themselves in their metrics.
func scraped(urls []string) Clock {
	return func(ctx context.Context) (sum time.Duration, err error) {
		for _, url := range urls {
			s, err := scrape(ctx, url)
			if err != nil {
				return 0, err
			}
			if !s.has("process_cpu_seconds_total") {
				return 0, errors.New(url + " does not tell")
			}
			sum += time.Duration(s.sum("process_cpu_seconds_total") * float64(time.Second))
		}
		return sum, nil
	}
}

// resident is the memory of processes that tell it in their metrics.
func resident(ctx context.Context, urls []string) (sum int64, err error) {
	for _, url := range urls {
		s, err := scrape(ctx, url)
		if err != nil {
			return 0, err
		}
		sum += int64(s.sum("process_resident_memory_bytes"))
	}
	return sum, nil
}

// redisClock counts all threads of a Redis server, and the children that rewrite its files.
func redisClock(c *redis.Client) Clock {
	return func(ctx context.Context) (time.Duration, error) {
		info, err := c.Info(ctx, "cpu").Result()
		if err != nil {
			return 0, err
		}
		return redisCPU(info)
	}
}

func redisCPU(info string) (sum time.Duration, err error) {
	found := 0
	for line := range strings.Lines(info) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "used_cpu_sys", "used_cpu_user", "used_cpu_sys_children", "used_cpu_user_children":
			seconds, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(seconds * float64(time.Second))
			found++
		}
	}
	if found != 4 {
		return 0, errors.New("INFO cpu does not tell")
	}
	return sum, nil
}
