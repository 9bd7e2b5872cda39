package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
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

	machine  = "machine"  // everything that runs on it
	capacity = "capacity" // all that it could have spent
)

// parts are in the order in which a job meets them.
var parts = []string{API, Worker, Redis, Postgres, Load}

// All is what the system itself spent.
func (c CPU) All() time.Duration { return c.sum(parts[:4]) }

func (c CPU) sum(parts []string) (sum time.Duration) {
	for _, part := range parts {
		sum += c[part]
	}
	return sum
}

// others is the share of the machine that went to what is not measured: with much of it, the
// figures are not worth much.
func (c CPU) others() (share float64, known bool) {
	all, known := c[machine]
	if !known || c[capacity] <= 0 {
		return 0, false
	}
	return max(0, float64(all-c.sum(parts))/float64(c[capacity])), true
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

// Spent runs f and answers what the parts spent meanwhile, and the whole machine.
func (m Meter) Spent(ctx context.Context, f func() error) (CPU, error) {
	m = maps.Clone(m)
	if _, err := wholeMachine(ctx); err == nil {
		m[machine] = wholeMachine
	}
	began := time.Now()
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
	if err == nil {
		after[capacity] = time.Since(began) * time.Duration(runtime.NumCPU())
	}
	return after, err
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
