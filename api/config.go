package api

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"runtime"
	"strings"

	"github.com/waybill/waybill/internal/job"
)

// Config is what a deployment decides. Zero values mean the default named beside each field.
type Config struct {
	Version   string
	PublicURL string   // where clients reach this API, without a trailing slash; empty: not known
	Queues    []string // the queues that jobs may be sent to; at least one
	// PrometheusURL is where the monitor's metrics page gets its figures; empty: it has none.
	PrometheusURL string

	MaxBody      int64 // bytes of a body; 1 MiB
	MaxBatchBody int64 // bytes of the body of POST /v1/jobs/batch; 32 MiB
	// BodyMemory bounds the bytes of all large bodies and answers held at once; beyond it a request
	// is answered 503. 96 MiB, or what one body of the largest size takes.
	BodyMemory  int64
	MaxInFlight int // requests worked on at once; beyond it a request is answered 503. 2,048
	// Requests that wait for a job to finish, which cost little; one peer may have a fifth of them.
	// 10,000.
	MaxWaiters int

	// TrustedProxies are the peers whose X-Forwarded-For is believed. None by default.
	TrustedProxies []netip.Prefix
	// CORSOrigins are the exact origins ("https://app.example.com") whose pages may call the API.
	// None by default.
	CORSOrigins []string

	Quota QuotaConfig
}

// QuotaConfig bounds what one user may ask for.
type QuotaConfig struct {
	RatePerSecond float64 // jobs submitted per second and API process; 20,000
	Burst         int     // jobs submitted at once; the larger of RatePerSecond and job.MaxBatch
	MaxOpen       int     // jobs that are not finished; 2,000,000
}

func (c Config) withDefaults() Config {
	c.MaxBody = orElse(c.MaxBody, 1<<20)
	c.MaxBatchBody = orElse(c.MaxBatchBody, 32<<20)
	c.BodyMemory = orElse(c.BodyMemory, max(96<<20, c.MaxBatchBody+1, c.MaxBody+1))
	c.MaxInFlight = orElse(c.MaxInFlight, 2048)
	c.MaxWaiters = orElse(c.MaxWaiters, 10_000)
	c.Quota.RatePerSecond = orElse(c.Quota.RatePerSecond, 20_000)
	c.Quota.Burst = orElse(c.Quota.Burst, max(int(c.Quota.RatePerSecond), job.MaxBatch))
	c.Quota.MaxOpen = orElse(c.Quota.MaxOpen, 2_000_000)
	c.Version = orElse(c.Version, "dev ("+runtime.Version()+")")
	return c
}

func orElse[T comparable](v, fallback T) T {
	if v == *new(T) {
		return fallback
	}
	return v
}

// validate names every mistake at once.
func (c Config) validate() error {
	var errs []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	refuse(len(c.Queues) == 0, "no queue is named")
	refuse(c.MaxBody < 0 || c.MaxBatchBody < 0 || c.MaxInFlight < 0 || c.MaxWaiters < 0, "a limit is negative")
	refuse(c.BodyMemory <= max(c.MaxBatchBody, c.MaxBody), "the memory for bodies is smaller than the largest body")
	refuse(c.Quota.RatePerSecond < 0 || c.Quota.Burst < 0 || c.Quota.MaxOpen < 0, "a quota is negative")
	refuse(c.Quota.Burst < job.MaxBatch, "the burst is smaller than the largest batch, %d jobs", job.MaxBatch)
	for _, o := range c.CORSOrigins {
		u, err := url.Parse(o)
		refuse(err != nil || u.Host == "" || u.Scheme+"://"+u.Host != strings.ToLower(o), "%q is no origin", o)
	}
	return errors.Join(errs...)
}
