package job

import "fmt"

// State is where a job stands. The names are asynq's own, so that the API, asynqmon and Grafana
// speak one language.
type State string

const (
	Scheduled State = "scheduled" // run_at lies ahead
	Pending   State = "pending"   // may run now
	Held      State = "held"      // may not run yet: order, limit or parent
	Active    State = "active"    // a worker has it
	Retry     State = "retry"     // failed, runs again at run_at
	Completed State = "completed" // done, the result is kept
	Archived  State = "archived"  // given up: the dead letters
	Canceled  State = "canceled"  // by a request
)

// States lists every state, open ones first.
var States = []State{Scheduled, Pending, Held, Active, Retry, Completed, Archived, Canceled}

// OpenStates are those of a job that still owes an outcome.
var OpenStates = []State{Scheduled, Pending, Held, Active, Retry}

// FinishedStates are the outcomes.
var FinishedStates = []State{Completed, Archived, Canceled}

// WaitingStates are those in which a task in Redis stands for the job and no worker has it.
var WaitingStates = []State{Scheduled, Pending, Retry}

// transitions is the one table of state changes. Every write in store is one of these; the
// migrations' CHECKs and the property tests are held against it.
//
// A job that was taken from a worker which seemed dead waits in one of the open states. Until
// another worker claims it, the outcome of the newest attempt is taken from there: Completed,
// Retry, Scheduled, Pending, Canceled, Archived.
var transitions = map[State][]State{
	Scheduled: {
		Active,
		Pending,
		Canceled,
		Archived,
		Completed,
		Retry,
		Scheduled,
	}, // claimed when due; run now by hand; canceled; archived by hand
	Pending: {
		Active,
		Canceled,
		Archived,
		Held,
		Completed,
		Retry,
		Scheduled,
		Pending,
	}, // claimed; canceled; archived by hand; held back by admission
	Held: {
		Pending,
		Scheduled,
		Canceled,
		Archived,
		Completed,
		Retry,
	}, // admitted; canceled; archived by hand
	Active: {
		Completed,
		Retry,
		Archived,
		Canceled,
		Scheduled,
		Pending,
	}, // settled; snoozed; interrupted, a suspect of killing workers for later
	Retry: {
		Active,
		Pending,
		Canceled,
		Archived,
	}, // claimed when due; run now by hand; canceled; archived by hand
	Archived:  {Pending}, // retried by hand
	Canceled:  {Pending}, // retried by hand
	Completed: {},        // final
}

// CanBecome reports whether a job may go from s to next.
func (s State) CanBecome(next State) bool {
	for _, t := range transitions[s] {
		if t == next {
			return true
		}
	}
	return false
}

// Finished reports whether s is an outcome.
func (s State) Finished() bool { return s == Completed || s == Archived || s == Canceled }

// ParseState reads a state's exact name.
func ParseState(s string) (State, error) {
	if _, ok := transitions[State(s)]; !ok {
		return "", fmt.Errorf("unknown state")
	}
	return State(s), nil
}
