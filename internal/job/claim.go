package job

import (
	"encoding/json"
	"time"
)

// ClaimDecision is the ledger's answer to a worker that was handed a task by asynq.
type ClaimDecision int

const (
	Run      ClaimDecision = iota + 1 // the claim holds: run it
	Drop                              // finished, unknown or an older delivery: forget the task
	Postpone                          // not now: a live worker has it, or its time has not come; ask again after Wait
)

// ClaimRequest asks for the right to run a job; WorkerID is the asking process.
type ClaimRequest struct {
	JobID    ID
	Delivery int
	WorkerID ID
}

// Claim is the answer to a ClaimRequest. Job holds everything that a handler needs, its payload the
// ledger's own; nil unless Decision is Run.
type Claim struct {
	Decision ClaimDecision
	Job      *Job
	Wait     time.Duration // with Postpone
}

// Settlement is how one attempt ended.
type Settlement struct {
	JobID    ID
	Attempt  int
	Delivery int // what was claimed
	WorkerID ID
	// State that the job shall have: Completed, Archived, Canceled, Retry, Scheduled (snoozed) or
	// Pending (handed back by a worker that stops). Where a cancel was asked for, an open state
	// becomes Canceled.
	State State
	// Wait is how long the job waits from the moment of the settlement, with Retry and Scheduled.
	Wait   time.Duration
	Result json.RawMessage
	Error  *AttemptError // with Retry, Archived, Canceled; Attempt and At are filled in by the store
	Failed bool          // uses up one of max_retries
}

// Settled is what became of one Settlement.
type Settled struct {
	// Accepted: this settlement, or an earlier sending of the very same, stands in the ledger.
	Accepted bool
	State    State     // the job's state now; empty: no such job
	Delivery int       // after a hand-back: the delivery to send
	RunAt    time.Time // when to deliver, with Retry and Scheduled
}

// AttemptKey names one attempt that a worker holds.
type AttemptKey struct {
	JobID   ID
	Attempt int
}

// Heartbeat is what a worker process tells the ledger every second.
type Heartbeat struct {
	WorkerID ID
	Host     string
	PID      int
	Queues   []string
	Slots    int
	Stopping bool
}

// HeartbeatReply is the ledger's answer to a Heartbeat.
type HeartbeatReply struct {
	// Held lists what the ledger believes that this worker runs. What it runs beyond that was taken
	// from it, and what it does not run was lost on the way to it.
	Held []HeldAttempt
}

// ProgressReport is the progress of one attempt.
type ProgressReport struct {
	AttemptKey
	Progress
}

// HeldAttempt is an attempt that the ledger believes a worker to run.
type HeldAttempt struct {
	AttemptKey
	CancelRequested bool
}

// Message is what a Dispatcher needs to send a job to Redis.
type Message struct {
	JobID       ID
	Delivery    int
	Type        string
	Queue       string
	State       State
	RunAt       time.Time
	MaxRetries  int
	Payload     json.RawMessage // for asynqmon; the handler gets the ledger's
	Traceparent string
}

// Message is what a Dispatcher needs to send j.
func (j *Job) Message() Message {
	return Message{JobID: j.ID, Delivery: j.Delivery, Type: j.Type, Queue: j.Queue, State: j.State, RunAt: j.RunAt,
		MaxRetries: j.MaxRetries, Payload: j.Payload, Traceparent: j.Traceparent}
}

// Position is a place in a queue's deliveries, in the order in which they were decided.
type Position struct {
	DispatchAt time.Time
	ID         ID
}

// OpenDelivery is an open job as the reconciler looks at it: what should be in Redis.
type OpenDelivery struct {
	Position
	Number int
	State  State
	RunAt  time.Time
}

// Worker is a heartbeat row.
type Worker struct {
	ID        ID
	Host      string
	PID       int
	Queues    []string
	Slots     int
	StartedAt time.Time
	BeatAt    time.Time
	Stopping  bool
}

// Queue is what the ledger keeps of a queue beyond its jobs.
type Queue struct {
	Name     string
	PausedAt time.Time // zero: running
	PausedBy string
	Reason   string
	// ResumedAt is when the last pause ended; zero: never. A pause in Redis that is older is one
	// that has ended.
	ResumedAt time.Time
}
