package tasks

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// The house defaults, for what a Definition leaves open.
const (
	defaultQueue   = "default"
	defaultRetries = 25
	defaultTimeout = 30 * time.Second
	defaultBase    = 10 * time.Second
	defaultMax     = 6 * time.Hour
)

const maxName = 100 // bytes of a type's name

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$`)

// Defaults are what a job gets where its submission is silent. Zero fields are filled from the house defaults: the queue
// "default", 25 retries, 30 s, exponential backoff from 10 s to 6 h.
type Defaults struct {
	Queue      string
	MaxRetries int // negative: none, one attempt only
	Timeout    time.Duration
	Backoff    job.Backoff
}

// Definition is one type of task: what is submitted, how it is run by default, and the code that runs it.
type Definition[P any] struct {
	Name        string // lower case, dotted: "invoice.send"; at most 100 bytes
	Description string // for people who ask what can be submitted
	Defaults    Defaults
	// Private says that the payload may hold secrets: logs and the task in Redis get a note instead of it.
	Private bool
	// Example is a payload that passes Check; it is shown beside the schema.
	Example P
	// Check says what the JSON Schema can't; nil: nothing. Pointers are relative to the payload ("/url"). It must get
	// along with values that the schema refuses, so that all mistakes can be told at once.
	Check func(P) []job.FieldError
	// Handle does the work. The same job may be handed to it more than once, so it must be safe to repeat; Info tells which
	// job and attempt this is. It must return soon after ctx ends. The value is JSON-encoded as the job's result:
	// json.RawMessage is kept byte for byte, nil is no result. An error is a failure that is retried by the job's policy;
	// Permanent, Snooze and RetryAfter say otherwise. Its text is shown to the job's owner, so it must hold no secret.
	Handle func(ctx context.Context, payload P) (any, error)
}

func checkName(name string) error {
	if len(name) > maxName || !namePattern.MatchString(name) {
		return fmt.Errorf("bad name: it must match %s and have at most %d bytes", namePattern, maxName)
	}
	return nil
}

func (d Defaults) filled() Defaults {
	if d.Queue == "" {
		d.Queue = defaultQueue
	}
	if d.MaxRetries == 0 {
		d.MaxRetries = defaultRetries
	}
	d.MaxRetries = max(d.MaxRetries, 0)
	if d.Timeout == 0 {
		d.Timeout = defaultTimeout
	}
	d.Backoff = filledBackoff(d.Backoff)
	return d
}

func filledBackoff(b job.Backoff) job.Backoff {
	if b.Kind == "" {
		b.Kind = job.Exponential
	}
	if b.Base == 0 {
		b.Base = defaultBase
	}
	if b.Max == 0 {
		b.Max = max(defaultMax, b.Base)
	}
	return b
}

// check holds d, already filled, to the limits of a job.
func (d Defaults) check() error {
	b := d.Backoff
	switch {
	case len(d.Queue) > job.MaxQueueName:
		return fmt.Errorf("default queue: more than %d bytes", job.MaxQueueName)
	case d.MaxRetries > job.MaxRetries:
		return fmt.Errorf("default retries: more than %d", job.MaxRetries)
	case d.Timeout < job.MinTimeout || d.Timeout > job.MaxTimeout:
		return fmt.Errorf("default timeout: not from %v to %v", job.MinTimeout, job.MaxTimeout)
	case b.Kind != job.Exponential && b.Kind != job.Fixed:
		return fmt.Errorf("default backoff: unknown kind %q", b.Kind)
	case b.Base < 0 || b.Base > b.Max:
		return fmt.Errorf("default backoff: base must be from 0 to max")
	}
	return nil
}
