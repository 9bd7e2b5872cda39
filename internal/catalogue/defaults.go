package catalogue

import (
	"cmp"
	"fmt"
	"regexp"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

// What a job gets where neither its submission nor its type says otherwise.
const (
	defaultQueue   = "default"
	defaultRetries = 25
	defaultTimeout = 30 * time.Second
	defaultBase    = 10 * time.Second
	defaultMax     = 6 * time.Hour
)

const maxName = 100 // bytes of a type's name

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$`)

func checkName(name string) error {
	if len(name) > maxName || !namePattern.MatchString(name) {
		return fmt.Errorf("the name must match %s and have at most %d bytes", namePattern, maxName)
	}
	return nil
}

// Defaults are the values that a type gives to submissions that leave them out.
type Defaults struct {
	Queue      string
	MaxRetries int
	Timeout    time.Duration
	Backoff    job.Backoff
}

func defaultsOf(s tasks.Spec) Defaults {
	d := Defaults{
		Queue:      cmp.Or(s.Queue, defaultQueue),
		MaxRetries: cmp.Or(s.MaxRetries, defaultRetries),
		Timeout:    cmp.Or(s.Timeout, defaultTimeout),
		Backoff: job.Backoff{
			Kind: cmp.Or(s.Backoff.Kind, job.Exponential),
			Base: cmp.Or(s.Backoff.Base, defaultBase),
			Max:  s.Backoff.Max,
		},
	}
	if d.MaxRetries == tasks.NoRetries {
		d.MaxRetries = 0
	}
	if d.Backoff.Max == 0 {
		d.Backoff.Max = max(defaultMax, d.Backoff.Base)
	}
	return d
}

// check compares d with the limits of a job.
func (d Defaults) check() error {
	b := d.Backoff
	switch {
	case len(d.Queue) > job.MaxQueueName:
		return fmt.Errorf("default queue: more than %d bytes", job.MaxQueueName)
	case d.MaxRetries < 0 || d.MaxRetries > job.MaxRetries:
		return fmt.Errorf("default retries: not from 0 to %d (tasks.NoRetries is none)", job.MaxRetries)
	case d.Timeout < job.MinTimeout || d.Timeout > job.MaxTimeout:
		return fmt.Errorf("default timeout: not from %v to %v", job.MinTimeout, job.MaxTimeout)
	case b.Kind != job.Exponential && b.Kind != job.Fixed:
		return fmt.Errorf("default backoff: unknown kind %q", b.Kind)
	case b.Base < 0 || b.Base > b.Max:
		return fmt.Errorf("default backoff: base must be from 0 to max")
	}
	return nil
}
