// Package job is the vocabulary of Waybill: what a job is, the states it can be in, and the one
// table of state changes. It imports the standard library only; every other package speaks in its
// terms.
package job

import (
	"encoding/json"
	"time"
)

// Limits that the API, the store's CHECKs and the documentation share.
const (
	MaxBatch       = 10_000 // jobs in one batch
	MaxRetries     = 1_000  // the largest max_retries
	MaxTimeout     = 7 * 24 * time.Hour
	MinTimeout     = 100 * time.Millisecond
	MaxDelay       = 5 * 365 * 24 * time.Hour // how far ahead run_at may lie
	MaxLabels      = 20
	MaxLabelKey    = 63
	MaxLabelValue  = 255
	MaxQueueName   = 63
	MaxPayload     = 256 << 10 // bytes
	MaxResult      = 256 << 10 // bytes
	MaxKeptErrors  = 100       // the newest errors of a job that are answered
	MaxCrashes     = 5         // interruptions by a dead worker in a row before a job is quarantined
	MaxIdempotency = 255       // bytes of an Idempotency-Key
)

// Policy is how a job is run.
type Policy struct {
	MaxRetries int           // failures it survives; 0 is one attempt
	Timeout    time.Duration // of one attempt
	Deadline   time.Time     // no attempt starts or goes on after it; zero: none
	Backoff    Backoff
}

// Submission is a job as it was requested, checked against its task type and filled with its
// defaults.
type Submission struct {
	ID      ID // made by the caller, so that it is known whatever happens to the answer
	OwnerID ID
	Type    string
	Queue   string
	Payload json.RawMessage // stored byte for byte
	Labels  map[string]string
	RunAt   time.Time // zero, or not after the database's now: at once
	// Delay is how long the job waits from the moment at which the database writes it down. It
	// counts where RunAt is zero.
	Delay time.Duration
	Policy
	// IdempotencyKey, unique within its owner; empty: none. Fingerprint is the hash of the request
	// that came with it.
	IdempotencyKey string
	Fingerprint    []byte
	// Traceparent carries the W3C trace context (https://www.w3.org/TR/trace-context/) of the
	// request; empty: none.
	Traceparent string
}

// Created is what became of one Submission.
type Created struct {
	Job      *Job
	Replayed bool // the Idempotency-Key was known: Job is the one it made then
}

// Job is one row of the ledger, without Payload, Result and Errors where it stands in a list.
type Job struct {
	ID      ID
	OwnerID ID
	Type    string
	Queue   string
	Payload json.RawMessage
	Labels  map[string]string
	Policy

	State         State
	RunAt         time.Time // when it may run, or might run first
	Delivery      int       // how often it was given to Redis again; part of the asynq task's id
	Attempt       int       // claims so far
	Failures      int       // failures since it was submitted or retried by hand; each uses up one of MaxRetries
	Interruptions int       // attempts that ended with their worker
	Errors        []AttemptError
	Result        json.RawMessage // nil: none
	Progress      *Progress
	Worker        string // the worker that has it or had it last; empty: none yet

	CreatedAt         time.Time
	StartedAt         time.Time // of the newest attempt; zero: not yet
	FinishedAt        time.Time // zero: open
	CancelRequestedAt time.Time // zero: not requested
	Traceparent       string
}

// AttemptError is how one attempt failed.
type AttemptError struct {
	Attempt   int
	At        time.Time
	Message   string
	Retryable bool
	Stack     string // of a panic
}

// Progress is what a handler said last.
type Progress struct {
	Percent float64 // 0 to 100
	Message string
}

// Filter picks jobs for a list, newest first. Zero fields don't filter.
type Filter struct {
	OwnerID      ID // zero: all owners
	State        State
	Type         string
	Queue        string
	Labels       map[string]string // all must match
	CreatedAfter time.Time
	Before       ID  // the last id of the page before
	Limit        int // 1 to 200
}
